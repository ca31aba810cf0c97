"""Trains a differentiable neural computer: ours, sparse or dense, or that of the package `dnc`.

Run by `memory_sdnc.py`. Prints the MiB that a time step more adds to the peak of the process, and those that
all of a first call adds; then, for every line that it is given, the seconds of the processor that a time step
takes. One thread.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from memory_dnc_side import HEADS, INPUTS, SPARE, UNITS, WIDTH, ours, peak, peer
from timing import seconds
from torch import nn

READS = 4


def sparse(rows: int) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    from graves_memory import SDNC

    net = SDNC(INPUTS, INPUTS, UNITS, rows=rows, width=WIDTH, heads=HEADS, reads=READS)
    return net, lambda x: net(x)[0]


def main() -> None:
    sides = {"sdnc": sparse, "dnc": ours, "peer": peer}
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=sides)
    for name in ("rows", "batch", "steps"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, outputs = sides[options.side](options.rows)
    torch.empty(SPARE, dtype=torch.uint8)
    torch.ones(2, requires_grad=True).sum().backward()

    def call(steps: int) -> None:
        net.zero_grad()
        outputs(torch.randn(steps, options.batch, INPUTS)).square().mean().backward()

    before = peak()
    call(options.steps)
    first = peak()
    call(2 * options.steps)
    print((peak() - first) / options.steps, first - before, flush=True)
    for _ in sys.stdin:
        print(seconds(lambda: call(options.steps), 1) / options.steps, flush=True)


if __name__ == "__main__":
    main()
