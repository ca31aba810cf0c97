"""Another distribution that owns a `lightning` script beside ours: who answers what, and how it is mended."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from pretend_plugin import RECIPE, install, install_plugin

SCRIPT = (
    "#!{python}\nimport sys\nfrom {module} import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
)
RIVAL = """
    import sys

    def main():
        if sys.argv[1:2] != ["studio"]:
            print(f"No such command {sys.argv[1:]}")
            return 2
        print("the rival was asked for", sys.argv[1:])
        return 7
"""


class Environment:
    """A virtual environment with everything of this one, and scripts of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False)
        self.bin = folder / "bin"
        self.site = next((folder / "lib").glob("python*/site-packages"))
        here = sysconfig.get_path("purelib")
        (self.site / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        for name in ("lightning", "graves"):
            self.script(name, "graves_core.cli")

    def script(self, name: str, module: str) -> None:
        """Writes a console script, as the installation of a distribution does."""
        file = self.bin / name
        file.write_text(SCRIPT.format(python=self.bin / "python", module=module))
        file.chmod(0o755)

    def rival(self, name: str = "lightning-rival") -> None:
        """Installs a distribution whose script takes the name over."""
        entry = "[console_scripts]\nlightning = rival_command:main\n"
        install(self.site, name, entry, {"rival_command.py": RIVAL})
        self.script("lightning", "rival_command")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a script of the environment."""
        command = [str(self.bin / words[0]), *words[1:]]
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=clean, check=False
        )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    if sys.platform == "win32":
        pytest.skip("scripts are programs of their own on Windows")
    return Environment(tmp_path / "venv")


def test_words_that_are_not_ours_go_to_the_other_distribution(environment: Environment) -> None:
    environment.rival()
    answer = environment.run("graves", "studio", "--gpu", "2")
    assert "the rival was asked for ['studio', '--gpu', '2']" in answer.stdout
    assert answer.returncode == 7


def test_our_words_stay_ours_when_both_are_installed(environment: Environment) -> None:
    environment.rival()
    for command in (["graves", "plugins"], ["python", "-m", "graves_core", "plugins"]):
        answer = environment.run(*command)
        assert answer.stdout.startswith("graves-core ")
    assert "No such command" in environment.run("lightning", "plugins").stdout


def test_without_another_distribution_a_foreign_word_is_a_usage_error(environment: Environment) -> None:
    answer = environment.run("lightning", "studio")
    assert answer.returncode == 2
    assert "unknown word 'studio'" in answer.stderr


def test_nothing_is_handed_to_litserve_which_installs_packages(environment: Environment) -> None:
    environment.rival("litserve")
    assert "unknown word 'studio'" in environment.run("graves", "studio").stderr


def test_a_broken_other_distribution_is_named(environment: Environment) -> None:
    environment.rival()
    (environment.site / "rival_command.py").write_text("import no_such_module\n")
    answer = environment.run("graves", "studio")
    assert answer.returncode == 2
    assert (
        "'studio' belongs to lightning-rival, which fails: No module named 'no_such_module'" in answer.stderr
    )


def test_doctor_says_who_took_the_script_and_how_to_mend_it(environment: Environment) -> None:
    environment.rival()
    taken = environment.run("graves", "doctor")
    assert taken.returncode == 1
    assert "belongs to lightning-rival" in taken.stdout
    assert "mend: pip install --force-reinstall --no-deps graves-core" in taken.stdout
    environment.script("lightning", "graves_core.cli")  # what that command does
    mended = environment.run("lightning", "doctor")
    assert "is ours; words that are not ours go to lightning-rival" in mended.stdout
    assert "broken script" not in mended.stdout


def test_graves_fit_runs_whoever_owns_the_script(environment: Environment) -> None:
    environment.rival()
    install_plugin(environment.site)
    (environment.folder / "tiny.yaml").write_text(RECIPE)
    answer = environment.run("graves", "fit", "--config", "tiny.yaml")
    assert answer.returncode == 0, answer.stderr
    assert "`max_epochs=1` reached" in answer.stderr
    assert "litlogger" not in answer.stderr
    assert (environment.folder / "config.yaml").is_file()
    assert (environment.folder / "checkpoints" / "last.ckpt").is_file()
