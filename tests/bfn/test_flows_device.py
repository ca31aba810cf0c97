"""Losses and samplers never wait for the device, and the compiler sees each loss as one graph.

Tensors on the meta device have no values: whatever reads one to go on (`item`, `bool`, `nonzero`, a mask as
an index) raises there, and would wait for the device on any other.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    ExponentialSchedule,
    Flow,
    MessageSampler,
    MixedFlow,
    NoiseBackSampler,
    ODESolver,
    PerVariableSchedule,
    QuadraticSchedule,
    Sampler,
    SDESolver,
    SingleFlow,
)

SHAPE = (3, 4)
BOTH = PerVariableSchedule([ExponentialSchedule(0.1), *[QuadraticSchedule(2.0)] * 3])
FLOWS: dict[str, Flow] = {
    "continuous": ContinuousFlow(0.1),
    "unbounded": ContinuousFlow(0.1, bounds=None),
    "bins": ContinuousFlow(0.1, num_bins=16),
    "continuous, per variable": ContinuousFlow(schedule=BOTH),
    "discretised, 256": DiscretisedFlow(256, 0.1),
    "discretised, 3": DiscretisedFlow(3, 0.1),
    "discretised, per variable": DiscretisedFlow(64, schedule=BOTH),
    "binary": DiscreteFlow(2, 1.0),
    "discrete": DiscreteFlow(5, 1.0),
    "factorised": DiscreteFlow(5, receiver="factorised", schedule=EntropySchedule(5)),
    "discrete, per variable": DiscreteFlow(5, schedule=BOTH),
    "mixed": MixedFlow({"a": ContinuousFlow(0.1), "b": DiscretisedFlow(16, 0.1), "c": DiscreteFlow(3, 1.0)}),
}
LOSSES: dict[str, Callable[..., Tensor]] = {
    "continuous time": lambda flow, network, x, **masks: flow.continuous_time_loss(network, x, **masks),
    "discrete time": lambda flow, network, x, **masks: flow.discrete_time_loss(network, x, 5, **masks),
    "reconstruction": lambda flow, network, x, **masks: flow.reconstruction_loss(network, x, **masks),
}
MASKS = [(), ("valid",), ("known",), ("valid", "known", "self_conditioning")]
SAMPLERS = [MessageSampler(), SDESolver(1), SDESolver(2), ODESolver(2), NoiseBackSampler()]


def of_each(flow: Flow, make: Callable[[SingleFlow], Any]) -> Any:
    """What is made for a flow, or for each field of a mixed one."""
    if isinstance(flow, MixedFlow):
        return {name: make(part) for name, part in flow.flows.items()}
    return make(flow)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def meta_network(flow: Flow) -> Callable[..., Any]:
    def network(inputs: Any, t: Tensor, estimate: Any = None) -> Any:
        assert t.device.type == "meta"
        return of_each(flow, lambda part: meta(*SHAPE, part.outputs_per_variable).requires_grad_())

    return network


def meta_data(flow: Flow) -> Any:
    kinds = {True: torch.long, False: torch.float32}
    return of_each(flow, lambda part: meta(*SHAPE, dtype=kinds[isinstance(part, DiscreteFlow)]))


@pytest.mark.parametrize("read", [Tensor.item, bool, Tensor.nonzero, Tensor.tolist, lambda x: x[x > 0]])
def test_the_meta_device_refuses_to_be_read(read: Callable[[Tensor], object]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(meta(1))


@pytest.mark.parametrize("names", MASKS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", FLOWS)
def test_losses_never_read_a_value(name: str, loss: str, names: tuple[str, ...]) -> None:
    flow = FLOWS[name]
    masks = {mask: of_each(flow, lambda part: meta(*SHAPE, dtype=torch.bool)) for mask in names}
    if "self_conditioning" in masks:
        masks["self_conditioning"] = True
    cost = LOSSES[loss](flow, meta_network(flow), meta_data(flow), **masks)
    assert cost.shape == SHAPE[:1]
    assert cost.device.type == "meta"
    cost.sum().backward()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
@pytest.mark.parametrize("name", FLOWS)
def test_samplers_never_read_a_value(name: str, sampler: Sampler) -> None:
    flow = FLOWS[name]
    shape = of_each(flow, lambda part: SHAPE)
    steps = list(sampler.generate(flow, meta_network(flow), shape, 3, device="meta"))
    modes = steps[-1].output.mode
    for mode in modes.values() if isinstance(modes, dict) else [modes]:
        assert mode.shape == SHAPE
        assert mode.device.type == "meta"


COMPILED = """
import sys
import torch
from graves_bfn import *

