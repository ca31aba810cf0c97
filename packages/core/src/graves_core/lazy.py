"""Public names that load on first use, so that importing a plugin costs no torch and no lightning.

A package's `__init__.pyi` lists its public names for people, editors and type checkers; at run time the same
file tells where each of them lives. That makes the stub the single place where a public name is declared.
"""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def public_names(stub: Path) -> dict[str, str]:
    """Reads `{public name: submodule}` from the `from .submodule import Name as Name` lines of a stub.

    Raises:
        FileNotFoundError: when the stub does not exist.
        SyntaxError: when it is not Python.
    """
    names = {}
    for node in ast.parse(stub.read_text(encoding="utf-8"), filename=str(stub)).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            for alias in node.names:
                names[alias.asname or alias.name] = node.module or alias.name
    return names


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes the PEP 562 hooks of a package from its stub.

    Use it as the whole body of an `__init__.py`:
    `__getattr__, __dir__, __all__ = attach(__name__, __file__)`.

    Args:
        package: the package's `__name__`.
        file: the package's `__file__`; the stub stands beside it.

    Returns:
        `__getattr__`, `__dir__` and `__all__`.
    """
    names = public_names(Path(file).with_suffix(".pyi"))

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        submodule = names[name]
        module = importlib.import_module(f"{package}.{submodule}")
        return module if submodule == name else getattr(module, name)

    return __getattr__, lambda: sorted(names), sorted(names)
