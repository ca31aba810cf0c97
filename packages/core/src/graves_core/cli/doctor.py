"""`lightning doctor`: what is installed, what is broken, and the command that mends it."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from graves_core.cli import foreign
from graves_core.cli.messages import UsageError
from graves_core.cli.plugins import import_problem, installed_plugins

LIBRARIES = ("torch", "lightning", "jsonargparse", "torchmetrics", "numpy")
MALICIOUS = ("2.6.2", "2.6.3")
REINSTALL_LIGHTNING = 'pip install --force-reinstall "lightning>=2.6.6"'


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        verdict: whether it is as it should be, worth knowing, or broken.
        subject: what the line is about.
        text: what was found.
        mend: the command, or the advice, that mends it.
    """

    verdict: Literal["ok", "note", "broken"]
    subject: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.verdict:<7}{self.subject:<14}{self.text}"
        return f"{line}\n{'':<7}{'':<14}mend: {self.mend}" if self.mend else line


def command(words: list[str]) -> int:
    """Prints the report; the exit code is 1 when something is broken."""
    if words:
        raise UsageError(f"doctor takes no further words, got {' '.join(words)!r}")
    healthy = True
    for finding in findings():
        print(finding, flush=True)
        healthy = healthy and finding.verdict != "broken"
    print("\nall is well" if healthy else "\nsomething is broken; see 'mend' above")
    return 0 if healthy else 1


def findings() -> Iterator[Finding]:
    """Every check in turn, the cheap ones first."""
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")
    for library in LIBRARIES:
        yield version(library)
    yield script()
    vision = torchvision()
    if vision:
        yield vision
    try:
        yield devices()
        importlib.import_module("lightning.pytorch")
    except Exception as error:  # a broken installation can fail in any way
        yield Finding("broken", "lightning", f"cannot be imported: {error}", REINSTALL_LIGHTNING)
    else:
        yield from plugins()
    yield data_folder()


def version(library: str) -> Finding:
    """The version of a library, if it is installed and not known to be bad."""
    try:
        found = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return Finding("broken", library, "is not installed", f"pip install {library}")
    if library == "lightning" and found in MALICIOUS:
        text = f"{found} was a malicious upload (GHSA-w37p-236h-pfx3); change the passwords of this machine"
        return Finding("broken", library, text, REINSTALL_LIGHTNING)
    return Finding("ok", library, found)


def script() -> Finding:
    """Who owns the `lightning` file. `graves` and `python -m graves_core` work in any case."""
    file, owner = foreign.owner_of_file()
    others = sorted({foreign.distribution_of(entry) for entry in foreign.scripts()} - {foreign.OURS})
    if file is None:
        return Finding("broken", "script", "there is no `lightning` script; `graves` may work", foreign.MEND)
    if owner != foreign.OURS:
        text = f"{file} belongs to {owner or 'no installed distribution'}; use `graves`, or"
        return Finding("broken", "script", text, foreign.MEND)
    if others:
        text = f"{file} is ours; words that are not ours go to {', '.join(others)}"
        return Finding("note", "script", text)
    return Finding("ok", "script", f"{file} is ours")


def torchvision() -> Finding | None:
    """Whether torchvision, which nothing here needs, is broken: then it takes Lightning down too."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    code = "import torchvision"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Finding("ok", "torchvision", "can be imported")
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    mend = "pip uninstall torchvision, or install the one built for this torch"
    return Finding("broken", "torchvision", f"it stops `import lightning` too: {reason}", mend)


def devices() -> Finding:
    """What torch can compute on."""
    import torch

    names = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return Finding("ok", "devices", ", ".join([f"cpu ({torch.get_num_threads()} threads)", *names]))


def plugins() -> Iterator[Finding]:
    """Every plugin, imported with all its public names."""
    for plugin in installed_plugins():
        problem = import_problem(plugin)
        if problem:
            mend = f"pip install --force-reinstall {plugin.distribution}"
            yield Finding("broken", "plugin", f"{plugin.distribution} {plugin.version}: {problem}", mend)
        else:
            yield Finding("ok", "plugin", f"{plugin.distribution} {plugin.version}")


def data_folder() -> Finding:
    """Where data sets are looked for and downloaded to."""
    from graves_core.data.files import data_root

    folder = data_root(None)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        text = f"{folder} cannot be written: downloads fail"
        return Finding("note", "data", text, "export GRAVES_DATA=FOLDER")
    return Finding(
        "ok", "data", f"{folder}{'' if folder.is_dir() else ' (made when something is downloaded)'}"
    )