torch.manual_seed(0)
both = PerVariableSchedule([ExponentialSchedule(0.1), *[QuadraticSchedule(2.0)] * 3])
flows = {
    "continuous": [ContinuousFlow(0.1), ContinuousFlow(bounds=None, num_bins=16, schedule=both)],
    "discretised": [DiscretisedFlow(3, 0.1), DiscretisedFlow(64, schedule=both)],
    "discrete": [
        DiscreteFlow(2, 1.0),
        DiscreteFlow(5, schedule=both),
        DiscreteFlow(5, receiver="factorised", schedule=EntropySchedule(5)),
    ],
    "mixed": [MixedFlow({"a": ContinuousFlow(0.1), "b": DiscreteFlow(5, 1.0)})],
}


def check(flow, masked):
    mixed = isinstance(flow, MixedFlow)
    parts = flow.flows if mixed else {"": flow}

    def each(make):
        made = {name: make(name, part) for name, part in parts.items()}
        return made if mixed else made[""]

    layers = {name: torch.nn.Linear(part.inputs_per_variable, part.outputs_per_variable)
              for name, part in parts.items()}
    parameters = [value for layer in layers.values() for value in layer.parameters()]

    def network(inputs, t, estimate=None):
        def one(name, part):
            values = inputs[name] if mixed else inputs
            return layers[name](values if isinstance(part, DiscreteFlow) else values.unsqueeze(-1))

        return each(one)

    x = each(lambda _, part: torch.randint(part.num_classes, (3, 4)) if isinstance(part, DiscreteFlow)
             else 2 * torch.rand(3, 4) - 1)
    noise = each(lambda _, part: torch.randn(part.message_noise_shape((3, 4))))
    sender = each(lambda _, part: torch.randn(2, *part.message_noise_shape((3, 4))))
    valid, known = (each(lambda *_, share=share: torch.rand(3, 4) < share) for share in (0.7, 0.3))
    masks = {"valid": valid, "known": known}
    given = {"noise": noise, **(masks if masked else {}), "self_conditioning": masked}
    t, step = torch.tensor([0.0, 0.3, 1.0]), torch.tensor([1, 3, 5])
    if isinstance(flow, DiscretisedFlow) and masked:
        sender = None

    def losses(x):
        return torch.stack([
            flow.continuous_time_loss(network, x, t=t, **given),
            flow.discrete_time_loss(network, x, 5, step=step, sender_noise=sender, **given),
            flow.reconstruction_loss(network, x, **given),
        ])

    torch.compiler.reset()
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    result, expected = compiled(x), losses(x)
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad(values.sum(), parameters) for values in (result, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


for flow in flows[sys.argv[1]]:
    check(flow, masked=True)
    if isinstance(flow, MixedFlow):
        check(flow, masked=False)
"""


@pytest.mark.parametrize("kind", ["continuous", "discretised", "discrete", "mixed"])
def test_all_losses_compile_to_one_graph_with_the_same_values_and_gradients(kind: str) -> None:
    # in a process of its own: the compiler cannot read the shape checks that the tests put around functions
    command = [sys.executable, "-c", COMPILED, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
