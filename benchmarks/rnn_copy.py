"""The curriculum of the copy task, reached by each learner with equal data: the paper's comparison in small.

A sparse GRU reads L random bits and says them again. L is drawn from the last six levels; the level rises
when a batch of 16 sequences costs less than 0.15 bits per answer. What counts is the level after so many
symbols. For each method the best learning rate of a grid is searched at the middle sparsity, with a seed that
is not used again.
`--results FILE` keeps what is done, so that an interrupted comparison goes on.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import torch
from parts.rnn_learning import Job, Student, run_all
from parts.tables import print_table

from graves_rnn_training.data.sequences import copy_task

METHODS = ("bptt", "snap-1", "snap-2", "snap-3", "rtrl", "uoro", "rflo", "frozen")
RATES = (10**-2.5, 10**-3.0, 10**-3.5)
BATCH, SOLVED, SPREAD = 16, 0.15, 5


def learn_to_copy(job: Job) -> Job:
    """One run; returns the job with `level`, `updates` and processor seconds."""
    torch.set_num_threads(1)
    student = Student(job, symbols=4, classes=2)
    draw = torch.Generator().manual_seed(job["seed"] + 1000)
    level, tokens, start = 1, 0, time.process_time()
    while tokens < job["tokens"]:
        length = int(torch.randint(max(level - SPREAD, 1), level + 1, (), generator=draw))
        bits = torch.randint(2, (BATCH, length), generator=draw, dtype=torch.uint8)
        batch = copy_task(bits, torch.full((BATCH,), length))
        level += student.learn(batch["inputs"], batch["targets"]) < SOLVED
        tokens += batch["inputs"].numel()
    return {**job, "level": level, "updates": student.updates, "seconds": time.process_time() - start}


def search(options: argparse.Namespace) -> Iterator[Job]:
    """The runs that choose the learning rates."""
    middle = sorted(options.sparsity)[len(options.sparsity) // 2]
    for method in options.methods:
        for rate in RATES:
            yield describe(options, method, middle, rate, seed=100)


def describe(options: argparse.Namespace, method: str, sparsity: float, rate: float, seed: int) -> Job:
    return {
        "task": "copy",
        "method": method,
        "hidden": options.hidden,
        "sparsity": sparsity,
        "rate": rate,
        "seed": seed,
        "tokens": options.tokens,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=200_000, help="symbols that each run reads")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.75, 0.9375, 0.984])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("rnn_copy.jsonl"))
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.seeds, options.sparsity, options.hidden = 2_000, 1, [0.75], 8
        options.results = Path("/dev/null")
    searched = run_all(search(options), learn_to_copy, options.results, options.processes)
    best = {
        method: max((run for run in searched if run["method"] == method), key=lambda run: run["level"])[
            "rate"
        ]
        for method in options.methods
    }
    jobs = [
        describe(options, method, sparsity, best[method], seed)
        for seed in range(options.seeds)
        for sparsity in options.sparsity
        for method in options.methods
    ]
    runs = run_all(jobs, learn_to_copy, options.results, options.processes)
    rows = []
    for method in options.methods:
        cells = []
        for sparsity in options.sparsity:
            found = [run for run in runs if (run["method"], run["sparsity"]) == (method, sparsity)]
            levels = [run["level"] for run in found]
            cells.append(f"{mean(levels):.1f} ({min(levels)}-{max(levels)})")
        seconds = mean(run["seconds"] for run in runs if run["method"] == method)
        rows.append([method, f"{best[method]:.1g}", *cells, f"{seconds:.0f}"])
    print(f"GRU {options.hidden}, {options.tokens:,} symbols, {options.seeds} seeds: mean level (worst-best)")
    head = ["method", "rate", *(f"{share:.1%} sparse" for share in options.sparsity), "processor s per run"]
    print_table(head, rows)


if __name__ == "__main__":
    main()
