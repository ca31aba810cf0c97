"""Other distributions that install a script called `lightning` too, and who owns the file now."""

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from graves_core.cli.messages import UsageError

OURS = "graves-core"
SKIPPED = {OURS, "litserve"}  # litserve's script only installs another package
MEND = "pip install --force-reinstall --no-deps graves-core"


def scripts() -> list[EntryPoint]:
    """Every console script of the name `lightning` in this environment."""
    return [*entry_points(group="console_scripts", name="lightning")]


def distribution_of(script: EntryPoint) -> str:
    """The normalised name of the distribution that declares a script."""
    name = script.dist.metadata["Name"] if script.dist else script.module.split(".")[0]
    return name.lower().replace("_", "-")


def other_command() -> Callable[[list[str]], int] | None:
    """The `lightning` of another distribution, as a function of the words after the command's name."""
    script = next((script for script in scripts() if distribution_of(script) not in SKIPPED), None)
    if script is None:
        return None

    def call(words: list[str]) -> int:
        try:
            command = script.load()
        except Exception as error:  # not our code: whatever it is, the user must hear whose it is
            owner = distribution_of(script)
            raise UsageError(f"{words[0]!r} belongs to {owner}, which fails: {error}") from error
        sys.argv = [sys.argv[0], *words]
        result = command()
        return result if isinstance(result, int) else 0

    return call


def owner_of_file() -> tuple[Path | None, str | None]:
    """The `lightning` file that a shell would run, and the distribution whose code it calls.

    The text of the file tells; it is the last one installed that wrote it.
    """
    beside = Path(sys.executable).parent / "lightning"
    found = str(beside) if beside.is_file() else shutil.which("lightning")
    if found is None:
        return None, None
    try:
        text = Path(found).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Path(found), None
    owners = [distribution_of(script) for script in scripts() if f"from {script.module} import" in text]
    return Path(found), owners[0] if owners else None
