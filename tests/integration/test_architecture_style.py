"""The rules about constructors, docstrings, sizes and forbidden constructs, read off the source tree."""

import ast
import re
import statistics
from pathlib import Path

import source_tree
from source_tree import ROOT, Function

MODULES = source_tree.modules()
TEXTS = {".py", ".pyi", ".md", ".toml", ".yaml", ".yml", ".txt", ".cff", ".cfg", ""}
GENERATED = {"__pycache__", "_build", "dist", "build", "runs", "lightning_logs"}


def public_classes() -> list[tuple[str, ast.ClassDef]]:
    return [
        (f"{module.name}: {node.name}", node)
        for module in MODULES
        for node in module.classes()
        if not node.name.startswith("_")
    ]


def constructors() -> list[tuple[str, ast.ClassDef, Function]]:
    pairs = [(name, node, source_tree.constructor(node)) for name, node in public_classes()]
    return [(name, node, init) for name, node, init in pairs if init is not None]


def test_every_constructor_argument_is_annotated() -> None:
    bare = [
        f"{name}({argument.arg})"
        for name, _, init in constructors()
        for argument in source_tree.parameters(init)
        if argument.annotation is None
    ]
    assert not bare


def test_every_constructor_argument_is_documented() -> None:
    missing = []
    for name, node, init in constructors():
        known = source_tree.documented(
            f"{ast.get_docstring(node, clean=False)}\n{ast.get_docstring(init, clean=False)}"
        )
        missing += [f"{name}({a.arg})" for a in source_tree.parameters(init) if a.arg not in known]
    assert not missing


def test_no_constructor_takes_unnamed_arguments() -> None:
    assert not [name for name, _, init in constructors() if init.args.kwarg or init.args.vararg]


def test_no_constructor_takes_any_module() -> None:
    """An argument typed nn.Module would offer hundreds of classes in every help page."""
    wrong = []
    for name, _, init in constructors():
        for argument in source_tree.parameters(init):
            words = re.findall(r"[\w.]+", ast.unparse(argument.annotation or ast.Constant("")))
            wrong += [
                f"{name}({argument.arg})"
                for word in words
                if word in {"Module", "nn.Module", "torch.nn.Module"}
            ]
    assert not wrong


def test_choices_are_literal() -> None:
    """An argument typed str is never compared with a fixed list of words."""
    wrong = []
    for name, _, init in constructors():
        texts = {
            a.arg for a in source_tree.parameters(init) if a.annotation and ast.unparse(a.annotation) == "str"
        }
        for node in ast.walk(init):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
                fixed = isinstance(node.comparators[0], ast.Tuple | ast.List | ast.Set | ast.Dict)
                wrong += [
                    name for _ in [0] if fixed and isinstance(node.left, ast.Name) and node.left.id in texts
                ]
    assert not wrong


def test_every_exported_class_has_an_example_that_runs() -> None:
    exported = {name for module in MODULES for name in source_tree.public_names(module.package)}
    missing = [
        name
        for name, node in public_classes()
        if node.name in exported and ">>>" not in (ast.get_docstring(node) or "")
    ]
    assert not missing


def test_nothing_is_swallowed_stubbed_or_loaded_unsafely() -> None:
    banned = {
        "bare except": r"except\s*:",
        "silent except": r"except[^\n]*:\s*(?:#[^\n]*)?\n\s+pass\b",
        "unsafe loading": r"weights_only\s*=\s*False|pickle\.load|allow_pickle\s*=\s*True",
        "stub": r"NotImplementedError|TODO|FIXME|XXX",
        "callbacks in everybody's Trainer": r"callbacks_factory",
        "eval": r"(?<![\w.])(?:eval|exec)\(",
        "shapes for type checkers": r"if TYPE_CHECKING:\n(?:\s+.*\n)*\s+(?:from|import) (?:graves|torch)",
    }
    files = [module.path for module in MODULES]
    wrong = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in files
        for what, pattern in banned.items()
        if re.search(pattern, path.read_text(encoding="utf-8"))
    ]
    assert not wrong


def test_maths_and_layers_never_wait_for_the_device() -> None:
    upper = {"module", "data", "callbacks", "__init__"}
    wrong = [
        f"{module.name}:{node.lineno} calls .{node.func.attr}()"
        for module in MODULES
        if module.package != "graves_core" and module.room not in upper
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"item", "cpu"}
    ]
    assert not wrong


def test_no_device_is_named_in_layers_and_modules() -> None:
    wrong = [
        f"{module.name}: {word}"
        for module in MODULES
        if module.package != "graves_core"
        for word in re.findall(r"\.cuda\(|[\"']cuda[\"':]|[\"']mps[\"':]", module.text)
    ]
    assert not wrong


def is_generated(folder: str) -> bool:
    return folder in GENERATED or (folder.startswith(".") and folder != ".ci")


def repository_files() -> list[Path]:
    files = (path for path in ROOT.rglob("*") if path.is_file() and path.suffix in TEXTS)
    return [path for path in files if not any(map(is_generated, path.relative_to(ROOT).parts[:-1]))]


def test_files_are_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in repository_files()
        if path.suffix == ".py"
    }
    assert not {name: length for name, length in lengths.items() if length > 400}
    sources = [length for name, length in lengths.items() if name.startswith("packages/")]
    assert statistics.median(sources) <= 150


def test_functions_are_short() -> None:
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in MODULES
        for node in module.functions()
    )
    assert statistics.median(lengths) <= 12
    assert lengths[int(0.95 * len(lengths))] < 45


def test_no_file_names_a_machine() -> None:
    """No absolute paths, and no issue numbers that nobody outside can look up."""
    homes = "|".join(("home", "root", "work", "opt", "mnt", "Users"))
    patterns = [rf"(?<![\w.:/~$}}])/(?:{homes})/\w", r"(?i)\bissues? #?\d+\b"]
    wrong = [
        f"{path.relative_to(ROOT)}: {match.group(0)}"
        for path in repository_files()
        for pattern in patterns
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"))
    ]
    assert not wrong
