"""Messages of weights and labels: what is sent arrives, and is as long as it should be."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

pytest.importorskip("constriction")

from graves_bayes.variational.complexity import weight_costs
from graves_bayes.variational.message import Gaussians, Grid, decode, encode, encode_fixed, grid_for

OVERHEAD = 64
"""Bits: the coder's state and the rounding to words."""


class Setting:
    """A network with a posterior, and data whose labels depend on the inputs."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(400, 6, generator=generator)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
        count = sum(p.numel() for p in self.net.parameters())
        mean = 0.5 * torch.randn(count, generator=generator)
        std = (torch.randn(count, generator=generator) * 0.7 - 2.5).exp()
        self.posterior = Gaussians(mean, std)
        second = (mean.square() + std.square()).mean().sqrt()
        self.prior = Gaussians(torch.zeros(count), second.expand(count))
        self.grid = grid_for(self.posterior, self.prior)
        self.labels = torch.distributions.Categorical(logits=self.predict(mean)).probs.multinomial(
            1, generator=generator
        )[:, 0]

    def predict(self, weights: Tensor) -> Tensor:
        names = {name: p.shape for name, p in self.net.named_parameters()}
        parts = weights.split([shape.numel() for shape in names.values()])
        given = {name: part.view(names[name]) for name, part in zip(names, parts, strict=True)}
        with torch.no_grad():
            return functional_call(self.net, given, self.inputs).log_softmax(-1)

    def error_bits(self, weights: Tensor) -> float:
        told = self.predict(weights)[torch.arange(400), self.labels]
        return float(-told.sum()) / math.log(2)

    def encode(self, seed: int = 0) -> Any:
        return encode(
            self.labels,
            self.predict,
            self.posterior,
            self.prior,
            self.grid,
            torch.Generator().manual_seed(seed),
        )


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting()


def test_labels_and_weights_arrive(setting: Setting) -> None:
    message = setting.encode()
    received = decode(message.words, setting.predict, setting.prior, setting.grid)
    assert torch.equal(received.labels, setting.labels)
    again = decode(message.words, setting.predict, setting.prior, setting.grid)
    assert torch.equal(received.weights, again.weights)
    assert received.borrowed is None
    score = (received.weights - setting.posterior.mean) / setting.posterior.std
    assert score.abs().max() < 5
    assert 0.8 < score.std() < 1.2


def test_a_receiver_with_the_posterior_gets_the_borrowed_bits_back(setting: Setting) -> None:
    message = setting.encode()
    received = decode(
        message.words, setting.predict, setting.prior, setting.grid, posterior=setting.posterior
    )
    generator = torch.Generator().manual_seed(0)
    expected = torch.randint(2**32, (len(received.borrowed),), generator=generator)
    assert 32 * len(received.borrowed) <= message.borrowed < 32 * len(received.borrowed) + 64
    assert np.array_equal(received.borrowed, expected.numpy().astype(np.uint32))


def test_a_message_is_as_long_as_its_own_sample_says(setting: Setting) -> None:
    message = setting.encode()
    weights = decode(message.words, setting.predict, setting.prior, setting.grid).weights
    densities = [
        torch.distributions.Normal(part.mean.double(), part.std.double()).log_prob(weights.double()).sum()
        for part in (setting.posterior, setting.prior)
    ]
    expected = float(densities[0] - densities[1]) / math.log(2) + setting.error_bits(weights)
    assert abs(message.net_bits - expected) < OVERHEAD + 0.01 * expected


def test_messages_are_as_long_as_error_and_complexity_on_average(setting: Setting) -> None:
    """Over 40 messages; the bound is 4 standard errors and one per cent."""
    lengths = np.array([setting.encode(seed).net_bits for seed in range(40)], float)
    generator = torch.Generator().manual_seed(1)
    mean, std = setting.posterior
    samples = [mean + std * torch.randn(len(mean), generator=generator) for _ in range(400)]
    errors = np.array([setting.error_bits(sample) for sample in samples])
    costs = weight_costs("gaussian", "gaussian", mean, std.log(), 0.0, setting.prior.std[0])
    expected = errors.mean() + float(costs.sum()) / math.log(2)
    spread = math.sqrt(lengths.var(ddof=1) / 40 + errors.var(ddof=1) / 400)
    assert abs(lengths.mean() - expected) < 4 * spread + 0.01 * expected + OVERHEAD


def test_fixed_weights_arrive_rounded(setting: Setting) -> None:
    grid = Grid(0.05, 200)
    message = encode_fixed(setting.labels, setting.predict, setting.posterior.mean, setting.prior, grid)
    received = decode(message.words, setting.predict, setting.prior, grid)
    assert torch.equal(received.labels, setting.labels)
    assert (received.weights - setting.posterior.mean).abs().max() <= 0.025 + 1e-6
    assert message.net_bits == message.bits


def test_fixed_weights_cost_their_prior_s_probability(setting: Setting) -> None:
    grid = Grid(0.05, 200)
    message = encode_fixed(setting.labels, setting.predict, setting.posterior.mean, setting.prior, grid)
    weights = decode(message.words, setting.predict, setting.prior, grid).weights
    normal = torch.distributions.Normal(setting.prior.mean.double(), setting.prior.std.double())
    mass = normal.cdf(weights.double() + 0.025) - normal.cdf(weights.double() - 0.025)
    expected = float(-mass.log2().sum()) + setting.error_bits(weights)
    assert abs(message.net_bits - expected) < OVERHEAD + 0.01 * expected


def test_bits_back_is_shorter_than_means_of_the_same_precision(setting: Setting) -> None:
    fixed = encode_fixed(setting.labels, setting.predict, setting.posterior.mean, setting.prior, setting.grid)
    assert setting.encode().net_bits < 0.8 * fixed.net_bits


def test_a_grid_that_is_too_fine_is_refused() -> None:
    narrow = Gaussians(torch.zeros(2), torch.tensor([1e-6, 1.0]))
    with pytest.raises(ValueError, match="fineness"):
        grid_for(narrow, Gaussians(torch.zeros(2), torch.ones(2)))
