"""Samples and beliefs stay finite with every sampler, control, schedule and precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from graves_bfn import (
    ClampInpainting,
    ClassifierFreeGuidance,
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    ExponentialSchedule,
    GradientGuidance,
    MessageSampler,
    NoiseBackSampler,
    ODESolver,
    ParticleInpainting,
    PerVariableSchedule,
    PowerGrid,
    QuadraticSchedule,
    ReplaceInpainting,
    Sampler,
    SDESolver,
    SingleFlow,
)

PRECISIONS = [torch.float32, torch.bfloat16]
SAMPLERS = {
    "messages": MessageSampler(),
    "messages, cold": MessageSampler(temperature=1e-3),
    "messages, hot": MessageSampler(temperature=1e3),
    "SDE-1": SDESolver(1, start=0.0),
    "SDE-2": SDESolver(2, start=1e-7),
    "SDE-2, dense": SDESolver(2, start=0.0, grid=PowerGrid(6.0)),
    "ODE-1": ODESolver(1, start=1e-7),
    "ODE-2": ODESolver(2, start=1e-7),
    "noise back": NoiseBackSampler(),
    "noise back, fixed": NoiseBackSampler(fixed_noise=True),
}
SEVERAL = PerVariableSchedule([QuadraticSchedule(1.0), QuadraticSchedule(500.0), ExponentialSchedule(0.9)])
FLOWS = {
    "classes": DiscreteFlow(27, 500 / 27),
    "many classes": DiscreteFlow(50_000, 500 / 50_000),
    "two classes": DiscreteFlow(2, 250.0),
    "classes, entropy": DiscreteFlow(27, schedule=EntropySchedule(27, 500 / 27)),
    "classes, each": DiscreteFlow(5, schedule=SEVERAL),
    "continuous": ContinuousFlow(1e-3),
    "continuous, vague": ContinuousFlow(0.99, bounds=None),
    "continuous, each": ContinuousFlow(schedule=SEVERAL),
    "discretised": DiscretisedFlow(256, 1e-3),
    "discretised, entropy": DiscretisedFlow(3, schedule=EntropySchedule(2, 250.0)),
}
SHAPE = (2, 3)


def loud(flow: SingleFlow, dtype: torch.dtype) -> Any:
    """Goes far with what it is shown, in the given precision."""

    def network(inputs: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        assert inputs.isfinite().all()
        assert t.isfinite().all()
        inputs = inputs.to(dtype)
        if isinstance(flow, DiscreteFlow):
            return 40 * inputs - 10
        return 20 * inputs.unsqueeze(-1).expand(*inputs.shape, flow.outputs_per_variable)

    return network


def assert_finite_generation(
    flow: SingleFlow, sampler: Sampler, network: Any, steps: int, **given: Any
) -> None:
    generator = torch.Generator().manual_seed(0)
    for step in sampler.generate(flow, network, SHAPE, steps, generator=generator, **given):
        for belief in [step.params] if isinstance(step.params, Tensor) else step.params:
            assert belief.dtype == torch.float32
            assert belief.isfinite().all()
        assert step.output.mean.isfinite().all()
        assert step.output.mode.isfinite().all()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_beliefs_and_samples_are_finite(sampler: str, kind: str, dtype: torch.dtype) -> None:
    for steps in (1, 2, 7):
        assert_finite_generation(FLOWS[kind], SAMPLERS[sampler], loud(FLOWS[kind], dtype), steps)


def observed(flow: SingleFlow) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if isinstance(flow, DiscreteFlow):
        return torch.randint(flow.num_classes, SHAPE, generator=generator)
    return DiscretisedFlow(256, 0.1).quantise(2 * torch.rand(SHAPE, generator=generator) - 1)


def controls(flow: SingleFlow) -> dict[str, Any]:
    x, known = observed(flow), torch.tensor([[True, False, True], [False, False, True]])
    return {
        "clamp": ClampInpainting(x, known),
        "replace": ReplaceInpainting(x, known),
        "particles": ParticleInpainting(x[:1], known[:1], particles=2),
        "gradient": GradientGuidance(lambda inputs, t: -10 * inputs.square().flatten(1).sum(1), scale=3.0),
    }


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("control", ["clamp", "replace", "particles", "gradient"])
def test_steered_beliefs_and_samples_are_finite(control: str, kind: str, dtype: torch.dtype) -> None:
    flow = FLOWS[kind]
    for sampler in (MessageSampler(), SDESolver(2, start=0.0), ODESolver(2)):
        steer = controls(flow)[control]
        assert_finite_generation(flow, sampler, loud(flow, dtype), 5, controls=[steer])
        if isinstance(steer, ParticleInpainting):
            assert steer.log_weights.isfinite().all()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("kind", FLOWS)
def test_guided_outputs_are_finite(kind: str, dtype: torch.dtype) -> None:
    flow = FLOWS[kind]
    rescale = 0.0 if isinstance(flow, DiscreteFlow) else 0.7
    network = ClassifierFreeGuidance(flow, loud(flow, dtype), torch.zeros(2), 8.0, rescale)
    assert_finite_generation(flow, SDESolver(2, start=0.0), network, 4)


@pytest.mark.parametrize("kind", ["classes", "many classes", "classes, entropy", "classes, each"])
def test_likelihoods_that_underflow_leave_beliefs_finite(kind: str) -> None:
    flow, network = FLOWS[kind], lambda theta, t: -40 * theta  # flees from the class that is wanted
    wanted = GradientGuidance(lambda theta, t: theta[..., 0].log().sum(1), scale=1e-3)
    assert_finite_generation(flow, SDESolver(2), network, 20, controls=[wanted])


def test_half_precision_as_the_default_does_not_make_beliefs_coarse() -> None:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        for kind in ("classes", "continuous", "discretised"):
            for sampler in SAMPLERS.values():
                assert_finite_generation(FLOWS[kind], sampler, loud(FLOWS[kind], torch.bfloat16), 3)
    finally:
        torch.set_default_dtype(default)
