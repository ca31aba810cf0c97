"""What is in the wheels, what an import costs, and what an installation brings along."""

import email
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from source_tree import ROOT

FOLDERS = sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml"))
PLUGINS = [folder for folder in FOLDERS if folder != "core"]
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def build(folder: str, out: Path, **environment: str) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    clean = {name: value for name, value in os.environ.items() if name != "PIP_BUILD_TRACKER"}
    subprocess.run(
        command, cwd=ROOT / "packages" / folder, env={**clean, **environment}, check=True, capture_output=True
    )
    return zipfile.ZipFile(next(out.glob("*.whl")))


def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    return {folder: build(folder, tmp_path_factory.mktemp(folder)) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_published_wheel_names_no_path(wheels: dict[str, zipfile.ZipFile], folder: str) -> None:
    requirements = metadata(wheels[folder]).get_all("Requires-Dist") or []
    assert requirements
    assert not [requirement for requirement in requirements if "@" in requirement or "file:" in requirement]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_published_wheel_asks_for_a_range_of_its_siblings(
    wheels: dict[str, zipfile.ZipFile], plugin: str
) -> None:
    requirements = metadata(wheels[plugin]).get_all("Requires-Dist") or []
    assert [line for line in requirements if line.startswith("graves-")] == ["graves-core<0.2,>=0.1"]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_pip_in_a_clone_takes_siblings_from_the_clone(plugin: str, tmp_path: Path) -> None:
    requirements = metadata(build(plugin, tmp_path, PIP_BUILD_TRACKER="set")).get_all("Requires-Dist") or []
    siblings = [line for line in requirements if line.startswith("graves-")]
    assert siblings == [f"graves-core @ {(ROOT / 'packages' / 'core').as_uri()}"]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_wheel_carries_its_recipes(wheels: dict[str, zipfile.ZipFile], plugin: str) -> None:
    inside = {
        Path(name).name for name in wheels[plugin].namelist() if name.startswith(f"graves_{plugin}/recipes/")
    }
    assert inside == {path.name for path in (ROOT / "lightning_configs" / plugin).iterdir()}
    assert any(name.endswith(".yaml") for name in inside)


@pytest.mark.parametrize("folder", FOLDERS)
def test_wheel_is_typed_licensed_and_declares_its_plugin(
    wheels: dict[str, zipfile.ZipFile], folder: str
) -> None:
    names = wheels[folder].namelist()
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert f"graves_{folder}/py.typed" in names
    assert f"graves_{folder}/__init__.pyi" in names
    licence = next(name for name in names if name.endswith(".dist-info/licenses/LICENSE"))
    assert b"Apache License" in wheels[folder].read(licence)
    assert f"{folder} = graves_{folder}" in wheels[folder].read(entry_points).decode()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_new_dependency_has_a_pinned_version(wheels: dict[str, zipfile.ZipFile], folder: str) -> None:
    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    wanted = {name_of(line) for line in metadata(wheels[folder]).get_all("Requires-Dist") or []}
    assert not {name for name in wanted - pinned if not name.startswith("graves-")}


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("folder", FOLDERS)
def test_importing_a_package_loads_neither_torch_nor_lightning(folder: str) -> None:
    assert not imported_by(f"import graves_{folder}") & {"torch", "lightning", "numpy", "jsonargparse"}


@pytest.mark.parametrize("module", ["graves_bfn.flows", "graves_bfn.nets", "graves_core.spec"])
def test_importing_maths_and_layers_does_not_load_lightning(module: str) -> None:
    pytest.importorskip("torch")
    statement = (
        f"import importlib, pkgutil, {module} as room\n"
        "for file in pkgutil.iter_modules(getattr(room, '__path__', [])):\n"
        "    importlib.import_module(f'{room.__name__}.{file.name}')"
    )
    assert not imported_by(statement) & {"lightning", "pytorch_lightning", "jsonargparse"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_loads(folder: str) -> None:
    pytest.importorskip("torch")
    package = importlib.import_module(f"graves_{folder}")
    assert dir(package)
    assert not [name for name in dir(package) if getattr(package, name).__name__ != name]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_brings_at_most_35_distributions(plugin: str) -> None:
    """Counted without extras and without the CUDA packages that some builds of torch ask for."""
    requirements = pytest.importorskip("packaging.requirements")
    pytest.importorskip("torch")
    found: set[str] = set()
    waiting = [(f"graves-{plugin}", frozenset[str]())]
    while waiting:
        name, extras = waiting.pop()
        for line in importlib.metadata.requires(name) or []:
            wanted = requirements.Requirement(line)
            environments = [{"extra": extra} for extra in extras or {""}]
            if wanted.marker is None or any(
                wanted.marker.evaluate(environment) for environment in environments
            ):
                key = wanted.name.lower().replace("_", "-")
                if not CUDA.match(key) and key not in found:
                    waiting.append((wanted.name, frozenset(wanted.extras)))
                    found.add(key)
    assert len(found) + 1 <= 35, sorted(found)
