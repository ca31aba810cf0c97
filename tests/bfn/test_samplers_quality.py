"""How few network calls it takes, with a network that knows all: the numbers that a good sampler reaches."""

import pytest
import torch
from exact_posteriors import MarkovChain

from graves_bfn import DiscreteFlow, MessageSampler, NoiseBackSampler, ODESolver, Sampler, SDESolver

CHAIN, FLOW = MarkovChain(6, 24), DiscreteFlow(6, 3.0)


def sampled(sampler: Sampler, calls: int, count: int = 4_000) -> tuple[float, float]:
    """How far samples are from the entropy rate in nats per variable, and from the pairs of the chain."""
    x = sampler.sample(
        FLOW, CHAIN.network, (count, 24), calls - 1, generator=torch.Generator().manual_seed(0)
    )
    excess = CHAIN.information(x).mean().item() - CHAIN.entropy
    return excess / 24, CHAIN.pair_distance(x)


def test_ten_calls_of_second_order_reach_the_entropy_rate() -> None:
    excess, distance = sampled(SDESolver(order=2), calls=10, count=20_000)
    assert abs(excess) <= 0.01
    assert distance <= 0.015


def test_ten_messages_do_not() -> None:
    excess, distance = sampled(MessageSampler(), calls=10)
    assert excess > 0.05
    assert distance > 0.03


@pytest.mark.parametrize(
    ("sampler", "bound"),
    [(SDESolver(1, start=0.0), 0.06), (ODESolver(2), 0.025), (SDESolver(2, start=0.0), 0.02)],
    ids=["SDE-1", "ODE-2", "SDE-2 from 0"],
)
def test_other_solvers_at_ten_calls(sampler: Sampler, bound: float) -> None:
    assert sampled(sampler, calls=10)[1] < bound


def test_more_messages_come_closer() -> None:
    few, many = sampled(MessageSampler(), calls=5), sampled(MessageSampler(), calls=30)
    assert many[0] < 0.35 * few[0]
    assert many[1] < 0.5 * few[1]


@pytest.mark.parametrize("fixed_noise", [False, True])
def test_noise_back_seeks_modes(fixed_noise: bool) -> None:
    few = sampled(NoiseBackSampler(fixed_noise=fixed_noise), calls=10, count=2_000)
    many = sampled(NoiseBackSampler(fixed_noise=fixed_noise), calls=24, count=2_000)
    assert many[0] < few[0] < -0.03  # more probable than the data
    assert many[1] > 0.05  # and others than them


def test_low_temperature_makes_probable_samples_and_high_temperature_diverse_ones() -> None:
    cold, hot = (sampled(MessageSampler(temperature=t), calls=15, count=2_000)[0] for t in (0.5, 2.0))
    assert cold < -0.05
    assert hot > 0.2
