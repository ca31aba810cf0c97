"""Trains a network with a memory of so many rows on random sequences. Run by `memory_sam.py`.

Prints the MiB that a time step more adds to the peak of the process, and those that all of a first call adds;
then, for every line that it is given, the seconds of the processor that a time step takes, forward, a loss at
every step, and backward. One thread.
"""

import argparse
import sys

import torch
from memory_dnc_side import HEADS, INPUTS, SPARE, UNITS, WIDTH, peak
from timing import seconds
from torch import Tensor

from graves_memory import NTM, SAM, MemoryNetwork

READS = 4


def network(side: str, rows: int) -> MemoryNetwork:
    sizes = {"rows": rows, "width": WIDTH, "heads": HEADS}
    if side == "ntm":
        return NTM(INPUTS, INPUTS, UNITS, **sizes)
    return SAM(INPUTS, INPUTS, UNITS, reads=READS, search=side, **sizes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["written", "exact", "ivf", "ntm"])
    for name in ("rows", "batch", "steps", "window"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = network(options.side, options.rows)
    torch.empty(SPARE, dtype=torch.uint8)
    torch.ones(2, requires_grad=True).sum().backward()

    def call(steps: int) -> None:
        """An episode; in windows that are gone back through one by one, if there are to be any."""
        net.zero_grad()
        state = None
        window = options.window or steps
        for _ in range(steps // window):
            inputs: Tensor = torch.randn(window, options.batch, INPUTS)
            outputs, state = net(inputs, state)
            outputs.square().mean().backward()
            state = net.detach(state)

    before = peak()
    call(options.steps)
    first = peak()
    if not options.window:
        call(2 * options.steps)
    print((peak() - first) / options.steps, first - before, flush=True)
    for _ in sys.stdin:
        print(seconds(lambda: call(options.steps), 1) / options.steps, flush=True)


if __name__ == "__main__":
    main()
