"""Backpropagation through time in little memory, beside a loop and beside `torch.utils.checkpoint`.

An LSTM cell with 256 units reads 1,000 steps of a batch of 32, with a loss at every step. All sides compute
the same gradient and take turns in one process; times are processor times of one thread, memory is the peak of
torch's allocator, gradients of the parameters included. Goals stand in brackets.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.memory import peak_megabytes
from parts.tables import print_table, significant
from parts.timing import seconds
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graves_rnn_training import MemoryBudget, checkpointed_scan, plan_cost

FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.075, 0.05, 0.035, 0.025, 0.02)
CHUNKS = (5, 10, 16, 25, 32, 50, 100, 200, 333)
GOALS = {0.05: 1.35, 0.025: 2.2}
Side = Callable[[], Tensor]


class Setting:
    """A cell, a readout and data.

    Args:
        steps: length of the sequence.
        batch: sequences.
        inputs: numbers read at a step.
        hidden: units of the cell.
    """

    def __init__(self, steps: int, batch: int = 32, inputs: int = 64, hidden: int = 256) -> None:
        torch.manual_seed(0)
        self.cell, self.readout = nn.LSTMCell(inputs, hidden), nn.Linear(hidden, 8)
        self.whole = nn.LSTM(inputs, hidden)
        self.x, self.y = torch.randn(steps, batch, inputs), torch.randn(steps, batch, 8)
        self.start = torch.zeros(batch, hidden), torch.zeros(batch, hidden)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return (self.readout(output) - target).square().mean()

    def piece(self, x: Tensor, y: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loop: sum of the losses of some steps, and the state after them."""
        total = torch.zeros(())
        for now, target in zip(x, y, strict=True):
            h, c = self.cell(now, (h, c))
            total = total + self.loss(h, target)
        return total, h, c

    def full(self) -> Tensor:
        return self.piece(self.x, self.y, *self.start)[0] / len(self.x)

    def chunked(self, size: int) -> Tensor:
        """The loop in chunks, each of which runs again for its gradient."""
        total, (h, c) = torch.zeros(()), self.start
        for x, y in zip(self.x.split(size), self.y.split(size), strict=True):
            part, h, c = checkpoint(self.piece, x, y, h, c, use_reentrant=False)
            total = total + part
        return total / len(self.x)

    def ours(self, budget: MemoryBudget) -> Tensor:
        return checkpointed_scan(
            self.cell,
            self.x,
            self.start,
            readout=self.loss,
            targets=self.y,
            budget=budget,
            outputs="mean",
            parameters=self.readout.parameters(),
        )[0]

    def forwards(self, budget: MemoryBudget) -> int:
        return plan_cost(
            self.cell,
            self.x,
            self.start,
            readout=self.loss,
            targets=self.y,
            budget=budget,
            outputs="mean",
            parameters=self.readout.parameters(),
        ).forwards

    def fused(self) -> Tensor:
        """The fused kernel over the whole sequence."""
        return self.loss(self.whole(self.x)[0], self.y)

    def segments(self, size: int) -> Tensor:
        """The fused kernel over segments of so many steps, each of them a step of the plan."""
        x, y = (data.unflatten(0, (-1, size)) for data in (self.x, self.y))
        state = self.start[0][None], self.start[1][None]
        return checkpointed_scan(
            self.whole,
            x,
            state,
            readout=self.loss,
            targets=y,
            outputs="mean",
            parameters=self.readout.parameters(),
        )[0]

    def train(self, side: Side) -> Callable[[], object]:
        modules = nn.ModuleList([self.cell, self.readout, self.whole])

        def run() -> None:
            modules.zero_grad()
            side().backward()

        return run


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, list[float]]]:
    """Peak in MB and seconds per round of each side, in turns."""
    peaks = {name: peak_megabytes(call) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call, 1))
    return {name: (peaks[name], taken[name]) for name in calls}


def ratio_of(taken: list[float], other: list[float]) -> float:
    return median(mine / theirs for mine, theirs in zip(taken, other, strict=True))


