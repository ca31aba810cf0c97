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
    MessageSampler,
    ODESolver,
    Sampler,
    SDESolver,
)
from graves_bfn.flows.base import Estimate
from graves_bfn.flows.gaussian import GaussianParams


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


@pytest.mark.parametrize(
    ("sampler", "num_steps", "tolerance"),
    [(SDESolver(2), 12, 0.03), (ODESolver(2), 12, 0.04), (MessageSampler(), 12, 0.08)],
)
def test_few_steps_of_second_order_follow_the_chain(
    sampler: Sampler, num_steps: int, tolerance: float
) -> None:
    torch.manual_seed(0)
    chain, flow = MarkovChain(6, 24), DiscreteFlow(6, 3.0)
    last = list(sampler.generate(flow, chain.network, (4_000, 24), num_steps))[-1]
    x = last.output.mode
    pairs = torch.bincount((6 * x[:, :-1] + x[:, 1:]).flatten(), minlength=36) / x[:, 1:].numel()
    expected = (chain.start[:, None] * chain.transition).flatten()
    assert 0.5 * (pairs - expected).abs().sum() < tolerance


@pytest.mark.parametrize("flow", [ContinuousFlow(0.1), DiscretisedFlow(16, 0.1), DiscreteFlow(4, 2.0)])
@pytest.mark.parametrize(
    "sampler", [MessageSampler(), SDESolver(1), SDESolver(2), ODESolver(1), ODESolver(2)]
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
        (
            lambda: list(ODESolver().generate(DiscreteFlow(2, 1.0), print, (1, 2), 0)),
            "num_steps must be at least 1",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
