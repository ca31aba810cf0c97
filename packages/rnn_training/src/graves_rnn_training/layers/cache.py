"""What an object may forget."""

from typing import Any


class Cache(dict[Any, Any]):
    """A dict that copies and pickles of its owner do not take along.

    Example:
        >>> import copy
        >>> copy.deepcopy({"kept": [1], "made": Cache(a=2)})
        {'kept': [1], 'made': {}}
    """

    def __deepcopy__(self, memo: Any) -> "Cache":
        return Cache()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Cache, ()
