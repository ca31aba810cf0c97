"""Writes out the defaults of the classes that were chosen, where jsonargparse keeps another class's values.

With a default of `AdamW`, `--model.optimizer SGD` gives jsonargparse an SGD with AdamW's weight decay: what
two classes have in common survives the choice of the other. Here a class chosen anew starts from its own
defaults.
"""

import collections.abc
import types
from collections.abc import Callable, Iterator
from typing import Any, Union, get_args, get_origin

from graves_core.cli.classes import find_class, parameters
from graves_core.cli.diagnose import split
from graves_core.cli.given import as_spec, is_config
from graves_core.cli.messages import UsageError
from graves_core.cli.slots import SLOTS
from graves_core.spec import class_path, plain_defaults


def completion(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments that were not given, of every class that was chosen.

    Args:
        values: what was given.

    Returns:
        A config that, read last, changes no value that was given.
    """
    return {key: spec for key, base in SLOTS.items() if (spec := _completed(base, None, values.get(key)))}


def _completed(base: type, default: type | None, value: Any) -> dict[str, Any] | None:
    """The class of one object with its remaining defaults, or nothing when no class is known."""
    if not isinstance(value, (str, dict)) or (isinstance(value, str) and is_config(value)):
        return None
    name, given = split(as_spec(value))
    try:
        cls = find_class(name, base) if name else default
    except UsageError:
        return None  # the parser refuses it too, and that is explained
    if not isinstance(cls, type):
        return None
    defaults = {key: value for key, value in plain_defaults(cls).items() if key not in given}
    return {"class_path": class_path(cls), "init_args": {**defaults, **_nested(cls, given)}}


def _nested(target: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The completions of the arguments that are objects themselves."""
    named, hints, _ = parameters(target)
    found = {}
    for name, parameter in named.items():
        default = parameter.default if isinstance(parameter.default, type) else None
        value = given.get(name) if name in given or default is None else class_path(default)
        for base in _bases(hints.get(name)) if value is not None else ():
            spec = _completed(base, default, value)
            if spec:
                found[name] = spec
    return found


def _bases(hint: Any) -> Iterator[type]:
    """The classes of which a type wants an instance, now or later."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _bases(member)
    elif origin is collections.abc.Callable:
        yield from _bases(get_args(hint)[-1])
    elif isinstance(hint, type) and hint.__module__ != "builtins":
        yield hint
