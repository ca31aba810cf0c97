"""Trains a dense differentiable neural computer, ours or the package `dnc`'s. Run by `memory_dnc.py`.

Prints the MiB that a first call adds to the peak of the process; then, for every line that it is given, the
seconds of the processor that a call takes. One thread.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from timing import seconds
from torch import nn

INPUTS, UNITS, WIDTH, HEADS = 10, 100, 32, 4
SPARE = 31 * 2**20
"""Bytes of a block that is freed first: from then on glibc keeps smaller ones, as in a long run."""


def ours(rows: int) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    from graves_memory import DNC

    net = DNC(INPUTS, INPUTS, UNITS, rows=rows, width=WIDTH, heads=HEADS)
    return net, lambda x: net(x)[0]


def peer(rows: int) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """The same sizes; its outputs are always as many as its inputs."""
    from dnc import DNC

    sizes = {"nr_cells": rows, "cell_size": WIDTH, "read_heads": HEADS}
    net = DNC(INPUTS, UNITS, num_hidden_layers=1, batch_first=True, **sizes)
    return net, lambda x: net(x.transpose(0, 1), (None, None, None), reset_experience=True)[0]


def peak() -> float:
    """The largest resident size of this process so far, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["ours", "peer"])
    for name in ("rows", "batch", "steps"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, outputs = {"ours": ours, "peer": peer}[options.side](options.rows)
    torch.empty(SPARE, dtype=torch.uint8)
    torch.ones(2, requires_grad=True).sum().backward()
    x = torch.randn(options.steps, options.batch, INPUTS)

    def call() -> None:
        net.zero_grad()
        outputs(x).square().mean().backward()

    before = peak()
    call()
    print(peak() - before, flush=True)
    for _ in sys.stdin:
        print(seconds(call, 1), flush=True)


if __name__ == "__main__":
    main()
