"""How far a curriculum takes each network in equal processor time: SAM, SDNC, DAM, DNC and an LSTM.

The difficulty of a batch of 8 sequences is drawn up to a level that doubles as soon as less than 1 % of the
bits of the answers were wrong in the running mean of about 50 batches. Networks with a memory have a
controller of 32 units and 4 heads; the LSTM has 100 units. SAM and SDNC have 65,536 rows; the dense networks
have 64, with which they need about as much memory as SAM with its many.
`--results FILE` keeps what is done, so that an interrupted comparison goes on; `--plot FILE` draws the
levels.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parts.rnn_learning import Job, run_all
from parts.tables import print_table
from torch.nn.functional import binary_cross_entropy_with_logits

from graves_core import Curve, line_chart, save_png
from graves_memory import DAM, DNC, SAM, SDNC, AssociativeRecallTask, CopyTask, LSTMNetwork, PrioritySortTask

SMALL: dict[str, int] = {"hidden_size": 32, "heads": 4}
NETS: dict[str, Callable[[int, int], Any]] = {
    "sam": lambda given, said: SAM(given, said, rows=65_536, **SMALL),
    "sdnc": lambda given, said: SDNC(given, said, rows=65_536, **SMALL),
    "dam": lambda given, said: DAM(given, said, rows=64, **SMALL),
    "dnc": lambda given, said: DNC(given, said, rows=64, **SMALL),
    "lstm": lambda given, said: LSTMNetwork(given, said),
}
TASKS = {"copy": CopyTask, "recall": AssociativeRecallTask, "sort": PrioritySortTask}
BATCH, SOLVED, MEMORY = 8, 0.01, 0.98


def climb(job: Job) -> Job:
    """One run; returns the job with the `levels` `[seconds, level]`, the sequences and the running error."""
    torch.set_num_threads(1)
    torch.manual_seed(job["seed"])
    task = TASKS[job["on"]]()
    net = NETS[job["net"]](task.input_size, task.output_size)
    optimizer = torch.optim.Adam(net.parameters(), lr=job["rate"])
    draw = torch.Generator().manual_seed(job["seed"] + 1)
    level, error, batches, start = max(job["level"], task.shortest), 0.5, 0, time.process_time()
    levels = [[0.0, level]]
    while (seconds := time.process_time() - start) < 60 * job["minutes"]:
        batch = task.make(level, BATCH, draw)
        outputs = net(batch["inputs"].transpose(0, 1))[0].transpose(0, 1)[batch["mask"]]
        targets = batch["targets"][batch["mask"]]
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(outputs, targets).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        batches += 1
        wrong = float(((outputs > 0) != (targets > 0.5)).float().mean())
        error = MEMORY * error + (1 - MEMORY) * wrong
        if error < SOLVED:
            level, error = 2 * level, 0.5
            levels.append([seconds, level])
    return {**job, "levels": [*levels, [seconds, level]], "sequences": batches * BATCH, "error": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS), default="copy")
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--minutes", type=float, default=60.0, help="of the processor, for each network")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--level", type=int, default=4, help="at the beginning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("memory_curriculum.jsonl"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.results = 0.02, Path("/dev/null")
    same = {name: getattr(options, name) for name in ("minutes", "rate", "level", "seed")}
    jobs = [{"task": "curriculum", "on": options.task, "net": net, **same} for net in options.nets]
    runs = run_all(jobs, climb, options.results, options.processes)
    print(f"{options.task}, {options.minutes:g} minutes of the processor each")
    head = ["network", "level at the end", "reached after s", "wrong bits there", "sequences"]
    rows = [
        [
            run["net"],
            str(run["levels"][-1][1]),
            f"{run['levels'][-2][0]:.0f}",
            f"{run['error']:.2%}",
            f"{run['sequences']:,}",
        ]
        for run in runs
    ]
    print_table(head, rows)
    if options.plot:
        curves = {run["net"]: staircase(run["levels"]) for run in runs}
        chart = line_chart(curves, "processor seconds", "longest sequence of the curriculum", log_y=True)
        save_png(chart, options.plot)


def staircase(levels: list[list[float]]) -> Curve:
    """A curve that goes up where the level does."""
    seconds, heights = [levels[0][0]], [levels[0][1]]
    for second, level in levels[1:]:
        seconds += [second, second]
        heights += [heights[-1], level]
    return Curve(seconds, heights)


if __name__ == "__main__":
    main()
