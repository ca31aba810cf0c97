"""What a step of learning costs: SnAp, RTRL, UORO and RFLO beside backpropagation through time.

All sides train the same sparse GRU on 50 steps with a loss at every step. Backpropagation is autograd over a
loop with masked dense matrices, one pass back at the end; the others are given the derivative of the loss and
compute a gradient at every step, compiled where they can be. Times are processor times of one thread per
step, medians of rounds in turns; goals in brackets.
`--braintrace PYTHON` measures SnAp-2 of braintrace (JAX) as well, with an interpreter that has it.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.tables import print_table, significant
from parts.timing import seconds
from torch import Tensor, nn

from graves_rnn_training import RFLO, RTRL, UORO, GRUCell, Learner, SnAp

STEPS, BATCH, INPUTS = 50, 16, 32
SPARSITIES = (0.75, 0.9375, 0.984)
GOALS = {
    **{(size, share, "snap-1"): 1.0 for size in (128, 256) for share in SPARSITIES},
    (512, 0.75, "snap-1"): 1.5,
    (128, 0.984, "snap-2"): 1.5,
    (128, 0.9375, "snap-2"): 8.0,
}
MOST_BYTES = 1_500_000_000
"""Influences that need more are left out."""


class Masked(nn.Module):
    """The same cell as a loop with dense matrices that are multiplied by masks."""

    def __init__(self, cell: GRUCell) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name: cell.matrix(name).detach().clone() for name in ("weight_ih", "weight_hh")}
        )
        self.masks = {name: getattr(cell, f"{name}_mask").float() for name in self.weights}
        self.biases = nn.ParameterList([cell.bias_ih.detach().clone(), cell.bias_hh.detach().clone()])

    def loss(self, x: Tensor) -> Tensor:
        given, kept = (self.weights[name] * self.masks[name] for name in ("weight_ih", "weight_hh"))
        h, total = x.new_zeros(x.shape[1], kept.shape[1]), x.new_zeros(())
        for now in x:
            a = nn.functional.linear(now, given, self.biases[0]).chunk(3, 1)
            b = nn.functional.linear(h, kept, self.biases[1]).chunk(3, 1)
            reset, update = (a[0] + b[0]).sigmoid(), (a[1] + b[1]).sigmoid()
            candidate = (a[2] + reset * b[2]).tanh()
            h = candidate + update * (h - candidate)
            total = total + h.square().mean()
        return total


def backward_side(cell: GRUCell, x: Tensor) -> Callable[[], object]:
    masked = Masked(cell)

    def run() -> None:
        masked.zero_grad()
        masked.loss(x).backward()

    return run


def forward_side(learner: Learner, x: Tensor) -> Callable[[], object]:
    state = learner.initial_state(x.shape[1])
    everyone = torch.ones(x.shape[1], dtype=torch.bool)

    def run() -> None:
        nonlocal state
        learner.zero_grad()
        state = learner.reset(state, everyone)
        for now in x:
            output, state = learner(now, state)
            output.backward(2 / output.numel() * output.detach())

    return run


def learners(cell: GRUCell, names: list[str]) -> dict[str, Learner]:
    makers: dict[str, Callable[[], Learner]] = {
        "snap-1": lambda: SnAp(cell, order=1, compile=True),
        "snap-2": lambda: SnAp(cell, order=2, compile=True),
        "rtrl": lambda: RTRL(cell),
        "uoro": lambda: UORO(cell, compile=True),
        "rflo": lambda: RFLO(cell, compile=True),
    }
    return {name: makers[name]() for name in names}


def measure(size: int, share: float, names: list[str], rounds: int) -> list[str]:
    """A row of the table: per step of backpropagation, and of the others relative to it."""
    torch.manual_seed(0)
    torch.compiler.reset()
    cell = GRUCell(INPUTS, size, sparsity=share, input_sparsity=share)
    x = torch.randn(STEPS, BATCH, INPUTS)
    found = learners(cell, names)
    feasible = {name: one for name, one in found.items() if one.trace_bytes(BATCH) <= MOST_BYTES}
    sides = {"bptt": backward_side(cell, x)}
    sides |= {name: forward_side(learner, x) for name, learner in feasible.items()}
    for side in sides.values():
        side()
    taken = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            taken[name].append(seconds(side, 1))
    row = [str(size), f"{share:.1%}", significant(1e3 * median(taken["bptt"]) / STEPS)]
    for name in names:
        if name not in feasible:
            row.append(f"- ({found[name].trace_bytes(BATCH) / 1e9:.1f} GB)")
            continue
        ratio = median(own / other for own, other in zip(taken[name], taken["bptt"], strict=True))
        goal = GOALS.get((size, share, name))
        row.append(f"{significant(ratio)}x" + (f" ({goal:g}x)" if goal else ""))
    if "snap-2" in feasible:
        learner = feasible["snap-2"]
        needed = 4 * BATCH * learner.pattern_size
        row.append(f"{learner.trace_bytes(BATCH) / 1e6:.2f} / {needed / 1e6:.2f}")
    else:
        row.append("")
    return row


def braintrace(python: str, rounds: int) -> None:
    """SnAp-2 of both, 128 units, 93.75 % sparse; theirs is vanilla, with a third of the parameters."""
    script = Path(__file__).parent / "parts" / "rnn_braintrace.py"
    told = subprocess.run([python, str(script)], capture_output=True, text=True, check=True)
    theirs = json.loads(told.stdout.strip().splitlines()[-1])["milliseconds"]
    cell = GRUCell(INPUTS, 128, sparsity=0.9375, input_sparsity=0.9375)
    side = forward_side(SnAp(cell, order=2, compile=True), torch.randn(STEPS, BATCH, INPUTS))
    side()
    ours = 1e3 * median(seconds(side, 1) for _ in range(rounds)) / STEPS
    print("SnAp-2, 128 units, 93.75 % sparse, batch 16")
    rows = [["braintrace, vanilla", significant(theirs), ""]]
    rows.append(["ours, GRU", significant(ours), f"{theirs / ours:.0f}x (50x)"])
    print_table(["side", "ms per step", "braintrace / ours"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--sparsity", type=float, nargs="+", default=list(SPARSITIES))
    parser.add_argument("--methods", nargs="+", default=["snap-1", "snap-2", "rtrl", "uoro", "rflo"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--braintrace", default="", help="a Python that has braintrace")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.hidden, options.sparsity, options.rounds = [32], [0.75], 1
    print(f"GRU, {INPUTS} inputs, batch {BATCH}: backpropagation in ms per step, the others relative to it")
    rows = []
    for size in options.hidden:
        for share in options.sparsity:
            rows.append(measure(size, share, options.methods, options.rounds))
            print("|".join(rows[-1]), flush=True)
    head = ["units", "sparse", "bptt, ms", *options.methods, "MB of snap-2: stored / in the pattern"]
    print_table(head, rows)
    if options.braintrace:
        braintrace(options.braintrace, options.rounds)


if __name__ == "__main__":
    main()
