"""Every way in which this repository checks itself, each a session; `nox --list` names them.

Words after `--` go to the tool of the session: `nox -s "tests(bfn)" -- -k sampler`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
WORKSPACE = nox.project.load_toml(ROOT / "pyproject.toml")
PACKAGES = {
    path.parent.name: nox.project.load_toml(path)["project"]
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
TORCH_FREE = ["tests/integration/test_architecture_imports.py", "tests/integration/test_packaging.py"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "integration"]


def pip_setting(name: str) -> str:
    """What pip would use for an option, from its environment variable or its files; empty where not set."""
    variable = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if variable:
        return variable
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def share_pip_settings() -> None:
    """Tells uv, which reads none of pip's settings, where pip would look for packages."""
    for option, variable in {"find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX"}.items():
        value = pip_setting(option)
        if value:
            os.environ.setdefault(variable, ",".join(value.split()))


share_pip_settings()


def tools(group: str) -> list[str]:
    """The requirements of a dependency group of the workspace."""
    return list(nox.project.dependency_groups(WORKSPACE, group))


def install(session: nox.Session, *requirements: str, constraints: str = "constraints.txt") -> None:
    """Installs under constraints that hold for build environments as well."""
    forced = dict.fromkeys(("PIP_CONSTRAINT", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"), constraints)
    session.install(*requirements, env=forced)


def wheels(session: nox.Session, *plugins: str) -> list[str]:
    """Builds the wheels of plugins and of graves-core; returns them as requirements with all their extras."""
    install(session, *(tool for tool in tools("tests") if tool.startswith("hatchling")))
    requirements = []
    for folder in sorted({"core", *plugins}):
        project, out = PACKAGES[folder], Path(session.create_tmp()).resolve() / folder
        with session.chdir(ROOT / "packages" / folder):
            session.run_install(
                "hatchling", "build", "--target", "wheel", "--directory", str(out), silent=True
            )
        wheel = next(out.glob(f"*-{project['version']}-*.whl"))
        extras = ",".join(project["optional-dependencies"])
        requirements.append(f"{project['name']}[{extras}] @ {wheel.as_uri()}")
    return requirements


def install_wheels(session: nox.Session, *plugins: str, group: str = "tests") -> None:
    """Installs plugins as a user gets them and makes sure that it is not the clone that will be imported."""
    install(session, *wheels(session, *plugins), *tools(group))
    session.run("python", "tools/installed.py", *sorted({"core", *plugins}))


def pytest(session: nox.Session, *arguments: str) -> None:
    """Runs pytest with the settings of the workspace on one thread per process."""
    session.run(
        "python", "-m", "pytest", "-c", "pyproject.toml", *arguments, *session.posargs, env=ONE_THREAD
    )


@nox.session
@nox.parametrize("plugin", list(PACKAGES), ids=list(PACKAGES))
def tests(session: nox.Session, plugin: str) -> None:
    """The tests and docstring examples of one plugin, installed from its wheel without the other plugins."""
    install_wheels(session, plugin)
    pytest(session, f"tests/{plugin}", "--doctest-modules", "--pyargs", f"graves_{plugin}")


@nox.session
def integration(session: nox.Session) -> None:
    """What needs the whole house: its rules, its wheels, and the Python code of the READMEs and docs."""
    install_wheels(session, *PACKAGES)
    pages = [
        "README.md",
        *map(str, Path("packages").glob("*/README.md")),
        *map(str, Path("docs").glob("*.md")),
    ]
    pytest(session, "tests/integration", "--markdown-docs", *pages)


@nox.session
def recipes(session: nox.Session) -> None:
    """Every YAML file of lightning_configs/ parses, instantiates and runs one batch of small data."""
    install_wheels(session, *PACKAGES)
    pytest(session, "tests/integration/test_recipes.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules, ruff's format, and mypy --strict on packages/."""
    install(session, *wheels(session, *PACKAGES), *tools("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, with warnings as errors, in docs/_build/html."""
    install_wheels(session, *PACKAGES, group="docs")
    session.run(
        "sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html", *session.posargs
    )


@nox.session
def bench(session: nox.Session) -> None:
    """The tables of benchmarks/: all files, or those that are named after `--`."""
    install_wheels(session, *PACKAGES)
    for file in session.posargs or sorted(map(str, Path("benchmarks").glob("*.py"))):
        session.run("python", file)


@nox.session
def pictures(session: nox.Session) -> None:
    """Trains what the READMEs show and makes their pictures again."""
    install_wheels(session, *PACKAGES)
    session.run("python", "tools/pictures.py", *session.posargs)


def floors() -> list[str]:
    """The oldest versions that the packages allow, read from their dependencies."""
    lines = [line for project in PACKAGES.values() for line in project.get("dependencies", [])]
    return [re.sub(r"(\[.*\])?>=([\d.]+).*", r"==\2", line) for line in lines]


def brings_cuda(session: nox.Session, torch: str) -> bool:
    """Whether this version of torch comes here with CUDA packages of several gigabytes, or not at all."""
    plan = session.run(
        "uv", "pip", "install", "--dry-run", torch, silent=True, success_codes=[0, 1], external=True
    )
    return "nvidia-" in str(plan) or f"+ {torch}" not in str(plan)


@nox.session(python=["3.10", "3.11", "3.12", "3.13"], venv_backend="uv")
@nox.parametrize("versions", ["oldest", "newest"], ids=["oldest", "newest"])
def matrix(session: nox.Session, versions: str) -> None:
    """All tests with the oldest and the newest versions; `-- --cuda` accepts builds of torch with CUDA."""
    pinned = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    newest = next(line for line in pinned if line.startswith("torch=="))
    pins = pinned if versions == "newest" else floors()
    wanted = next(line for line in pins if line.startswith("torch=="))
    cuda = "--cuda" in session.posargs
    usable = [torch for torch in dict.fromkeys((wanted, newest)) if cuda or not brings_cuda(session, torch)]
    built = wheels(session, *PACKAGES)
    if not usable:
        session.warn(
            f"{wanted} has no small build for this Python here: only the tests without torch are run"
        )
        install(session, "--no-deps", *built)
        install(session, *tools("tests"))
        session.run("lightning", "plugins")
        session.run("python", "-m", "pytest", "-c", "pyproject.toml", *TORCH_FREE)
        return
    if usable[0] != wanted:
        session.warn(f"{wanted} has no small build for this Python here: tested with {usable[0]} instead")
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join([*(pin for pin in pins if pin != wanted), usable[0]]), encoding="utf-8")
    install(session, *built, *tools("tests"), constraints=str(constraints))
    folders = [f"tests/{folder}" for folder in (*PACKAGES, "integration")]
    session.run("python", "-m", "pytest", "-c", "pyproject.toml", *folders, env=ONE_THREAD)
