"""What noise on the weights costs: NoisyLinear beside nn.Linear, 3136 inputs and 512 outputs.

Training draws noise anew for each step, forward and backward, with gradients of the inputs, as behind the
convolutions of a DQN. Acting has no gradients. Held noise is drawn once; 32 environments have noise each of
its own. Times are processor times of one thread, the least of rounds in turns, and ratios are to nn.Linear
with as many rows; goals in brackets. `--peers` measures torchrl and Tianshou as well, where they can be
imported; torchrl with `use_exploration_type=False`, without which its noise is off outside of a context.
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.bayes_noisy_peers import peers
from parts.tables import print_table, significant
from parts.timing import alternate
from torch import nn

from graves_bayes import NoisyLinear

INPUTS, OUTPUTS = 3136, 512
GOALS = {
    ("training, 32 rows", "ours"): 1.55,
    ("training, 32 rows", "ours, compiled"): 1.45,
    ("training, 256 rows", "ours"): 1.15,
    ("acting, 1 row, fresh noise", "ours"): 6.0,
    ("acting, 1 row, held noise", "ours"): 1.1,
    ("acting, 32 rows, noise each", "ours"): 3.0,
}
PEER_GOAL = 3.0
"""Times that acting with fresh noise is faster than torchrl."""

Sides = dict[str, Callable[[], object]]


def trained(module: nn.Module, draw: Callable[[], object], rows: int) -> Callable[[], object]:
    x = torch.randn(rows, INPUTS).relu_().requires_grad_()
    gradient = torch.randn(rows, OUTPUTS)

    def run() -> None:
        module.zero_grad()
        x.grad = None
        draw()
        module(x).backward(gradient)

    return run


def acting(module: nn.Module, draw: Callable[[], object], rows: int) -> Callable[[], object]:
    x = torch.randn(rows, INPUTS).relu_()

    @torch.no_grad()
    def run() -> None:
        draw()
        module(x)

    return run


def nothing() -> None:
    """Draws no noise."""


def training(rows: int, with_peers: bool) -> Sides:
    ours = NoisyLinear(INPUTS, OUTPUTS)
    compiled = NoisyLinear(INPUTS, OUTPUTS)
    sides = {
        "nn.Linear": trained(nn.Linear(INPUTS, OUTPUTS), nothing, rows),
        "ours": trained(ours, ours.resample, rows),
        "ours, compiled": trained(torch.compile(compiled, fullgraph=True), compiled.resample, rows),
    }
    found = peers(INPUTS, OUTPUTS) if with_peers else {}
    return sides | {name: trained(module, draw, rows) for name, (module, draw) in found.items()}


def fresh(rows: int, with_peers: bool) -> Sides:
    ours = NoisyLinear(INPUTS, OUTPUTS)
    sides = {
        "nn.Linear": acting(nn.Linear(INPUTS, OUTPUTS), nothing, rows),
        "ours": acting(ours, ours.resample, rows),
    }
    found = peers(INPUTS, OUTPUTS) if with_peers else {}
    return sides | {name: acting(module, draw, rows) for name, (module, draw) in found.items()}


def held(rows: int) -> Sides:
    ours = NoisyLinear(INPUTS, OUTPUTS)
    ours.hold()
    return {
        "nn.Linear": acting(nn.Linear(INPUTS, OUTPUTS), nothing, rows),
        "ours": acting(ours, nothing, rows),
    }


def each(rows: int) -> Sides:
    ours = NoisyLinear(INPUTS, OUTPUTS)
    return {
        "nn.Linear": acting(nn.Linear(INPUTS, OUTPUTS), nothing, rows),
        "ours": acting(ours, lambda: ours.resample(count=rows), rows),
    }


def measure(case: str, sides: Sides, rounds: int) -> list[list[str]]:
    """The rows of the table of one case."""
    least = {name: min(times) for name, times in alternate(sides, rounds).items()}
    table = []
    for name, seconds in least.items():
        goal = GOALS.get((case, name))
        ratio = f"{seconds / least['nn.Linear']:.2f}x" + (f" ({goal:g}x)" if goal else "")
        table.append([case, name, significant(1e3 * seconds), ratio])
    if case == "acting, 1 row, fresh noise" and "torchrl" in least:
        times = least["torchrl"] / least["ours"]
        table.append([case, "torchrl / ours", "", f"{significant(times)}x ({PEER_GOAL:g}x)"])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds = 1 if options.quick else options.rounds
    cases: dict[str, Sides] = {
        "training, 32 rows": training(32, options.peers),
        "training, 256 rows": training(256, options.peers),
        "acting, 1 row, fresh noise": fresh(1, options.peers),
        "acting, 1 row, held noise": held(1),
        "acting, 32 rows, fresh noise": fresh(32, options.peers),
        "acting, 32 rows, noise each": each(32),
    }
    print(f"{INPUTS} inputs, {OUTPUTS} outputs, float32")
    rows = [row for case, sides in cases.items() for row in measure(case, sides, rounds)]
    print_table(["case", "side", "ms", "to nn.Linear"], rows)


if __name__ == "__main__":
    main()
