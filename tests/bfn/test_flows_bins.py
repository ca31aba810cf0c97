"""The binned normal distribution against sums over all bins and against high precision."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_bfn import DiscretisedFlow
from graves_bfn.flows.bins import (
    bin_centre,
    bin_index,
    expected_centre,
    log_bin_probabilities,
    log_bin_probability,
    log_normal_cdf,
    mode_bin,
    quantise,
)

BINS = [2, 3, 10, 16, 64, 256, 1024]


def random_normals(count: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = 4 * torch.rand(count, generator=generator, dtype=torch.float64) - 2
    std = torch.exp(
        math.log(1e4) * torch.rand(count, generator=generator, dtype=torch.float64) + math.log(1e-3)
    )
    return mean, std


def all_centres(num_bins: int) -> torch.Tensor:
    return bin_centre(torch.arange(num_bins), num_bins, torch.float64)


@given(st.integers(2, 300), st.floats(-1.5, 1.5))
def test_a_value_lies_in_its_bin(num_bins: int, value: float) -> None:
    x = torch.tensor([value], dtype=torch.float64)
    index, centre = bin_index(x, num_bins).item(), quantise(x, num_bins).item()
    assert 0 <= index < num_bins
    assert centre == pytest.approx(-1 + (2 * (index + 1) - 1) / num_bins)
    assert abs(min(max(value, -1), 1) - centre) <= 1 / num_bins + 1e-12


def test_bytes_survive_256_bins() -> None:
    values = torch.arange(256)
    x = quantise(2 * (values / 255) - 1, 256)
    assert bin_index(x, 256).equal(values)


@pytest.mark.parametrize("num_bins", BINS)
def test_probabilities_sum_to_one(num_bins: int) -> None:
    log_p = log_bin_probabilities(*random_normals(), num_bins)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(3000, dtype=torch.float64))


@pytest.mark.parametrize("num_bins", BINS)
def test_one_bin_and_all_bins_agree(num_bins: int) -> None:
    mean, std = random_normals(500)
    log_p = log_bin_probabilities(mean, std, num_bins)
    index = torch.arange(500) % num_bins
    x = bin_centre(index, num_bins, torch.float64)
    torch.testing.assert_close(log_bin_probability(x, mean, std, num_bins), log_p[torch.arange(500), index])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-7), (torch.float32, 3e-6)])
@pytest.mark.parametrize("num_bins", BINS)
def test_expected_centre_is_the_sum_over_bins(num_bins: int, dtype: torch.dtype, tolerance: float) -> None:
    mean, std = random_normals()
    expected = (log_bin_probabilities(mean, std, num_bins).exp() * all_centres(num_bins)).sum(-1)
    result = expected_centre(mean.to(dtype), std.to(dtype), num_bins)
    assert (result - expected).abs().max() < tolerance


@pytest.mark.parametrize("num_bins", BINS)
def test_gradients_of_the_expected_centre_are_those_of_the_sum(num_bins: int) -> None:
    inputs = [value.requires_grad_() for value in random_normals()]
    total = (log_bin_probabilities(*inputs, num_bins).exp() * all_centres(num_bins)).sum()
    expected = torch.autograd.grad(total, inputs)
    result = torch.autograd.grad(expected_centre(*inputs, num_bins).sum(), inputs)
    for given_grad, expected_grad in zip(result, expected, strict=True):
        torch.testing.assert_close(given_grad, expected_grad, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("num_bins", BINS)
def test_mode_is_the_most_probable_bin(num_bins: int) -> None:
    mean, std = random_normals()
    log_p = log_bin_probabilities(mean, std, num_bins)
    chosen = log_p.gather(-1, mode_bin(mean, std, num_bins).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(chosen, log_p.max(-1).values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log_probabilities_are_exact_in_the_tails(dtype: torch.dtype) -> None:
    # 16 bins, mean -0.97, standard deviation 0.05: values of the third and the ninth bin to high precision
    mean, std = torch.tensor([-0.97, -0.97], dtype=dtype), torch.tensor([0.05, 0.05], dtype=dtype)
    x = bin_centre(torch.tensor([2, 8]), 16, dtype)
    result = log_bin_probability(x, mean, std, 16)
    expected = [tail_probability(0.22 / 0.05, 0.345 / 0.05), tail_probability(0.97 / 0.05, 1.095 / 0.05)]
    torch.testing.assert_close(result.double(), torch.tensor(expected).double(), rtol=2e-5, atol=1e-4)
    assert result[0].item() == pytest.approx(-12.13, abs=0.01)
    assert result[1].item() == pytest.approx(-192, abs=0.5)


def tail_probability(low: float, high: float, pieces: int = 20_000) -> float:
    """ln of the normal mass between low and high by the trapezoidal rule around the largest exponent."""
    z = torch.linspace(low, high, pieces + 1, dtype=torch.float64)
    weights = torch.full_like(z, (high - low) / pieces)
    weights[[0, -1]] /= 2
    return float(torch.logsumexp(-0.5 * z.square() + weights.log(), 0) - 0.5 * math.log(2 * math.pi))


def test_gradients_of_the_log_mass_are_right_in_the_body_and_finite_in_the_far_tails() -> None:
    body = torch.linspace(-30, 8, 200, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_normal_cdf, body)
    tails = torch.tensor([-1e6, -1e3, -200.0, 200.0, 1e6], requires_grad=True)
    (grad,) = torch.autograd.grad(log_normal_cdf(tails).sum(), tails)
    torch.testing.assert_close(grad, torch.tensor([1e6, 1e3, 200.0, 0.0, 0.0]), rtol=1e-4, atol=1e-6)


def test_rounding_a_normal_draw_is_drawing_a_bin() -> None:
    flow, count = DiscretisedFlow(4, 0.1), 200_000
    output = flow.output_distribution(
        torch.tensor([0.3, -0.2]).expand(count, 1, 2), flow.prior((count, 1)), torch.full((count,), 0.1)
    )
    draws = bin_index(output.sample(torch.randn(count, 1, generator=torch.Generator().manual_seed(0))), 4)
    shares = torch.bincount(draws.flatten(), minlength=4) / count
    expected = log_bin_probabilities(output.location[:1], output.std[:1], 4).exp().flatten()
    assert (shares - expected).abs().max() < 4 * math.sqrt(0.25 / count)


def test_message_cost_by_quadrature_is_the_monte_carlo_average() -> None:
    flow = DiscretisedFlow(16, 0.03)
    generator = torch.Generator().manual_seed(0)
    x = flow.quantise(2 * torch.rand(6, 4, generator=generator) - 1)
    network = lambda mean, t: torch.stack([0.2 * mean, mean - 1], -1)
    fixed = {
        "step": torch.tensor([1, 2, 3, 5, 8, 10]),
        "noise": torch.randn(6, 4, generator=generator),
    }
    messages = torch.randn(4000, 6, 4, generator=generator)
    exact = flow.discrete_time_loss(network, x, 10, **fixed)
    parts = torch.stack(
        [flow.discrete_time_loss(network, x, 10, sender_noise=part, **fixed) for part in messages.split(100)]
    )
    error = parts.std(0) / math.sqrt(len(parts))
    assert ((exact - parts.mean(0)).abs() < 5 * error + 1e-3).all()
