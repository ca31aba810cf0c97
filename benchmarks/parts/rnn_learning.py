"""Learning one sequence at a time with any learner, in plain PyTorch: what the learning benchmarks share."""

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graves_rnn_training import BPTT, RFLO, RTRL, UORO, GRUCell, Learner, SnAp, TruncatedBPTT

NO_TARGET = -100
Job = dict[str, Any]
"""What a run is, and in the end what it reached: plain values."""


def make_learner(method: str, cell: GRUCell, compiled: bool = False) -> Learner:
    """The learner of a method: `bptt`, `truncated-8`, `snap-2`, `rtrl`, `uoro`, `rflo` or `frozen`."""
    name, _, number = method.partition("-")
    makers: dict[str, Callable[[], Learner]] = {
        "bptt": lambda: BPTT(cell),
        "truncated": lambda: TruncatedBPTT(cell, window=int(number)),
        "snap": lambda: SnAp(cell, order=int(number), compile=compiled),
        "rtrl": lambda: RTRL(cell),
        "uoro": lambda: UORO(cell, compile=compiled),
        "rflo": lambda: RFLO(cell, decay=0.8),
        "frozen": lambda: BPTT(cell.requires_grad_(False)),
    }
    return makers[name]()


class Student:
    """A cell with a linear readout over one-hot symbols, and Adam.

    Learners that carry an influence make an update after every step that has a target, as the paper does;
    BPTT makes one at the end of the sequence, truncated BPTT one at the end of each window.

    Args:
        job: `method`, `hidden`, `sparsity`, `rate` and `seed`.
        symbols: how many there are to read.
        classes: how many there are to choose from.
        compiled: compile the learner's step.
    """

    def __init__(self, job: Job, symbols: int, classes: int, compiled: bool = False) -> None:
        torch.manual_seed(job["seed"])
        cell = GRUCell(
            symbols,
            job["hidden"],
            sparsity=job["sparsity"],
            shared_gate_mask=job.get("shared", True),
            mask_seed=job["seed"],
        )
        self.learner = make_learner(job["method"], cell, compiled)
        self.readout = nn.Linear(job["hidden"], classes)
        learned = [p for p in (*cell.parameters(), *self.readout.parameters()) if p.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=job["rate"], fused=True)
        self.symbols = symbols
        self.window = int(job["method"].partition("-")[2]) if job["method"].startswith("truncated") else 0
        self.updates = 0

    def learn(self, inputs: Tensor, targets: Tensor) -> float:
        """Learns from sequences `(batch, time)`, each from a state of zeros; returns bits per target."""
        return self.follow(inputs, targets, self.learner.initial_state(len(inputs)))[0]

    def follow(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[float, Any]:
        """The same from any state, which it returns after the last step."""
        steps = nn.functional.one_hot(inputs.T.long(), self.symbols).float()
        said = (targets != NO_TARGET).any(0).tolist()
        losses: list[Tensor] = []
        waiting: list[Tensor] = []
        for time, step in enumerate(steps):
            output, state = self.learner(step, state)
            if said[time]:
                loss = nn.functional.cross_entropy(self.readout(output), targets[:, time])
                losses.append(loss.detach())
                waiting.append(loss)
            if self.learner.forward_accumulation or (self.window and (time + 1) % self.window == 0):
                self.update(waiting)
        self.update(waiting)
        return float(torch.stack(losses).mean()) / math.log(2), self.learner.detach(state)

    def update(self, waiting: list[Tensor]) -> None:
        """One step of the optimizer on the mean of the losses since the last; none without losses."""
        if waiting:
            (torch.stack(waiting).mean() if len(waiting) > 1 else waiting[0]).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.updates += 1
            waiting.clear()

    @torch.no_grad()
    def score(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[float, Any]:
        """Bits per target without learning, and the state after the last step."""
        steps = nn.functional.one_hot(inputs.T.long(), self.symbols).float()
        total = 0.0
        for time, step in enumerate(steps):
            output, state = self.learner(step, state)
            total += float(nn.functional.cross_entropy(self.readout(output), targets[:, time]))
        return total / len(steps) / math.log(2), state


def run_all(
    jobs: Iterable[Job], work: Callable[[Job], Job], results: Path, processes: int
) -> list[Mapping[str, Any]]:
    """Does all jobs in processes of one thread, except those whose result stands in the file already.

    Args:
        jobs: in the order in which they are begun.
        work: does one and returns it with what it reached.
        results: a file of a JSON object per line, which grows.
        processes: how many at a time.
    """
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done: list[Mapping[str, Any]] = [json.loads(line) for line in lines]
    jobs = list(jobs)
    left = [job for job in jobs if not any(job.items() <= result.items() for result in done)]
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        for result in pool.imap_unordered(work, left):
            done.append(result)
            with results.open("a", encoding="utf-8") as file:
                print(json.dumps(result), file=file)
    return [next(result for result in done if job.items() <= result.items()) for job in jobs]
