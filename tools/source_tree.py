"""Reads the source of the packages without importing it, for the tests that hold the rules of the house."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file of a package.

    Args:
        path: the file.
        package: the top-level package that it belongs to.
    """

    path: Path
    package: str

    @property
    def name(self) -> str:
        """The path from the root of the repository, for messages."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """The content."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, filename=str(self.path))

    @cached_property
    def dotted(self) -> str:
        """The name by which it is imported."""
        parts = self.path.relative_to(ROOT / "packages").with_suffix("").parts[2:]
        return ".".join(part for part in parts if part != "__init__")

    @property
    def room(self) -> str:
        """The file or folder directly below the package; `__init__` for the package itself."""
        parts = self.dotted.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    def imports(self, inside_functions: bool = True) -> set[str]:
        """The dotted names that are imported, `package.module` for what comes from a package of ours."""
        return set(self._imports(self.tree, inside_functions))

    def _imports(self, node: ast.AST, inside_functions: bool) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from self._imported_from(child)
            elif inside_functions or not (isinstance(child, Function) or _is_for_type_checkers(child)):
                yield from self._imports(child, inside_functions)

    def _imported_from(self, node: ast.ImportFrom) -> Iterator[str]:
        base = node.module or ""
        if node.level:
            package = self.dotted if self.path.name == "__init__.py" else self.dotted.rpartition(".")[0]
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" if base.startswith("graves_") else base for alias in node.names)

    def classes(self) -> Iterator[ast.ClassDef]:
        """The classes that stand at the top of the file."""
        return (node for node in self.tree.body if isinstance(node, ast.ClassDef))

    def functions(self) -> Iterator[Function]:
        """All functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def modules() -> list[Module]:
    """Every file of every package."""
    found = sorted((ROOT / "packages").glob("*/src/*/**/*.py"))
    return [Module(path, path.relative_to(ROOT / "packages").parts[2]) for path in found]


def public_names(package: str) -> dict[str, str]:
    """The names that a package exports, each with the submodule that its stub takes it from."""
    stubs = list((ROOT / "packages").glob(f"*/src/{package}/__init__.pyi"))
    nodes = [node for stub in stubs for node in ast.parse(stub.read_text(encoding="utf-8")).body]
    return {
        alias.asname or alias.name: node.module or ""
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def constructor(node: ast.ClassDef) -> Function | None:
    """The `__init__` that a class defines."""
    methods = (item for item in node.body if isinstance(item, Function))
    return next((item for item in methods if item.name == "__init__"), None)


def parameters(function: Function) -> list[ast.arg]:
    """What a method takes besides `self`, without `*args` and `**kwargs`."""
    arguments = function.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs][1:]


def documented(docstring: str) -> set[str]:
    """The names that have a line of their own in a Google docstring."""
    return set(re.findall(r"^\s+(\w+)(?: \([^)]*\))?:\s", docstring, flags=re.MULTILINE))


def is_third_party(name: str) -> bool:
    """Whether an imported name is neither of the standard library nor ours."""
    top = name.partition(".")[0]
    return top not in sys.stdlib_module_names and not top.startswith("graves_")
