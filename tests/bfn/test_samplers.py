"""Fast samplers against exact solutions, and against data whose distribution is known."""

import math
from itertools import pairwise

import pytest
import torch
from exact_posteriors import CorrelatedNormal, MarkovChain

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    MessageSampler,
    NoiseBackSampler,
    ODESolver,
    PowerGrid,
    Sampler,
    SDESolver,
)
from graves_bfn.flows.base import Estimate
from graves_bfn.flows.discrete import Categorical
from graves_bfn.flows.discretised import DiscretisedNormal
from graves_bfn.flows.gaussian import GaussianParams
from graves_bfn.flows.outputs import Revealed


def test_first_order_stochastic_steps_are_the_papers_sampler() -> None:
    flow, n = ContinuousFlow(0.2), 9
    mean, x, noise = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in range(2, n + 1):
        s, t, alpha = (i - 1) / n, i / n, flow.alpha(i, n)
        params = GaussianParams(mean, torch.full((5, 1), 1 + flow.beta(s), dtype=torch.float64))
        message = flow.update(params, flow.send(x, alpha, noise=noise), alpha)
        solved = flow.solve(params, Estimate(s, x), None, t, noise)
        torch.testing.assert_close(solved.mean, message.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(solved.precision, message.precision, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["continuous", "any schedule", "correlated"])
def test_first_order_from_the_start_is_the_papers_sampler_through_a_whole_generation(kind: str) -> None:
    flow = ContinuousFlow(schedule=EntropySchedule(6, 9.0)) if kind == "any schedule" else ContinuousFlow(0.1)
    bare = lambda mean, t: torch.sin(3 * mean + t[:, None]).unsqueeze(-1)
    network = CorrelatedNormal(flow).network if kind == "correlated" else bare
    noise = torch.randn(13, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = PowerGrid(1.5)
    messages = MessageSampler(grid).generate(flow, network, (7, 3), 12, noise=noise[1:])
    steps = SDESolver(order=1, start=0.0, grid=grid).generate(flow, network, (7, 3), 12, noise=noise)
    for message, step in zip(messages, steps, strict=True):
        assert message.time == step.time
        assert message.params.mean.dtype == torch.float64
        torch.testing.assert_close(message.params.mean, step.params.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(message.output.mean, step.output.mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("flow", [ContinuousFlow(0.1), DiscreteFlow(3, 2.0)])
def test_generation_is_as_precise_as_the_noise_it_is_given(flow: ContinuousFlow) -> None:
    for dtype in (torch.float32, torch.float64):
        seen = set()

        def network(inputs: torch.Tensor, t: torch.Tensor, seen: set[torch.dtype] = seen) -> torch.Tensor:
            seen.update((inputs.dtype, t.dtype))
            return torch.zeros(2, 4, flow.outputs_per_variable)

        noise = torch.randn(4, *flow.message_noise_shape((2, 4))).to(dtype)
        for sampler in (MessageSampler(), SDESolver(), ODESolver(), NoiseBackSampler()):
            list(sampler.generate(flow, network, (2, 4), 3, noise=noise))
        assert seen == {dtype}


def test_first_order_discrete_steps_are_messages_about_probabilities() -> None:
    flow, n = DiscreteFlow(3, 2.0), 5
    noise = torch.randn(2, 4, 3, dtype=torch.float64)
    z, p = torch.randn(2, 4, 3).double(), torch.randn(2, 4, 3).double().softmax(-1)
    alpha = flow.alpha(3, n)
    expected = z + alpha * (3 * p - 1) + math.sqrt(3 * alpha) * noise
    torch.testing.assert_close(flow.solve(z, Estimate(2 / n, p), None, 3 / n, noise), expected)


def test_a_constant_estimate_is_followed_exactly() -> None:
    # with a fixed p the ordinary equation is solved by z_t = u_t (z_s / u_s + (u_t - u_s) (K p - 1))
    flow = DiscreteFlow(3, 2.0)
    z, p = torch.randn(1, 2, 3).double(), torch.tensor([0.2, 0.5, 0.3]).double().expand(1, 2, 3)
    estimate = Estimate(0.1, p)
    once = flow.solve(z, estimate, None, 0.9, None)
    midway = flow.solve(z, estimate, None, 0.5, None)
    twice = flow.solve(midway, Estimate(0.5, p), estimate, 0.9, None)
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("stochastic", [True, False])
def test_second_order_discrete_steps_are_exact_for_estimates_that_change_linearly(stochastic: bool) -> None:
    # with p linear in u = sqrt(beta): dz = (K p - 1) d(u^2) + noise, or d(z/u) = (K p - 1) du without it
    flow, (before, s, t) = DiscreteFlow(3, 2.0), (0.2, 0.5, 0.9)
    generator = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, 1, 4, 3, generator=generator, dtype=torch.float64)
    earlier, p = torch.randn(2, 1, 4, 3, generator=generator, dtype=torch.float64).softmax(-1)
    u = torch.linspace(s, t, 20_001, dtype=torch.float64) * math.sqrt(2.0)
    slope = (p - earlier) / (math.sqrt(2.0) * (s - before))
    rate = 3 * (p[..., None] + slope[..., None] * (u - u[0])) - 1
    if stochastic:
        alpha = flow.beta(t) - flow.beta(s)
        expected = z + torch.trapezoid(rate * 2 * u, u) + math.sqrt(3 * alpha) * noise
    else:
        expected = u[-1] * (z / u[0] + torch.trapezoid(rate, u))
    given = Estimate(s, p), Estimate(before, earlier), t, noise if stochastic else None
    torch.testing.assert_close(flow.solve(z, *given), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("stochastic", [True, False])
def test_second_order_steps_of_means_are_the_published_ones(stochastic: bool) -> None:
    flow, times = ContinuousFlow(0.2), (0.2, 0.5, 0.9)
    mean, x, earlier, noise = torch.randn(
        4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    _, s, t = (1 - 0.2 ** (2 * time) for time in times)  # gamma
    before, now, following = (0.5 * math.log(0.2 ** (-2 * time) - 1) for time in times)  # lambda
    h, scale_s, scale_t = following - now, math.sqrt(s * (1 - s)), math.sqrt(t * (1 - t))
    guess = x + h / (2 * (now - before)) * (x - earlier)
    if stochastic:
        gone = 1 - math.exp(-2 * h)
        expected = scale_t / scale_s * math.exp(-h) * mean + t * gone * guess
        expected += scale_t * math.sqrt(gone) * noise
    else:
        expected = scale_t / scale_s * mean - t * (math.exp(-h) - 1) * guess
    params = GaussianParams(mean, torch.full((3, 1), 1 / (1 - s), dtype=torch.float64))
    given = Estimate(times[1], x), Estimate(times[0], earlier), times[2], noise if stochastic else None
    torch.testing.assert_close(flow.solve(params, *given).mean, expected, rtol=1e-10, atol=1e-10)


def solve(flow: ContinuousFlow | DiscreteFlow, source: object, order: int, num_steps: int) -> torch.Tensor:
    """The beliefs before the last output, from the same start with any number of steps."""
    generator = torch.Generator().manual_seed(3)
    shape = (64, 3) if isinstance(flow, ContinuousFlow) else (64, source.length)
    noise = torch.randn(1, *flow.message_noise_shape(shape), generator=generator, dtype=torch.float64)
    sampler = ODESolver(order=order, start=0.2)
    last = list(sampler.generate(flow, source.network, shape, num_steps, noise=noise))[-1].params
    return last.mean if isinstance(flow, ContinuousFlow) else last


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("order", [1, 2])
def test_error_falls_with_the_order_of_the_solver(kind: str, order: int) -> None:
    flow = ContinuousFlow(0.3, bounds=None) if kind == "continuous" else DiscreteFlow(3, 1.0)
    source = CorrelatedNormal(flow) if kind == "continuous" else MarkovChain(3, 6)
    exact = solve(flow, source, 2, 512)
    errors = [(solve(flow, source, order, n) - exact).square().mean().sqrt().item() for n in (12, 24, 48)]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.3)


@pytest.mark.parametrize("fixed_noise", [False, True])
def test_noise_back_beliefs_have_the_law_of_messages_about_the_expectation(fixed_noise: bool) -> None:
    noise = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sampler, discrete = NoiseBackSampler(fixed_noise=fixed_noise), DiscreteFlow(5, 2.0)
    steps = list(sampler.generate(discrete, lambda theta, t: 3 * theta, (2, 3), 4, noise=noise))
    for i in range(4):
        beta, p = 2.0 * steps[i + 1].time ** 2, steps[i].output.mean
        expected = beta * (5 * p - 1) + math.sqrt(5 * beta) * noise[0 if fixed_noise else i]
        torch.testing.assert_close(steps[i + 1].params, expected, rtol=1e-12, atol=1e-12)
    continuous = ContinuousFlow(0.2)
    network = lambda mean, t: torch.cos(mean).unsqueeze(-1)
    steps = list(sampler.generate(continuous, network, (2, 3, 5), 4, noise=noise))
    for i in range(4):
        gamma, x = 1 - 0.2 ** (2 * steps[i + 1].time), steps[i].output.mean
        expected = gamma * x + math.sqrt(gamma * (1 - gamma)) * noise[0 if fixed_noise else i]
        torch.testing.assert_close(steps[i + 1].params.mean, expected, rtol=1e-12, atol=1e-12)
        precision = torch.full_like(steps[i + 1].params.precision, 1 / (1 - gamma))
        torch.testing.assert_close(steps[i + 1].params.precision, precision)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_tempered_classes_are_powers_of_the_probabilities(temperature: float) -> None:
    logits = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    powers = logits.softmax(-1) ** (1 / temperature)
    tempered = Categorical(logits).tempered(temperature)
    torch.testing.assert_close(tempered.mean, powers / powers.sum(-1, keepdim=True))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_tempered_bins_are_powers_of_the_probabilities_when_they_are_narrow(temperature: float) -> None:
    location, std, bins = torch.tensor([0.1]).double(), torch.tensor([0.08]).double(), 256
    centres = (2 * torch.arange(bins, dtype=torch.float64) + 1) / bins - 1
    each = lambda output: output.log_prob(centres).exp()
    output = DiscretisedNormal(location.expand(bins), std.expand(bins), bins)
    powers = each(output) ** (1 / temperature)
    torch.testing.assert_close(
        each(output.tempered(temperature)), powers / powers.sum(), rtol=0.01, atol=1e-4
    )


def test_what_is_known_stays_certain_at_any_temperature() -> None:
    x, known = torch.tensor([[1, 0]]), torch.tensor([[True, False]])
    logits = torch.tensor([[[0.0, 1.0, 2.0]] * 2])
    tempered = Revealed(Categorical(logits), x, torch.eye(3)[x], known).tempered(0.5)
    torch.testing.assert_close(tempered.mean[0, 0], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(tempered.mean[0, 1], (2 * logits[0, 1]).softmax(-1))


def test_samplers_draw_from_tempered_outputs() -> None:
    flow, uniform = DiscreteFlow(3, 1.0), torch.rand(3, 50, 7)
    network = lambda theta, t: torch.sin(4 * theta)
    noise = torch.randn(4, 50, 7, 3)
    given = {"noise": noise, "output_noise": uniform}

    def last(sampler: Sampler, scale: float = 1.0) -> torch.Tensor:
        scaled = lambda theta, t: scale * network(theta, t)
        return list(sampler.generate(flow, scaled, (50, 7), 3, **given))[-1].params

    for make in (MessageSampler, SDESolver, ODESolver, NoiseBackSampler):
        assert last(make(temperature=1.0)).equal(last(make()))
        torch.testing.assert_close(last(make(temperature=0.5)), last(make(), scale=2.0))


@pytest.mark.parametrize("flow", [ContinuousFlow(0.1), DiscretisedFlow(16, 0.1), DiscreteFlow(4, 2.0)])
@pytest.mark.parametrize(
    "sampler",
    [
        MessageSampler(),
        MessageSampler(temperature=0.5),
        SDESolver(1),
        SDESolver(2, start=0.0, grid=PowerGrid(1.3)),
        ODESolver(1),
        ODESolver(2),
        NoiseBackSampler(),
        NoiseBackSampler(fixed_noise=True),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_every_sampler_works_with_every_flow(flow: ContinuousFlow, sampler: Sampler) -> None:
    outputs = flow.outputs_per_variable
    network = lambda inputs, t: torch.zeros(3, 5, outputs)
    steps = list(sampler.generate(flow, network, (3, 5), 4, generator=torch.Generator().manual_seed(0)))
    assert len(steps) == 5
    assert steps[-1].time == 1.0
    assert steps[-1].output.mode.shape == (3, 5)
    again = list(sampler.generate(flow, network, (3, 5), 4, generator=torch.Generator().manual_seed(0)))
    assert again[-1].output.mode.equal(steps[-1].output.mode)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SDESolver(order=3), "order must be 1 or 2, not 3"),
        (lambda: ODESolver(start=0.0), "start must lie in"),
        (lambda: SDESolver(start=1.0), "start must lie in"),
        (lambda: MessageSampler(temperature=0.0), "temperature must be positive, not 0.0"),
        (lambda: NoiseBackSampler(temperature=-1.0), "temperature must be positive, not -1.0"),
        (
            lambda: list(ODESolver().generate(DiscreteFlow(2, 1.0), print, (1, 2), 0)),
            "num_steps must be at least 1",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
