"""Guidance and inpainting with networks that know all, against conditional distributions that are known."""

import functools
from collections.abc import Callable

import pytest
import torch
from exact_posteriors import CorrelatedNormal, MarkovChain, total_variation
from torch import Tensor

from graves_bfn import (
    ClampInpainting,
    ContinuousFlow,
    Control,
    DiscreteFlow,
    DiscretisedFlow,
    GradientGuidance,
    MessageSampler,
    MixedFlow,
    ParticleInpainting,
    ReplaceInpainting,
    Sampler,
    SDESolver,
)
from graves_bfn.guidance.inpainting import systematic_resampling

CHAIN, SHORT, FLOW = MarkovChain(6, 6), MarkovChain(6, 2), DiscreteFlow(6, 3.0)
RARE = int(CHAIN.start.argmin())
NEXT = CHAIN.transition[RARE]
BEFORE = CHAIN.start * CHAIN.transition[:, RARE] / CHAIN.start[RARE]
SAMPLERS = [MessageSampler(), SDESolver(order=2)]


def sampled(
    sampler: Sampler, count: int, steps: int, *controls: Control, chain: MarkovChain = CHAIN
) -> Tensor:
    generator, shape = torch.Generator().manual_seed(0), (count, chain.length)
    return sampler.sample(FLOW, chain.network, shape, steps, controls=controls, generator=generator)


def first_is_rare(theta: Tensor, t: Tensor) -> Tensor:
    """ln p(x_1 = a | beliefs), exactly."""
    chain = SHORT if theta.shape[1] == SHORT.length else CHAIN
    return chain.network(theta, t)[:, 0].log_softmax(-1)[:, RARE]


