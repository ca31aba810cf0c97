"""Schedules of accuracy: their formulas, the price that does not depend on them, one for each variable."""

import math

import numpy as np
import pytest
import torch
from exact_posteriors import SIGMAS, CorrelatedNormal, MarkovChain, mean_and_error
from torch import Tensor

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    ExponentialSchedule,
    ListedGrid,
    MessageSampler,
    NoiseBackSampler,
    ODESolver,
    PerVariableSchedule,
    QuadraticSchedule,
    Sampler,
    Schedule,
    SDESolver,
    SingleFlow,
)


class Cubic(Schedule):
    """Somebody's own, with nothing but `beta`."""

    def __init__(self, beta_1: float) -> None:
        self.beta_1 = beta_1

    def beta(self, t: Tensor) -> Tensor:
        return self.beta_1 * t**3


class Curve(Schedule):
    """Any function of time."""

    def __init__(self) -> None:
        self.function = lambda t: t

    def beta(self, t: Tensor) -> Tensor:
        return self.function(t)


THREE = PerVariableSchedule([QuadraticSchedule(3.0), Cubic(8.0), ExponentialSchedule(0.4)])
SCHEDULES = [
    ExponentialSchedule(0.03),
    QuadraticSchedule(3.0),
    EntropySchedule(6),
    EntropySchedule(4, 0.01),
    EntropySchedule(10, 50.0),
    Cubic(5.0),
    THREE,
]


def named(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, (Schedule, Sampler, SingleFlow)) else None


@pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
def test_rate_is_the_slope_of_beta(schedule: Schedule) -> None:
    t, step = torch.linspace(0.01, 0.99, 50, dtype=torch.float64), 1e-6
    slope = (schedule.beta(t + step) - schedule.beta(t - step)) / (2 * step)
    torch.testing.assert_close(schedule.beta_rate(t), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
def test_rate_is_what_automatic_differentiation_finds(schedule: Schedule) -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    torch.testing.assert_close(schedule.beta_rate(t), Schedule.beta_rate(schedule, t))


def test_rate_is_found_without_gradients_and_in_inference_mode() -> None:
    t = torch.tensor([0.0, 0.5, 1.0])
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(Cubic(2.0).beta_rate(t), 6.0 * t**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("classes", "beta_1"), [(2, 0.001), (6, 3.0), (27, 0.75), (10, 50.0)])
def test_entropy_schedule_is_its_closed_form(classes: int, beta_1: float, dtype: torch.dtype) -> None:
    schedule, e = EntropySchedule(classes, beta_1), math.exp(-classes * beta_1 / 4)
    t = np.array([0.0, 1e-3, 0.2, 0.4999, 0.5, 0.7, 0.99])
    beta = -4 / classes * np.log1p(-t * (1 - e))
    rate = 4 / classes * (1 - e) / (1 - t * (1 - e))
    tolerance = {"rtol": 1e-5 if dtype == torch.float32 else 1e-12, "atol": 0.0}
    given = torch.tensor(t).to(dtype)
    torch.testing.assert_close(schedule.beta(given).double(), torch.tensor(beta), **tolerance)
    torch.testing.assert_close(schedule.beta_rate(given).double(), torch.tensor(rate), **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropy_schedule_ends_at_beta_1_however_large(dtype: torch.dtype) -> None:
    assert EntropySchedule(5).beta_1 == pytest.approx(20.4054 / 5)
    for beta_1 in (1e-3, 1.0, 20.0, 125.0):
        schedule = EntropySchedule(4, beta_1)
        assert schedule.beta(torch.ones(1, dtype=dtype)).item() == pytest.approx(beta_1, rel=1e-5)
        assert schedule.beta_rate(torch.ones(1, dtype=dtype)).isfinite().all()


def entropies(flow: DiscreteFlow, times: Tensor) -> Tensor:
    """Of the beliefs at these times, from many draws."""
    generator, x = torch.Generator().manual_seed(0), torch.zeros(len(times), 20_000, dtype=torch.long)
    log_theta = flow.sample_params(x, times, generator=generator).log_softmax(-1)
    return -(log_theta.exp() * log_theta).sum(-1).mean(-1)


def test_entropy_of_beliefs_falls_in_a_straight_line_on_the_entropy_schedule() -> None:
    times = torch.linspace(0, 1, 11)

    def bend(schedule: Schedule) -> float:
        drop = entropies(DiscreteFlow(6, schedule=schedule), times)
        return float((drop - torch.lerp(drop[0], drop[-1], times)).abs().max() / drop[0])

    entropy = EntropySchedule(6)
    assert bend(entropy) < 0.03
    assert bend(QuadraticSchedule(entropy.beta_1)) > 0.2


@pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
def test_accuracies_of_any_steps_add_up(schedule: Schedule) -> None:
    flow = ContinuousFlow(schedule=schedule)
    for n in (1, 7, 50):
        total = sum(torch.as_tensor(flow.alpha(i, n)) for i in range(1, n + 1))
        torch.testing.assert_close(total, torch.as_tensor(flow.beta(1.0)), check_dtype=False)


@pytest.mark.parametrize(
    ("schedule", "beta_1"), [(EntropySchedule(6), None), (Cubic(3.0), None), (ExponentialSchedule(0.5), None)]
)
def test_code_length_of_a_chain_is_its_entropy_on_any_schedule(schedule: Schedule, beta_1: None) -> None:
    torch.manual_seed(1)
    chain, flow = MarkovChain(6, 12), DiscreteFlow(6, beta_1, schedule=schedule)
    x = chain.draw(20_000)
    code = flow.continuous_time_loss(chain.network, x) + flow.reconstruction_loss(chain.network, x)
    excess, error = mean_and_error(code - chain.information(x))
    assert abs(excess) < SIGMAS * error
    assert error < 0.03 * chain.entropy


@pytest.mark.parametrize("schedule", [Cubic(300.0), QuadraticSchedule(300.0), THREE], ids=named)
def test_messages_about_normal_vectors_cost_what_they_tell_on_any_schedule(schedule: Schedule) -> None:
    torch.manual_seed(1)
    flow = ContinuousFlow(bounds=None, schedule=schedule)
    source = CorrelatedNormal(flow)
    messages, error = mean_and_error(flow.continuous_time_loss(source.network, source.draw(50_000)))
    beta = schedule.beta(torch.ones(1, dtype=torch.float64)).expand(3, -1)[0] * torch.ones(3)
    told = 0.5 * torch.logdet(torch.eye(3) + beta.sqrt().diag() @ source.covariance @ beta.sqrt().diag())
    assert abs(messages - told.item()) < SIGMAS * error
    assert error < 0.02 * told


def make(kind: str, schedule: Schedule) -> SingleFlow:
    if kind == "discrete":
        return DiscreteFlow(4, schedule=schedule)
    return (
        ContinuousFlow(schedule=schedule) if kind == "continuous" else DiscretisedFlow(5, schedule=schedule)
    )


def column_network(flow: SingleFlow) -> object:
    """Treats every variable by itself."""

    def network(inputs: Tensor, t: Tensor) -> Tensor:
        if isinstance(flow, DiscreteFlow):
            return torch.sin(3 * inputs) - t.reshape(-1, 1, 1, 1)
        return torch.stack([torch.sin((k + 1) * inputs) for k in range(flow.outputs_per_variable)], -1)

    return network


def data(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == "discrete":
        return torch.randint(4, (5, 2, 3), generator=generator)
    x = 2 * torch.rand(5, 2, 3, generator=generator, dtype=torch.float64) - 1
    return DiscretisedFlow(5, 0.1).quantise(x) if kind == "discretised" else x


KINDS = ["continuous", "discretised", "discrete"]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_with_a_schedule_per_variable_are_those_of_separate_flows(kind: str) -> None:
    x, generator, together = data(kind), torch.Generator().manual_seed(1), make(kind, THREE)
    noise = torch.randn(together.message_noise_shape(x.shape), generator=generator, dtype=torch.float64)
    sender = torch.randn(2, *noise.shape, generator=generator, dtype=torch.float64)
    t = torch.rand(5, generator=generator, dtype=torch.float64)
    step, grid = torch.tensor([1, 3, 2, 2, 3]), ListedGrid([0.0, 0.2, 0.7, 1.0])

    def losses(flow: SingleFlow, part: slice) -> list[Tensor]:
        network, some, drawn = column_network(flow), x[..., part], noise[:, :, part]
        given = {"step": step, "noise": drawn, "sender_noise": sender[:, :, :, part]}
        return [
            flow.continuous_time_loss(network, some, t=t, noise=drawn),
            flow.discrete_time_loss(network, some, 3, grid=grid, **given),
            flow.reconstruction_loss(network, some, noise=drawn),
        ]

    separate = [losses(make(kind, schedule), slice(d, d + 1)) for d, schedule in enumerate(THREE.schedules)]
    for whole, parts in zip(losses(together, slice(None)), zip(*separate, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.stack(parts).sum(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sampler", [MessageSampler(), SDESolver(2), ODESolver(2), NoiseBackSampler()], ids=named
)
def test_generation_with_a_schedule_per_variable_is_that_of_separate_flows(
    kind: str, sampler: Sampler
) -> None:
    together, shape = make(kind, THREE), (5, 2, 3)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(6, *together.message_noise_shape(shape), generator=generator, dtype=torch.float64)
    output_noise = torch.stack([together.output_noise(shape, generator=generator) for _ in range(5)])
    steps = sampler.generate(
        together, column_network(together), shape, 5, noise=noise, output_noise=output_noise
    )
    outputs = [step.output.mean for step in steps]
    assert outputs[-1].shape[:3] == shape
    assert all(output.isfinite().all() for output in outputs)
    for d, schedule in enumerate(THREE.schedules):
        flow, part = make(kind, schedule), slice(d, d + 1)
        drawn = {"noise": noise[:, :, :, part], "output_noise": output_noise[..., part]}
        if kind == "continuous":
            drawn["output_noise"] = output_noise
        alone = sampler.generate(flow, column_network(flow), (5, 2, 1), 5, **drawn)
        for whole, step in zip(outputs, alone, strict=True):
            torch.testing.assert_close(whole[:, :, part], step.output.mean)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t: t + 0.1, r"must start with beta\(0\) = 0, but Curve starts at 0.1"),
        (lambda t: t * (1 - t), "must increase with t, but Curve does not"),
        (lambda t: (2 * t).round(), "must increase with t"),
        (lambda t: t / (1 - t), "must be finite on"),
        (lambda t: torch.stack([t, -t], -1), "must increase with t"),
    ],
)
def test_functions_that_are_no_schedules_are_refused(function: object, message: str) -> None:
    schedule = Curve()
    schedule.function = function
    with pytest.raises(ValueError, match=message):
        DiscreteFlow(3, schedule=schedule)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiscreteFlow(3), "give either beta_1 or schedule, not neither"),
        (lambda: DiscreteFlow(3, 1.0, schedule=Cubic(1.0)), "not beta_1=1.0 and Cubic"),
        (lambda: ContinuousFlow(0.1, schedule=Cubic(1.0)), "not sigma_1=0.1 and Cubic"),
        (lambda: DiscretisedFlow(3), "give either sigma_1 or schedule, not neither"),
        (lambda: ExponentialSchedule(1.0), r"sigma_1 must lie in \(0, 1\), not 1.0"),
        (lambda: QuadraticSchedule(math.inf), "beta_1 must be positive, not inf"),
        (lambda: EntropySchedule(1), "num_classes must be at least 2, not 1"),
        (lambda: EntropySchedule(3, 0.0), "beta_1 must be positive, not 0.0"),
        (lambda: PerVariableSchedule([]), "at least one schedule"),
        (lambda: PerVariableSchedule([THREE]), "not another PerVariableSchedule"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
