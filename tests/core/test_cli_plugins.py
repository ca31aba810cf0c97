"""What answers without torch: the list of plugins, recipes, versions, help."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pretend_plugin import RECIPE, Command, install

from graves_core.cli.recipes import recipes_of

SECONDS = 0.5


def in_a_process(site: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_plugins_lists_versions_and_names_by_kind(lightning: Command) -> None:
    listing = lightning("plugins").out
    assert "graves-pretend 1.2\n" in listing
    for line in (
        "  models     Grouped, Pretender",
        "  data       NoiseDataModule",
        "  parts      Buggy, NeedsExtra, Net",
        "  recipes    pretend/tiny",
    ):
        assert f"{line}\n" in listing


def test_the_core_is_listed_first_with_its_callbacks(lightning: Command) -> None:
    lines = lightning("plugins").out.splitlines()
    assert lines[0].startswith("graves-core ")
    assert any(line.split()[0] == "callbacks" and "EMA" in line for line in lines[1:])


@pytest.mark.parametrize(
    "words", [["plugins"], ["recipe"], ["recipe", "pretend/tiny"], ["--version"], ["--help"]]
)
def test_what_only_lists_imports_neither_torch_nor_lightning(pretend_site: Path, words: list[str]) -> None:
    code = f"import sys; from graves_core.cli import main; main({words}); print(sorted(sys.modules))"
    modules = in_a_process(pretend_site, code).splitlines()[-1]
    assert "'torch'" not in modules
    assert "'lightning'" not in modules


def test_plugins_answers_in_half_a_second(pretend_site: Path) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        in_a_process(pretend_site, "from graves_core.cli import main; main(['plugins'])")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < SECONDS


def test_a_plugin_that_fails_to_import_is_named_and_skipped(
    lightning: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = "[graves.plugins]\nsunk = graves_sunk\n"
    install(
        tmp_path / "site", "graves-sunk", entry, {"graves_sunk/__init__.py": "raise OSError('no such ship')"}
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    answer = lightning("fit", "--config", "tiny.yaml", "--trainer.fast_dev_run", "true")
    assert answer.code == 0
    assert "plugin graves-sunk 1.2 is skipped: OSError: no such ship" in answer.err
    broken = lightning("fit", "--model", "graves_sunk.Ship")
    assert "the plugin graves_sunk is broken: OSError: no such ship" in broken.err


def test_a_plugin_without_its_files_is_listed_as_broken(
    lightning: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "graves-gone", "[graves.plugins]\ngone = graves_gone\n", {})
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert "graves-gone 1.2\n  broken     No module named 'graves_gone'" in lightning("plugins").out


def test_recipe_lists_first_lines_and_prints_files(lightning: Command) -> None:
    lines = [line.split(maxsplit=1) for line in lightning("recipe").out.splitlines()]
    assert ["pretend/tiny", "A pretended table 1: nothing is learned, in no time"] in lines
    assert lightning("recipe", "pretend/tiny").out == RECIPE
    assert lightning("recipe", "pretend/tiny.yaml").out == RECIPE


def test_a_printed_recipe_runs(lightning: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(lightning("recipe", "pretend/tiny").out)
    assert lightning("fit", "--config", "mine.yaml", "--trainer.fast_dev_run", "true").code == 0


def test_recipes_of_a_clone_stand_beside_the_packages(tmp_path: Path) -> None:
    module = tmp_path / "packages" / "sea" / "src" / "graves_sea"
    configs = tmp_path / "lightning_configs" / "sea"
    for folder in (module, configs):
        folder.mkdir(parents=True)
    (configs / "wave.yaml").write_text("# a wave\n")
    assert recipes_of("sea", module) == {"sea/wave": configs / "wave.yaml"}


def test_version_names_every_plugin(lightning: Command) -> None:
    assert "graves-pretend 1.2" in lightning("--version").out.splitlines()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_word(lightning: Command, words: list[str]) -> None:
    out = lightning(*words).out
    for word in ("fit", "validate", "test", "predict", "plugins", "recipe", "schema", "doctor"):
        assert f"\n  {word} " in out
