"""Losses of graves-bfn under `torch.compile` beside the same without, fullgraph: nothing breaks the graph.

One row per flow and loss with a small network, and one with that network under bfloat16 autocast, whose
losses must stay float32. Both sides draw the same random numbers, so that their losses can be compared; the
times are processor times of forward and backward pass, one thread.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.bfn_cases import CASES, STEPS
from parts.bfn_ours import flow_of
from parts.tables import print_table, significant
from parts.timing import alternate
from torch import Tensor

from graves_bfn import Flow, MixedFlow

SINGLE = ["continuous", "discretised256", "discretised16", "discrete27"]
WIDTH = 16

Loss = Callable[[Flow, Callable[..., object], object], Tensor]
LOSSES: dict[str, Loss] = {
    "continuous-time": lambda flow, network, x: flow.continuous_time_loss(network, x),
    f"{STEPS}-step": lambda flow, network, x: flow.discrete_time_loss(network, x, STEPS),
    "reconstruction": lambda flow, network, x: flow.reconstruction_loss(network, x),
}


@dataclass
class Setting:
    """A flow with data, and the flows and data of its fields; a single flow is the only field."""

    name: str
    flow: Flow
    flows: dict[str, Flow]
    fields: dict[str, Tensor]

    def whole(self, fields: dict[str, Tensor]) -> object:
        return fields if isinstance(self.flow, MixedFlow) else fields[""]

    def parts(self, whole: object) -> dict[str, Tensor]:
        return whole if isinstance(self.flow, MixedFlow) else {"": whole}


def settings(quick: bool) -> dict[str, Setting]:
    """All kinds of data; `mixed` has an image and a text per example."""
    cases = {key: replace(CASES[key], batch=2) if quick else CASES[key] for key in SINGLE}
    found = {}
    for key, case in cases.items():
        flow = flow_of(case)
        found[key] = Setting(case.name(), flow, {"": flow}, {"": case.data()})
    image, text = cases["continuous"], replace(cases["discrete27"], batch=cases["continuous"].batch)
    flows = {"image": flow_of(image), "text": flow_of(text)}
    data = {"image": image.data(), "text": text.data()}
    found["mixed"] = Setting(f"mixed: {image.name()} and text", MixedFlow(flows), flows, data)
    return found


class Perceptron(torch.nn.Module):
    """For each variable by itself, in bfloat16 under autocast if so wanted."""

    def __init__(self, setting: Setting, half: bool) -> None:
        super().__init__()
        self.setting, self.half = setting, half
        self.layers = torch.nn.ModuleDict(
            {
                f"of_{name}": torch.nn.Sequential(
                    torch.nn.Linear(flow.inputs_per_variable, WIDTH),
                    torch.nn.GELU(),
                    torch.nn.Linear(WIDTH, flow.outputs_per_variable),
                )
                for name, flow in setting.flows.items()
            }
        )

    def forward(self, inputs: object, t: Tensor) -> object:
        parts = self.setting.parts(inputs)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.setting.whole({name: self.one(name, values) for name, values in parts.items()})

    def one(self, name: str, values: Tensor) -> Tensor:
        layers = self.layers[f"of_{name}"]
        return layers(values if layers[0].in_features > 1 else values.unsqueeze(-1))


def compare(setting: Setting, name: str, network: Perceptron, rounds: int) -> list[str]:
    """A row; the first call of the compiled side compiles.

    Raises:
        RuntimeError: when the losses differ, or are not float32.
    """
    x, loss = setting.whole(setting.fields), LOSSES[name]

    def eager() -> Tensor:
        return loss(setting.flow, network, x)

    torch.compiler.reset()
    compiled = torch.compile(eager, fullgraph=True, options={"fallback_random": True})
    start = time.perf_counter()
    step(compiled, network)
    waited = time.perf_counter() - start
    results = []
    for side in (eager, compiled):
        torch.manual_seed(0)
        results.append(side().detach())
    close = torch.allclose(*results, rtol=2e-2 if network.half else 1e-3)
    if not close or any(result.dtype != torch.float32 for result in results):
        raise RuntimeError(f"losses differ or are not float32: {results}")
    sides = {"eager": lambda: step(eager, network), "compiled": lambda: step(compiled, network)}
    times = {key: 1e3 * median(taken) for key, taken in alternate(sides, rounds).items()}
    kind = "bfloat16" if network.half else "float32"
    label = f"{setting.name}: {name} loss, {kind}"
    ratio = f"{times['eager'] / times['compiled']:.1f}x"
    return [label, *map(significant, times.values()), ratio, f"{waited:.0f} s"]


def step(side: Callable[[], Tensor], network: torch.nn.Module) -> None:
    network.zero_grad()
    side().mean().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches and few rounds: minutes")
    parser.add_argument("--rounds", type=int, help="how often the sides take turns (5; 2 with --quick)")
    parser.add_argument("--flows", nargs="+", choices=[*SINGLE, "mixed"], default=[*SINGLE, "mixed"])
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    torch.set_num_threads(1)
    rows = []
    for key in options.flows:
        torch.manual_seed(0)
        setting = settings(options.quick)[key]
        rows += [compare(setting, name, Perceptron(setting, half=False), rounds) for name in LOSSES]
        rows.append(compare(setting, "continuous-time", Perceptron(setting, half=True), rounds))
    head = ["median of forward and backward, ms", "eager", "compiled", "eager / compiled", "first call"]
    print_table(head, rows)


if __name__ == "__main__":
    main()
