"""Writing an episode into a Kanerva memory: all items at once beside one after the other.

Both sides compute the same posterior, mean and covariance, and go back from both to prior, addresses, codes
and noise. At once means one Cholesky factor of T x T and matrix products; one after the other means T updates
of rank one. Times are processor times of one thread for forward and backward, medians of rounds in turns; the
goal is in brackets. The last column is the largest difference between the two memories, relative to the
largest number.
"""

import argparse
import os
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.tables import print_table, significant
from parts.timing import alternate
from torch import Tensor

from graves_memory.kanerva.matrix_normal import MatrixNormal
from graves_memory.kanerva.update import update_batch, update_online

BATCH = 16
SIZES = [(32, 32, 100), (32, 64, 100), (64, 128, 200)]
"""Items T, rows K, numbers of a code C."""
GOALS = {32: 5.0}

Update = Callable[[MatrixNormal, Tensor, Tensor, Tensor], MatrixNormal]


def case(items: int, rows: int, size: int) -> list[Tensor]:
    """Prior mean and covariance, addresses, codes and noise, as they are early in training."""
    torch.manual_seed(0)
    tensors = [
        torch.randn(rows, size),
        torch.eye(rows),
        torch.randn(BATCH, items, rows) / rows**0.5,
        torch.randn(BATCH, items, size),
        torch.tensor(0.6),
    ]
    return [tensor.requires_grad_() for tensor in tensors]


def side(update: Update, tensors: list[Tensor]) -> Callable[[], MatrixNormal]:
    def run() -> MatrixNormal:
        mean, covariance, *rest = tensors
        memory = update(MatrixNormal(mean, covariance), *rest)
        loss = memory.mean.square().sum() + memory.covariance.square().sum()
        torch.autograd.grad(loss, tensors)
        return MatrixNormal(memory.mean.detach(), memory.covariance.detach())

    return run


def measure(items: int, rows: int, size: int, rounds: int) -> list[str]:
    """A row of the table."""
    tensors = case(items, rows, size)
    sides = {"batch": side(update_batch, tensors), "online": side(update_online, tensors)}
    memories = [run() for run in sides.values()]
    gap = max(
        float((batch - online).abs().max() / online.abs().max())
        for batch, online in zip(*memories, strict=True)
    )
    taken = alternate(sides, rounds)
    ratio = median(online / batch for batch, online in zip(*taken.values(), strict=True))
    goal = f" ({GOALS[items]:g}x)" if items in GOALS else ""
    milliseconds = [significant(1e3 * median(times)) for times in taken.values()]
    return [str(items), str(rows), str(size), *milliseconds, f"{significant(ratio)}x{goal}", f"{gap:.1e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [(4, 8, 5)] if options.quick else SIZES
    print(f"{BATCH} episodes, float32, forward and backward, ms")
    head = ["items T", "rows K", "code C", "at once", "one by one", "one by one / at once", "difference"]
    print_table(head, [measure(*size, 1 if options.quick else options.rounds) for size in sizes])


if __name__ == "__main__":
    main()
