"""A dense differentiable neural computer: ours beside the package `dnc`, and what its size costs.

Both have an LSTM of 100 units, rows of 32 numbers and 4 read heads, and train on the same sequences: forward,
a loss at every step, backward. Each side has a process of its own, and they take turns. Times are processor
times of one thread per time step, medians of the rounds; memory is what the first call adds to the peak of
the process. Goals stand in brackets. `--peer PYTHON` is an interpreter that has the package (version 1.1.0).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

from parts.tables import print_table, significant

SIDE = Path(__file__).parent / "parts" / "memory_dnc_side.py"
GOAL = 1.0
"""The other side needs at least so much of our time."""


class Side:
    """A process that trains when it is told to."""

    def __init__(self, python: str, name: str, sizes: list[int]) -> None:
        command = [python, str(SIDE), name, *map(str, sizes)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.megabytes = self.answer()
        self.taken: list[float] = []

    def answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}")
        return float(line)

    def turn(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.taken.append(self.answer())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(pythons: dict[str, str], sizes: list[int], rounds: int) -> list[str]:
    """A row of the table."""
    sides = {name: Side(python, name, sizes) for name, python in pythons.items()}
    for side in sides.values():
        side.turn()
        side.taken.clear()
    for _ in range(rounds):
        for side in sides.values():
            side.turn()
    for side in sides.values():
        side.end()
    rows, batch, steps = sizes
    times = {name: 1e3 * median(side.taken) / steps for name, side in sides.items()}
    memory = {name: side.megabytes for name, side in sides.items()}
    cells = [f"{rows:,}", str(batch)]
    cells += [significant(value) for value in (*times.values(), *memory.values())]
    if "peer" in sides:
        pairs = zip(sides["peer"].taken, sides["ours"].taken, strict=True)
        ratio = median(theirs / own for theirs, own in pairs)
        cells += [f"{ratio:.2f}x ({GOAL:g}x)", f"{memory['peer'] / memory['ours']:.1f}x"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", default="", help="a Python that has the package dnc")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.batch, options.steps, options.rounds = [64], [1], 5, 1
    pythons = {"ours": sys.executable} | ({"peer": options.peer} if options.peer else {})
    print(f"dense DNC, {options.steps} steps forward and backward")
    found = []
    for batch in options.batch:
        for rows in options.rows:
            found.append(measure(pythons, [rows, batch, options.steps], options.rounds))
            print("|".join(found[-1]), flush=True)
    head = ["rows", "batch", "ours, ms per step", "ours, MiB"]
    if options.peer:
        head = ["rows", "batch", "ours, ms per step", "dnc, ms per step", "ours, MiB", "dnc, MiB"]
        head += ["time, dnc / ours", "memory, dnc / ours"]
    print_table(head, found)


if __name__ == "__main__":
    main()
