"""Finds the class that a config names, in short or in full, or says why there is none."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from graves_core.cli.messages import UsageError, nearest

NOTHING = inspect.Parameter.empty


def known_subclasses(base: type) -> dict[str, type]:
    """The public, imported subclasses of a class, itself included, by their short names."""
    return {cls.__name__: cls for cls in _descendants(base) if not cls.__name__.startswith("_")}


def _descendants(base: type) -> Iterator[type]:
    yield base
    children: list[type] = type.__subclasses__(base)
    for child in children:
        yield from _descendants(child)


def find_class(name: str, base: type, broken: dict[str, str] | None = None) -> Any:
    """The class (or function that makes one) of a name, as config files write it.

    Args:
        name: a short name, or a path with dots.
        base: what it must be.
        broken: plugins that failed to import, and why.

    Raises:
        UsageError: when there is none; the message says what is nearest, or what to install.
    """
    if "." not in name:
        known = known_subclasses(base)
        if name in known:
            return known[name]
        raise UsageError(f"no {base.__name__} is called {name!r}{nearest(name, known) or _examples(known)}")
    module, _, attribute = name.rpartition(".")
    found = getattr(_module(module, name, broken or {}), attribute, None)
    if found is None:
        choices = [key for key, value in vars(sys.modules[module]).items() if isinstance(value, type)]
        choices += getattr(sys.modules[module], "__all__", [])
        raise UsageError(f"{module} has no class {attribute!r}{nearest(attribute, choices)}")
    if isinstance(found, type) and not issubclass(found, base):
        raise UsageError(f"{name} is not a {base.__name__}{nearest(attribute, known_subclasses(base))}")
    return found


def _examples(known: dict[str, type]) -> str:
    """The classes that plugins export at the top, which bases for subclassing are not."""
    from graves_core.spec import class_path

    ours = sorted(name for name, cls in known.items() if _is_ours(class_path(cls)))
    return f"; known: {', '.join(ours)}" if ours else ""


def _is_ours(path: str) -> bool:
    return path.startswith("graves_") and path.count(".") == 1


def _module(module: str, name: str, broken: dict[str, str]) -> Any:
    """Imports the module of a class path.

    Raises:
        UsageError: when that fails; if a plugin of ours is missing, with the command that installs it.
    """
    top = module.split(".")[0]
    if top in broken:
        raise UsageError(f"{name}: the plugin {top} is broken: {broken[top]}")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == top and top.startswith("graves_"):
            distribution = top.replace("_", "-")
            message = f"{name}: the plugin is not installed; pip install {distribution}"
        elif error.name == top:
            message = f"{name}: no module {top!r} is installed or lies here{nearest(top, _tops())}"
        elif error.name is not None and module.startswith(error.name):
            message = f"{name}: there is no module {error.name!r}"
        else:
            message = f"{name} cannot be imported: {error}"
        raise UsageError(message) from None
    except Exception as error:  # somebody's module may fail in any way when it is imported
        raise UsageError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _tops() -> list[str]:
    return [name for name in sys.modules if "." not in name and not name.startswith("_")]


def parameters(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """What a class or function takes.

    Returns:
        Its parameters by name, their types, and whether it takes names that it does not list.
    """
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        listed = list(inspect.signature(target).parameters.values())
        hints = get_type_hints(inspect.unwrap(function))
    except (TypeError, ValueError, NameError):
        return {}, {}, True
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {p.name: p for p in listed if p.kind not in catch_all and p.name != "self"}
    return named, hints, any(p.kind is p.VAR_KEYWORD for p in listed)
