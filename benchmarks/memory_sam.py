"""Sparse access memory beside a dense neural Turing machine: time and memory of a step over the rows.

All have an LSTM of 100 units, rows of 32 numbers and 4 heads, and train on random sequences: forward, a loss
at every step, backward. The sparse one reads 4 rows per head, found among the rows that the episode has used
("written") or among all ("exact"). Each side has a process of its own; sides take turns. Times are processor
times of one thread, medians of rounds; memory is what 100 steps more add to the peak of the process. Goals
stand in brackets. Then batches of several sequences; a long episode at 2^20 rows in one backward pass; a
longer one in windows that carry the memory on.
`--plot FILE` draws time and memory over the rows.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

from parts.processes import Side
from parts.tables import print_table, significant

SCRIPT = Path(__file__).parent / "parts" / "memory_sam_side.py"
MOST = 2**20
DENSE_STEPS = {2**10: 20, 2**12: 20, 2**14: 10, 2**16: 10, 2**18: 3, 2**20: 2}
"""Steps of the dense side, whose memory grows with rows times steps."""

Measured = dict[str, tuple[float, float]]
"""For each side the milliseconds per step and the MiB per 100 steps."""


def start(side: str, rows: int, batch: int, steps: int, window: int = 0) -> Side:
    numbers = map(str, (rows, batch, steps, window))
    return Side([sys.executable, str(SCRIPT), side, *numbers])


def measure(sides: dict[str, int], rows: int, batch: int, rounds: int) -> Measured:
    """Each side for so many steps, in turns."""
    running = {name: start(name, rows, batch, steps) for name, steps in sides.items()}
    for _ in range(rounds):
        for side in running.values():
            side.turn()
    for side in running.values():
        side.end()
    return {name: (1e3 * median(side.turns), 100 * side.ready[0]) for name, side in running.items()}


def compare(options: argparse.Namespace) -> dict[int, Measured]:
    """The table over the number of rows."""
    found: dict[int, Measured] = {}
    for rows in options.rows:
        dense = next(steps for most, steps in DENSE_STEPS.items() if rows <= most)
        sides = {"written": options.steps, "exact": options.steps, "ntm": dense}
        found[rows] = measure(sides, rows, 1, options.rounds)
        print(rows, found[rows], flush=True)
    rows_of_table = []
    for rows, measured in found.items():
        least = measured["written"]
        faster = measured["ntm"][0] / least[0]
        smaller = measured["ntm"][1] / max(least[1], 1e-9)
        goals = [" (1000x)" if rows == MOST else "", " (1000x)" if rows == 2**16 else ""]
        against_exact = measured["ntm"][0] / measured["exact"][0]
        rows_of_table.append(
            [
                f"{rows:,}",
                *(significant(measured[name][0]) for name in ("written", "exact", "ntm")),
                *(significant(measured[name][1]) for name in ("written", "ntm")),
                f"{significant(faster)}x{goals[0]}",
                f"{significant(against_exact)}x{' (100x)' if rows == MOST else ''}",
                f"{significant(smaller)}x{goals[1]}",
            ]
        )
    head = ["rows", "written, ms per step", "exact, ms", "NTM, ms", "written, MiB per 100 steps", "NTM, MiB"]
    print_table([*head, "time NTM / written", "NTM / exact", "memory NTM / written"], rows_of_table)
    least, most = (found[rows]["written"] for rows in (min(found), max(found)))
    print(f"time at {max(found):,} rows / at {min(found):,}: {most[0] / least[0]:.2f}x (1.5x)")
    mebibytes = [measured["written"][1] for measured in found.values()]
    print(
        f"memory of 100 steps: {min(mebibytes):.2f} to {max(mebibytes):.2f} MiB (16), "
        f"{max(mebibytes) / min(mebibytes) - 1:.0%} apart (20 %)\n"
    )
    return found


def batches(options: argparse.Namespace) -> None:
    """The cost of a step with several sequences."""
    rows = []
    for batch in options.batches:
        milliseconds = measure({"written": options.steps}, 2**16, batch, options.rounds)["written"][0]
        goal = " (0.8)" if batch == 1 else ""
        rows.append([str(batch), f"{significant(milliseconds)}{goal}", significant(milliseconds / batch)])
    print_table(["sequences, 65,536 rows", "ms per step", "ms per step and sequence"], rows)


def long(options: argparse.Namespace) -> None:
    """Long episodes at most rows: whole, and in windows."""
    rows = []
    for steps, window in ((options.long, 0), (options.longer, options.window)):
        begun = time.perf_counter()
        side = start("written", MOST, 1, steps, window)
        side.end()
        goals = ["", ""] if window else [" (30)", " (1024)"]
        seconds = time.perf_counter() - begun
        share = 1 if window else 3  # without windows, a call of twice as many steps follows
        rows.append(
            [
                f"{steps:,}" + (f" in windows of {window}" if window else ""),
                f"{seconds / share:.0f}{goals[0]}",
                f"{side.ready[1]:.0f}{goals[1]}",
            ]
        )
    print_table([f"steps, {MOST:,} rows", "seconds", "MiB"], rows)


def draw(found: dict[int, Measured], path: Path) -> None:
    from torch import cat

    from graves_core import Curve, line_chart, save_png

    names = {"written": "SAM", "exact": "SAM, search of all rows", "ntm": "NTM"}
    charts = []
    for place, label in enumerate(("ms per step", "MiB per 100 steps")):
        curves = {
            name: Curve(list(found), [measured[side][place] for measured in found.values()])
            for side, name in names.items()
        }
        charts.append(line_chart(curves, "rows", label, log_x=True, log_y=True))
    save_png(cat(charts, dim=1), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(DENSE_STEPS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--long", type=int, default=4000, help="steps of the episode in one backward pass")
    parser.add_argument("--longer", type=int, default=100_000, help="steps of the episode in windows")
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.batches, options.rounds = [64, 128], [1, 2], 1
        options.steps, options.long, options.longer, options.window = 10, 20, 40, 20
    found = compare(options)
    batches(options)
    long(options)
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