def named(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_the_gradient_of_an_exact_likelihood_samples_from_the_posterior(sampler: Sampler) -> None:
    x = sampled(sampler, 12_000, 50, GradientGuidance(first_is_rare), chain=SHORT)
    guided = x[:, 0] == RARE
    assert guided.double().mean() >= 0.99
    assert total_variation(x[guided, 1], NEXT) <= 0.02


def test_exaggerated_guidance_leaves_the_posterior() -> None:
    x = sampled(SDESolver(order=2), 2_000, 50, GradientGuidance(first_is_rare, scale=4.0), chain=SHORT)
    assert (x[:, 0] == RARE).double().mean() > 0.99
    assert total_variation(x[:, 1], NEXT) > 0.05


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_scale_0_changes_nothing(sampler: Sampler) -> None:
    plain = sampled(sampler, 50, 5)
    assert sampled(sampler, 50, 5, GradientGuidance(first_is_rare, scale=0.0)).equal(plain)


@pytest.mark.parametrize("sampler", [MessageSampler(), SDESolver(order=2, start=0.0)], ids=named)
def test_guided_normal_vectors_have_the_posterior_mean_and_covariance(sampler: Sampler) -> None:
    flow, observed, spread = ContinuousFlow(0.03, bounds=None), 1.5, 0.5
    source, count = CorrelatedNormal(flow), 4_000
    first = torch.tensor([[1.0, 0.0, 0.0]]).double()

    def log_likelihood(mean: Tensor, t: Tensor) -> Tensor:
        """Of an observation of x_1 with that spread, given the beliefs: a normal density."""
        beta = flow.beta(t.double())[:, None, None]
        rest = torch.linalg.inv(torch.linalg.inv(source.covariance) + beta * torch.eye(3))
        guess = (rest @ ((1 + beta[..., 0]) * mean).unsqueeze(-1)).squeeze(-1)
        variance = rest[:, 0, 0] + spread**2
        return -0.5 * (observed - guess[:, 0]) ** 2 / variance

    x = sampler.sample(
        flow,
        source.network,
        (count, 3),
        150,
        controls=[GradientGuidance(log_likelihood)],
        generator=torch.Generator().manual_seed(0),
    ).double()
    gain = source.covariance @ first.T / (source.covariance[0, 0] + spread**2)
    mean, covariance = observed * gain[:, 0], source.covariance - gain @ first @ source.covariance
    deviations = covariance.diagonal().sqrt()
    error = (x.mean(0) - mean).abs() / deviations
    assert (error < 4 / count**0.5 + 0.05).all()
    scale = deviations[:, None] * deviations
    assert ((x.T.cov() - covariance).abs() / scale < 4 * (2 / count) ** 0.5 + 0.1).all()
    prior = source.covariance[0, 0]
    assert (x[:, 0].var() - covariance[0, 0]).abs() < 0.1 * (prior - covariance[0, 0])


def test_gradients_are_found_in_inference_mode() -> None:
    control = GradientGuidance(first_is_rare)
    with torch.inference_mode():
        inside = sampled(SDESolver(), 20, 5, control)
    assert inside.equal(sampled(SDESolver(), 20, 5, control))


def test_the_gradient_of_one_field_moves_that_field_alone() -> None:
    flow = MixedFlow({"a": ContinuousFlow(0.1, bounds=None), "b": DiscretisedFlow(4, 0.1), "c": FLOW})
    network = lambda inputs, t: {
        "a": inputs["a"].unsqueeze(-1),
        "b": torch.zeros(*inputs["b"].shape, 2),
        "c": inputs["c"].log(),
    }
    shape = {"a": (3, 2), "b": (3, 4), "c": (3, 2)}
    draw = functools.partial(
        lambda controls, seed: (
            list(
                MessageSampler().generate(
                    flow, network, shape, 4, controls=controls, generator=torch.Generator().manual_seed(seed)
                )
            )[-1].params
        ),
        seed=0,
    )
    plain = draw([])
    guided = draw([GradientGuidance(lambda inputs, t: 5 * inputs["a"].sum(1))])
    assert (guided["a"].mean > plain["a"].mean).all()
    assert guided["b"].mean.equal(plain["b"].mean)
    assert guided["c"].equal(plain["c"])


def inpainted(make: Callable[[Tensor, Tensor], Control], sampler: Sampler, count: int = 4_000) -> Tensor:
    x, known = torch.full((count, 6), RARE), torch.zeros(count, 6, dtype=torch.bool)
    known[:, 3] = True
    control = make(x, known)
    if not isinstance(control, ParticleInpainting):
        return sampled(sampler, count, 40, control)
    generator = torch.Generator().manual_seed(1)
    return control.choose(sampled(sampler, count * control.particles, 40, control), generator)


def bias(x: Tensor) -> tuple[float, float]:
    """How far the neighbours of the known place are from what they should be."""
    return total_variation(x[:, 4], NEXT), total_variation(x[:, 2], BEFORE)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_clamping_completes_almost_exactly(sampler: Sampler) -> None:
    x = inpainted(ClampInpainting, sampler)
    assert (x[:, 3] == RARE).all()
    assert max(bias(x)) <= 0.03


@pytest.mark.parametrize("sampler", SAMPLERS, ids=named)
def test_replacing_is_biased(sampler: Sampler) -> None:
    x = inpainted(ReplaceInpainting, sampler)
    assert (x[:, 3] == RARE).all()
    assert max(bias(x)) > 0.1


def test_particles_are_less_biased_the_more_there_are() -> None:
    alone = max(bias(inpainted(ReplaceInpainting, MessageSampler())))
    few, many = (
        inpainted(lambda x, known, p=particles: ParticleInpainting(x, known, p), MessageSampler(), 500)
        for particles in (3, 16)
    )
    assert (few[:, 3] == RARE).all()
    assert (many[:, 3] == RARE).all()
    assert max(bias(many)) + 0.02 < max(bias(few)) < alone - 0.05


def test_particles_can_be_used_again() -> None:
    x, known = torch.full((30, 6), RARE), torch.zeros(30, 6, dtype=torch.bool)
    known[:, 3] = True
    control = ParticleInpainting(x, known, particles=2)
    sampled(MessageSampler(), 60, 3, control)
    weights = control.log_weights
    assert not weights.equal(torch.zeros_like(weights))
    sampled(MessageSampler(), 60, 3, control)
    torch.testing.assert_close(control.log_weights, weights)


@pytest.mark.parametrize("particles", [2, 5, 16])
def test_systematic_resampling_rounds_the_expected_counts(particles: int) -> None:
    generator = torch.Generator().manual_seed(particles)
    weights = (2 * torch.randn(2_000, particles, generator=generator, dtype=torch.float64)).softmax(-1)
    index = systematic_resampling(weights, generator)
    counts = torch.zeros_like(weights).scatter_add_(1, index, torch.ones_like(weights))
    expected = particles * weights
    assert (counts >= expected.floor() - 1e-9).all()
    assert (counts <= expected.ceil() + 1e-9).all()


def test_systematic_resampling_is_unbiased() -> None:
    weights, n = torch.tensor([0.05, 0.5, 0.15, 0.3]).double(), 20_000
    index = systematic_resampling(weights.expand(n, 4), torch.Generator().manual_seed(0))
    shares = torch.bincount(index.flatten(), minlength=4) / (4 * n)
    assert (shares - weights).abs().max() < 4 * 0.5 / (4 * n**0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientGuidance(first_is_rare, scale=-1.0), "scale must be at least 0, not -1.0"),
        (lambda: ParticleInpainting(torch.zeros(1, 2), torch.ones(1, 2) > 0, 1), "at least 2, not 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
