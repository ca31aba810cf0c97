"""The type checker that the tests put around every function of the packages.

Shapes and types of arguments and results are checked at run time by beartype. Constructors are left alone:
they check their arguments themselves, and tests must see the errors that users see. So are functions with
annotations that nothing can check at run time, such as protocols.
"""

from collections.abc import Callable
from typing import TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

Function = TypeVar("Function", bound=Callable[..., object])

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Function) -> Function:
    """Wraps a function in the checks of its annotations."""
    if function.__name__ in {"__init__", "__post_init__"}:
        return function
    try:
        return _checked(function)
    except BeartypeDecorHintException:
        return function