def curve(steps: int, rounds: int, picture: str) -> None:
    """Memory against time, ours and chunks of every size."""
    setting = Setting(steps)
    ours = {f"ours, {share:.1%}": MemoryBudget(fraction=share) for share in FRACTIONS}
    sizes = [size for size in CHUNKS if size < steps]
    calls = {"loop": setting.train(setting.full)}
    calls |= {name: setting.train(lambda b=budget: setting.ours(b)) for name, budget in ours.items()}
    calls |= {f"chunks of {size}": setting.train(lambda s=size: setting.chunked(s)) for size in sizes}
    found = measure(calls, rounds)
    peak, times = found["loop"]
    points = {
        name: (mb / peak, median(t / own for t, own in zip(taken, times, strict=True)))
        for name, (mb, taken) in found.items()
    }
    rows = []
    for name, (memory, ratio) in points.items():
        goal = next((f" ({g}x)" for share, g in GOALS.items() if name == f"ours, {share:.1%}"), "")
        forwards = f"{setting.forwards(ours[name]):,}" if name in ours else ""
        rows.append([name, significant(found[name][0]), f"{memory:.1%}", f"{ratio:.2f}x{goal}", forwards])
    print(f"LSTM cell, 256 units, {steps} steps, batch 32; the loop takes {median(times):.2f} s")
    print_table(["side", "peak MB", "of the loop", "time / loop", "forward operations"], rows)
    against_chunks(points)
    if picture:
        draw(points, picture)


def against_chunks(points: dict[str, tuple[float, float]]) -> None:
    """For each size of chunks, our fastest point in at most its memory."""
    ours = [point for name, point in points.items() if name.startswith("ours")]
    rows = []
    for name, (memory, ratio) in points.items():
        if name.startswith("chunks"):
            fits = [own for share, own in ours if share <= memory * 1.001]
            fastest = min(fits, default=float("nan"))
            rows.append(
                [name, f"{memory:.1%}", f"{ratio:.2f}x", f"{fastest:.2f}x", f"{ratio / fastest:.2f}x"]
            )
    print_table(
        ["side", "memory", "its time", "our time in no more memory", "its time / ours (at least 1x)"], rows
    )


def draw(points: dict[str, tuple[float, float]], path: str) -> None:
    from graves_core import Curve, line_chart, save_png

    kinds = {"graves-rnn-training": "ours", "torch.utils.checkpoint, chunks": "chunks"}
    curves = {
        label: Curve(
            *zip(
                *sorted((100 * m, r) for name, (m, r) in points.items() if name.startswith(kind)), strict=True
            )
        )
        for label, kind in kinds.items()
    }
    chart = line_chart(
        curves, "memory, % of full backpropagation", "time / full", log_x=True, levels={"full": 1}
    )
    save_png(chart, Path(path))


def fused(steps: int, rounds: int) -> None:
    """Segments of a fused kernel as the step of the plan."""
    setting = Setting(steps)
    calls = {"loop": setting.train(setting.full), "nn.LSTM": setting.train(setting.fused)}
    for size in (10, 20, 25, 50):
        if steps % size == 0:
            calls[f"segments of {size}"] = setting.train(lambda s=size: setting.segments(s))
    found = measure(calls, rounds)
    peak, times = found["loop"]
    rows = [
        [name, significant(mb), f"{mb / peak:.1%}", f"{ratio_of(taken, times):.2f}x"]
        for name, (mb, taken) in found.items()
    ]
    print(f"nn.LSTM, 256 units, {steps} steps, batch 32, each segment run twice")
    print_table(["side", "peak MB", "of the loop (15 %)", "time / loop (1x)"], rows)


def long(steps: int) -> None:
    """A sequence whose full graph would not fit."""
    setting = Setting(steps, batch=8, inputs=16, hidden=64)
    short = Setting(1000, batch=8, inputs=16, hidden=64)
    each = peak_megabytes(short.train(short.full)) / 1000
    budget = MemoryBudget(bytes=8_000_000)
    cost = setting.forwards(budget)
    call = setting.train(lambda: setting.ours(budget))
    taken = seconds(call, 1)
    brief = short.train(lambda: short.ours(budget))
    rows = [
        ["full backpropagation", significant(each * steps), "not run"],
        [
            "ours, 8 MB",
            significant(peak_megabytes(brief)),
            f"{taken:.0f} s, {cost / steps:.2f} runs per step",
        ],
    ]
    print(
        f"LSTM cell, 64 units, {steps:,} steps, batch 8 (our peak is that of 1,000 steps in the same budget)"
    )
    print_table(["side", "peak MB", "processor time"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", default="", help="where to draw memory against time")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, rounds = (60, 1) if options.quick else (1000, options.rounds)
    curve(steps, rounds, options.picture)
    fused(steps, rounds)
    long(1000 if options.quick else 100_000)


if __name__ == "__main__":
    main()
