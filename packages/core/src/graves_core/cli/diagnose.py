"""Says in one line what is wrong with what was given: which key, class, choice or type, and what is nearest.

jsonargparse reports every alternative of every type that it tried. This walk follows the types of the
constructors instead, and stops at the first value that cannot be meant.
"""

import collections.abc
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

from graves_core.cli.classes import NOTHING, find_class, parameters
from graves_core.cli.given import as_spec, merge, read_config
from graves_core.cli.messages import MAX_LISTED, UsageError, nearest, not_one_of

CLASS_KEYS = {"class_path", "init_args", "dict_kwargs", "$schema"}
NOT_INSTANCES = {*sys.stdlib_module_names, "jsonargparse", "jaxtyping"}
SEQUENCES = (list, tuple, set, collections.abc.Iterable, collections.abc.Sequence)


class Diagnosis:
    """Walks over values beside the types that they must have.

    Args:
        broken: plugins that failed to import, and why; a class of theirs is explained by that.
    """

    def __init__(self, broken: dict[str, str]) -> None:
        self.broken = broken

    def arguments(self, owner: str, target: Callable[..., Any], given: dict[str, Any], where: str) -> None:
        """Checks the arguments of one class or function.

        Args:
            owner: its name in messages.
            target: the class or function.
            given: the values by name.
            where: the dotted key of the config that holds them.

        Raises:
            UsageError: at the first wrong one.
        """
        named, hints, takes_more = parameters(target)
        for key, value in given.items():
            name = key.removesuffix("+")
            if name in named:
                self.value(hints.get(name, Any), value, f"{where}.{name}")
            elif not takes_more and name not in CLASS_KEYS:
                close = nearest(name, named) or f"; it has {', '.join(list(named)[:MAX_LISTED])}"
                raise UsageError(f"{where}: {owner} has no parameter {name!r}{close if named else ''}")

    def missing(self, target: Callable[..., Any], given: dict[str, Any], owner: str, where: str) -> None:
        """Looks for what must be given.

        Raises:
            UsageError: when an argument without a default is not given.
        """
        named, _, _ = parameters(target)
        for name, parameter in named.items():
            if parameter.default is NOTHING and name not in given:
                raise UsageError(f"{where}: {owner} needs a value for {name!r}")

    def value(self, hint: Any, value: Any, where: str) -> None:
        """Checks one value against its type.

        Raises:
            UsageError: when it cannot be meant.
        """
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            self.union(get_args(hint), value, where)
        elif origin is Literal:
            choices = [str(choice) for choice in get_args(hint)]
            if str(value) not in choices:
                raise UsageError(f"{where}: {not_one_of(str(value), choices)}")
        elif origin in SEQUENCES:
            self.sequence(hint, value, where)
        elif origin is collections.abc.Callable:
            self.made_by(get_args(hint), value, where)
        elif hint in (bool, int, float, str):
            self.plain(hint, value, where)
        elif isinstance(hint, type) and hint.__module__.split(".")[0] not in NOT_INSTANCES:
            self.instance(hint, value, where)

    def union(self, members: tuple[Any, ...], value: Any, where: str) -> None:
        """Accepts what any member accepts; else repeats the complaint of the most telling member."""
        if value is None and type(None) in members:
            return
        choices = tuple(choice for m in members if get_origin(m) is Literal for choice in get_args(m))
        others = [m for m in members if m is not type(None) and get_origin(m) is not Literal]
        complaints = []
        for member in [Literal[choices], *others] if choices else others:
            try:
                self.value(member, value, where)
            except UsageError as complaint:
                complaints.append((self.depth(member, value), str(complaint)))
            else:
                return
        raise UsageError(max(complaints, key=lambda pair: pair[0])[1])

    def depth(self, member: Any, value: Any) -> int:
        """How much a value looks as if a member of a union was meant: a dict looks like a class."""
        is_class = isinstance(member, type) and member not in (bool, int, float, str)
        is_sequence = get_origin(member) in SEQUENCES
        fits = (is_class and isinstance(value, dict)) or (is_sequence and isinstance(value, list))
        return 2 * fits + is_class

    def sequence(self, hint: Any, value: Any, where: str) -> None:
        """Checks the elements of a list; flags may give one element without a list."""
        member = next((arg for arg in get_args(hint) if arg is not Ellipsis), Any)
        if isinstance(value, (list, tuple)):
            for i, element in enumerate(value):
                self.value(member, element, f"{where}[{i}]")
        elif isinstance(value, (dict, str)) and isinstance(member, type) and member not in (int, float, bool):
            self.value(member, value, where)
        else:
            raise UsageError(f"{where}: expected a list, got {value!r}")

    def made_by(self, signature: tuple[Any, ...], value: Any, where: str) -> None:
        """Checks a class that is instantiated later, such as an optimizer."""
        result = signature[-1] if signature else Any
        classes = [cls for cls in (get_args(result) or (result,)) if isinstance(cls, type)]
        if classes and isinstance(value, (str, dict)):
            self.instance(classes[0], value, where, later=True)

    def plain(self, kind: type, value: Any, where: str) -> None:
        """Checks a number, a truth value or a text."""
        if kind is str and not isinstance(value, (dict, list)):
            return
        if kind is bool and str(value).lower() in ("true", "false", "yes", "no"):
            return
        if kind in (int, float) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                number = float(str(value).replace("_", ""))
            except ValueError:
                number = None
            if number is not None and (kind is float or number == int(number)):
                return
        names = {str: "a text", bool: "true or false", int: "an integer", float: "a number"}
        raise UsageError(f"{where}: expected {names[kind]}, got {value!r}")

    def instance(self, base: type, value: Any, where: str, later: bool = False) -> None:
        """Checks an object that is described by its class and arguments.

        Args:
            base: what the class must be.
            value: a name, or a dict with `class_path` and `init_args`.
            where: the dotted key of the config.
            later: whether the first argument is given when the run starts, as an optimizer's parameters are.
        """
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            value = read_config(value)
        if not isinstance(value, (str, dict)):
            raise UsageError(f"{where}: expected a class path and init_args, got {value!r}")
        name, arguments = split(as_spec(value))
        if name is None and inspect.isabstract(base):
            raise UsageError(f"{where}: expected a class_path")
        if name is not None and not isinstance(name, str):
            raise UsageError(f"{where}.class_path: expected the name of a class, got {name!r}")
        try:
            target = find_class(name, base, self.broken) if name else base
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        owner = getattr(target, "__name__", str(target))
        if name or arguments:
            self.arguments(owner, target, arguments, where)
        if name and not later:
            self.missing(target, arguments, owner, where)


def split(spec: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class of a spec, and its arguments whether they stand in `init_args` or beside the class."""
    arguments: dict[str, Any] = {}
    for part in (spec.get("init_args"), {k: v for k, v in spec.items() if k not in CLASS_KEYS}):
        merge(arguments, part if isinstance(part, dict) else {})
    return spec.get("class_path"), arguments
