"""The rules about who may import whom, read off the source tree."""

import pytest
import source_tree
from source_tree import ROOT, Module

MODULES = source_tree.modules()
PLUGINS = sorted({module.package for module in MODULES} - {"graves_core"})
LIGHT = {"torch", "lightning", "torchmetrics", "numpy", "jaxtyping"}
MAY_NOT_REACH = {"module": {"data", "callbacks"}, "data": {"module", "callbacks"}, "callbacks": {"data"}}
LAYERS = {"nets", "layers"}
UPPER = set(MAY_NOT_REACH)
CORE_PURE = {"lazy", "spec", "pictures", "plots"}
CORE_UPPER = {"cli", "testing", "__main__"}
TORCH_FREE = ("graves_core", "graves_core.lazy", "graves_core.__main__", "graves_core.cli")


def rooms(names: set[str], package: str) -> set[str]:
    """The rooms of a package that a set of imported names reaches."""
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


def offenders(wrong: dict[Module, set[str]]) -> list[str]:
    return [f"{module.name} imports {', '.join(sorted(names))}" for module, names in wrong.items() if names]


def test_no_plugin_imports_another_and_core_imports_none() -> None:
    wrong = {
        module: {name for name in module.imports() if name.split(".")[0] in {*PLUGINS} - {module.package}}
        for module in MODULES
    }
    assert not offenders(wrong)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_rooms_of_a_plugin_import_only_upwards(plugin: str) -> None:
    wrong = {}
    for module in (module for module in MODULES if module.package == plugin and module.room != "__init__"):
        below = MAY_NOT_REACH.get(module.room, UPPER if module.room in LAYERS else UPPER | LAYERS)
        wrong[module] = rooms(module.imports(), plugin) & {"__init__", *below}
    assert not offenders(wrong)


def test_maths_and_layers_are_plain_pytorch() -> None:
    wrong = {}
    for module in MODULES:
        if module.room in UPPER | {"__init__"} or (
            module.package == "graves_core" and module.room not in CORE_PURE
        ):
            continue
        wrong[module] = {
            name for name in module.imports() if name.split(".")[0] in {"lightning", "pytorch_lightning"}
        }
        wrong[module] |= rooms(module.imports(), "graves_core") - CORE_PURE - {"data"}
    assert not offenders(wrong)


def test_only_the_command_imports_the_command() -> None:
    core = [module for module in MODULES if module.package == "graves_core" and module.room not in CORE_UPPER]
    assert not offenders({module: rooms(module.imports(), "graves_core") & CORE_UPPER for module in core})


def reached(start: str, by_name: dict[str, Module]) -> set[str]:
    """The modules that are loaded when one is imported."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in seen:
            seen.add(name)
            names = by_name[name].imports(inside_functions=False)
            waiting += [name.rpartition(".")[0], *names, *(item.rpartition(".")[0] for item in names)]
    return seen


def test_what_answers_without_torch_imports_none_at_the_top() -> None:
    by_name = {module.dotted: module for module in MODULES}
    loaded = {name for start in (*TORCH_FREE, *PLUGINS) for name in reached(start, by_name)}
    wrong = {
        by_name[name]: {item for item in by_name[name].imports(False) if source_tree.is_third_party(item)}
        for name in loaded
    }
    assert not offenders(wrong)


def test_third_party_imports_stand_inside_functions() -> None:
    wrong = {}
    for module in MODULES:
        allowed = LIGHT | ({"jsonargparse"} if module.dotted.startswith("graves_core.cli") else set())
        names = {name for name in module.imports(inside_functions=False) if source_tree.is_third_party(name)}
        wrong[module] = {name for name in names if name.split(".")[0] not in allowed}
    assert not offenders(wrong)


def test_what_is_imported_at_the_top_is_a_declared_dependency() -> None:
    wrong = {}
    for module in MODULES:
        declared = (ROOT / "packages" / module.path.relative_to(ROOT).parts[1] / "pyproject.toml").read_text(
            "utf-8"
        )
        tops = {name.split(".")[0] for name in module.imports(False) if source_tree.is_third_party(name)}
        wrong[module] = {top for top in tops if f'"{top}' not in declared}
    assert not offenders(wrong)


def test_missing_extras_are_named() -> None:
    """Whoever imports a package that only an extra brings tells the user which extra."""
    extras = {"sklearn": "[digits]", "tensorboard": "[tensorboard]", "matplotlib": "[plots]"}
    missing = [
        f"{module.name} imports {top} and does not name {extra}"
        for module in MODULES
        for top, extra in extras.items()
        if top in {name.split(".")[0] for name in module.imports()} and extra not in module.text
    ]
    assert not missing


def test_public_names_are_unique_over_all_packages() -> None:
    owners: dict[str, list[str]] = {}
    for package in ("graves_core", *PLUGINS):
        for name in source_tree.public_names(package):
            owners.setdefault(name, []).append(package)
    assert not {name: packages for name, packages in owners.items() if len(packages) > 1}
