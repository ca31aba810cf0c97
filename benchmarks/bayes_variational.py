"""Learning a posterior over the weights beside learning the weights: what one gradient costs.

The variational side draws a sample of all weights, goes forward and backward, puts the means back, and adds
the gradients of the complexity, for Gaussian posterior and prior. The other side goes forward and backward
through the same layer. Times are processor times of one thread, medians of rounds in turns; the goal is in
brackets. One more column adds fitting the prior, which is done once per update; in the last one, noise is
drawn for the outputs in place of the weights (local reparameterisation).
"""

import argparse
import os
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.tables import print_table, significant
from parts.timing import alternate
from torch import Tensor, nn

from graves_bayes.layers.example_noise import ExampleNoise
from graves_bayes.layers.sampled import posterior_over, sampled_weights

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "Linear 784->400, B=32": (lambda: nn.Linear(784, 400), (32, 784), 4.0),
    "Linear 784->400, B=256": (lambda: nn.Linear(784, 400), (256, 784), 0.0),
    "Conv2d 32->64 3x3, 28x28, B=16": (lambda: nn.Conv2d(32, 64, 3, padding=1), (16, 32, 28, 28), 1.15),
    "LSTM 40->128, T=100, B=16": (lambda: nn.LSTM(40, 128), (100, 16, 40), 1.2),
    "bidirectional LSTM, same": (lambda: nn.LSTM(40, 128, bidirectional=True), (100, 16, 40), 1.2),
}
QUICK: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "Linear 3->2, B=4": (lambda: nn.Linear(3, 2), (4, 3), 0.0)
}
EXAMPLES = 60_000


def loss(net: nn.Module, inputs: Tensor) -> Tensor:
    output = net(inputs)
    return (output[0] if isinstance(output, tuple) else output).square().mean()


def plain(net: nn.Module, inputs: Tensor) -> Callable[[], None]:
    def run() -> None:
        net.zero_grad()
        loss(net, inputs).backward()

    return run


def variational(
    net: nn.Module, inputs: Tensor, refit: bool = False, local: bool = False
) -> Callable[[], None]:
    posterior = posterior_over(net)
    if local:
        ExampleNoise(posterior, [net], "local")
    generator = torch.Generator().manual_seed(0)

    def run() -> None:
        net.zero_grad()
        posterior.zero_grad()
        with sampled_weights(posterior, generator):
            loss(net, inputs).backward()
        posterior.add_complexity_gradient_(1 / EXAMPLES)
        if refit:
            posterior.refit_prior_()

    return run


def measure(
    name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], goal: float, rounds: int
) -> list[str]:
    """A row of the table."""
    torch.manual_seed(0)
    inputs = torch.randn(shape)
    sides = {
        "plain": plain(make(), inputs),
        "variational": variational(make(), inputs),
        "fitted": variational(make(), inputs, refit=True),
    }
    if isinstance(make(), nn.Linear):
        sides["local"] = variational(make(), inputs, local=True)
    taken = alternate(sides, rounds)
    ratios = [
        significant(median(own / other for own, other in zip(taken[side], taken["plain"], strict=True))) + "x"
        for side in sides
        if side != "plain"
    ]
    told = f" ({goal:g}x)" if goal else ""
    milliseconds = [significant(1e3 * median(taken[side])) for side in ("plain", "variational")]
    return [name, *milliseconds, ratios[0] + told, ratios[1], ratios[2] if "local" in sides else ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases, rounds = (QUICK, 1) if options.quick else (CASES, options.rounds)
    print("float32, forward and backward, ms")
    head = [
        "layer",
        "plain",
        "variational",
        "variational / plain",
        "with fitting the prior",
        "local noise / plain",
    ]
    print_table(head, [measure(name, *case, rounds) for name, case in cases.items()])


if __name__ == "__main__":
    main()
