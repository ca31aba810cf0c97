"""The rule by which weights are pruned."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from graves_bayes.variational.pruning import (
    TYPICAL,
    density_of_threshold,
    fraction_kept,
    kept_weights,
    signal_to_noise,
    threshold_of_density,
)


def posterior(count: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(count, generator=generator)
    mean[::10] = 0
    return mean, torch.rand(count, generator=generator) + 1e-3


def test_lambda_0_removes_nothing() -> None:
    assert kept_weights(*posterior(), 0.0).all()


def test_an_infinite_lambda_removes_everything() -> None:
    assert not kept_weights(*posterior(), math.inf).any()


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9, 0.999])
def test_a_weight_goes_when_its_density_at_0_exceeds_gamma_of_its_mode(gamma: float) -> None:
    mean, std = (value.double() for value in posterior())
    density = Normal(mean, std)
    relative = (density.log_prob(torch.zeros(())) - density.log_prob(mean)).exp()
    assert torch.equal(kept_weights(mean, std, threshold_of_density(gamma)), relative <= gamma)


@given(st.floats(0, 6))
def test_lambda_and_gamma_are_inverse(threshold: float) -> None:
    assert threshold_of_density(density_of_threshold(threshold)) == pytest.approx(
        threshold, abs=1e-6, rel=1e-6
    )


def test_the_typical_threshold_is_that_of_the_mean_density_of_a_draw() -> None:
    """With 10**6 draws the standard error of the mean of exp(-z^2 / 2), spread 0.28, is 0.0003."""
    draws = torch.randn(10**6, generator=torch.Generator().manual_seed(0))
    assert density_of_threshold(TYPICAL) == pytest.approx(float((-(draws**2) / 2).exp().mean()), abs=0.0015)


def test_signal_to_noise_ignores_signs() -> None:
    assert signal_to_noise(torch.tensor([-4.0, 4.0]), torch.tensor([2.0, 8.0])).tolist() == [2, 0.5]


def test_a_certain_weight_stays() -> None:
    assert kept_weights(torch.tensor([0.5]), torch.zeros(1), 100.0).all()


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_gamma_is_checked(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        threshold_of_density(gamma)


@pytest.mark.parametrize("threshold", [-0.1, math.nan])
def test_lambda_is_checked(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        kept_weights(*posterior(), threshold)
    with pytest.raises(ValueError, match="threshold"):
        density_of_threshold(threshold)


def test_the_fraction_kept_is_over_all_weights() -> None:
    assert float(fraction_kept(torch.tensor([[True, False], [False, False]]))) == 0.25
