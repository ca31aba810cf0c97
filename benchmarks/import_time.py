"""Time of importing the plugins beside that of Lightning's CLI, and how many distributions they need.

Every time is that of a whole process. The processes take turns, after one round that fills the disk's cache.
"""

import argparse
import importlib.metadata
import os
import subprocess
import sys
import time
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from parts.tables import print_table

REFERENCE = "import lightning.pytorch.cli"
GOAL = 1.05
MOST_DISTRIBUTIONS = 35

TOUCH = "import graves_core as c, graves_bfn as b; [getattr(p, n) for p in (c, b) for n in p.__all__]"
ROWS = {
    REFERENCE: ["-c", "import lightning.pytorch.cli"],
    "the same, then all public names of both": ["-c", f"import lightning.pytorch.cli; {TOUCH}"],
    "all public names of graves_core and graves_bfn": ["-c", TOUCH],
    "import graves_core": ["-c", "import graves_core"],
    "import graves_bfn": ["-c", "import graves_bfn"],
    "import torch": ["-c", "import torch"],
    "python": ["-c", ""],
    "lightning plugins": ["-m", "graves_core", "plugins"],
    "lightning fit --help": ["-m", "graves_core", "fit", "--help"],
}
WITH_GOAL = list(ROWS)[1:5]


def seconds(arguments: list[str]) -> float:
    """The time of one process, from start to end."""
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def needed(name: str, extras: frozenset[str], found: set[tuple[str, str]]) -> None:
    """Adds a distribution and all that it requires here to `found`, as pairs of name and extra."""
    for extra in ("", *extras):
        key = (canonicalize_name(name), extra)
        if key in found:
            continue
        found.add(key)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed(requirement.name, frozenset(requirement.extras), found)


def distributions(*extras: str) -> int:
    """How many distributions graves-bfn needs with these extras, itself included."""
    found: set[tuple[str, str]] = set()
    needed("graves-bfn", frozenset(extras), found)
    return len({name for name, _ in found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a single round")
    parser.add_argument("--rounds", type=int, default=5, help="how often each process is started")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in ROWS}
    for turn in range(1 if options.quick else options.rounds + 1):
        for name, arguments in ROWS.items():
            duration = seconds(arguments)
            if turn or options.quick:
                taken[name].append(duration)
    medians = {name: median(values) for name, values in taken.items()}
    rows = []
    for name, value in medians.items():
        ratio = value / medians[REFERENCE]
        goal = f"at most {GOAL}" if name in WITH_GOAL else ""
        rows.append([name, f"{value:.2f}", f"{ratio:.2f}", goal])
    print_table(["whole process", "median seconds", f"beside `{REFERENCE}`", "goal"], rows)
    counts = {"graves-bfn": distributions(), "graves-bfn[digits]": distributions("digits")}
    goals = [f"at most {MOST_DISTRIBUTIONS}", ""]
    rows = [[name, str(count), goal] for (name, count), goal in zip(counts.items(), goals, strict=True)]
    print_table(["installs", "distributions", "goal"], rows)


if __name__ == "__main__":
    main()
