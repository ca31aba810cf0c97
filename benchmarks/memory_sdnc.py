"""The sparse differentiable neural computer beside dense ones: time and memory of a step.

All have an LSTM of 100 units, rows of 32 numbers and 4 read heads, and train on random sequences: forward, a
loss at every step, backward. The sparse one reads 4 rows by content and 8 in each direction along links. Each
side has a process of its own. Times are processor times of one thread, medians of rounds;
memory is what a step more adds to the peak of the process. Goals stand in brackets, for the package that
others use. `--peer PYTHON` is an interpreter that has the package dnc (version 1.1.0).
"""

import argparse
import os
import sys
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

from parts.processes import Side
from parts.tables import print_table, significant

SCRIPT = Path(__file__).parent / "parts" / "memory_sdnc_side.py"
FASTER, SMALLER = 50, 200
"""How many times as much time and memory as the sparse one the package needs at least, from 2,048 rows on."""


def start(pythons: dict[str, str], rows: int, batch: int, steps: dict[str, int]) -> dict[str, Side]:
    names = {name: [python, str(SCRIPT), name, str(rows), str(batch)] for name, python in pythons.items()}
    return {name: Side([*command, str(steps[name])]) for name, command in names.items()}


def measure(
    pythons: dict[str, str], rows: int, batch: int, steps: dict[str, int], rounds: int
) -> list[list[str]]:
    """A row of the table for each side."""
    sides = start(pythons, rows, batch, steps)
    for _ in range(rounds):
        for side in sides.values():
            side.turn()
    for side in sides.values():
        side.end()
    own = sides["sdnc"]
    found = []
    for name, side in sides.items():
        cells = [f"{rows:,}", name, significant(1e3 * median(side.turns)), *map(significant, side.ready)]
        faster = median(theirs / ours for theirs, ours in zip(side.turns, own.turns, strict=True))
        smaller = side.ready[0] / own.ready[0]
        goals = [f" ({FASTER}x)", f" ({SMALLER}x)"] if name == "peer" and rows >= 2048 else ["", ""]
        found.append([*cells, f"{significant(faster)}x{goals[0]}", f"{significant(smaller)}x{goals[1]}"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200, help="of the sparse side")
    parser.add_argument("--dense-steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default="", help="a Python that has the package dnc")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.steps, options.dense_steps, options.rounds = [64], 20, 5, 1
    pythons = {"sdnc": sys.executable, "dnc": sys.executable}
    pythons |= {"peer": options.peer} if options.peer else {}
    steps = {"sdnc": options.steps, "dnc": options.dense_steps, "peer": options.dense_steps}
    found = []
    for rows in options.rows:
        found += measure(pythons, rows, options.batch, steps, options.rounds)
        for row in found[-len(pythons) :]:
            print("|".join(row), flush=True)
    head = ["rows", "side", "ms per step", "MiB per step", "MiB, first call", "time / sdnc", "memory / sdnc"]
    print_table(head, found)


if __name__ == "__main__":
    main()
