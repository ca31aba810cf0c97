"""Costs of weights, their gradients, the best priors and the estimators, against independent statements."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace, Normal, kl_divergence

from graves_bayes.variational.complexity import cost_gradients, weight_costs
from graves_bayes.variational.estimators import complexity_scale, linear_squares, squared_gradient
from graves_bayes.variational.posteriors import draw_, entropy, mean_distance, variance
from graves_bayes.variational.priors import gaussian_prior, laplace_prior

POSTERIORS = ["gaussian", "laplace", "delta"]
PRIORS = ["gaussian", "laplace", "uniform"]
FAMILIES: dict[str, Any] = {"gaussian": Normal, "laplace": Laplace}
M, S = 0.3, 0.7


def weights(count: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(count, generator=generator, dtype=torch.float64)
    return mean, torch.randn(count, generator=generator, dtype=torch.float64) - 1


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_costs_equal_the_divergences_of_torch(family: Any) -> None:
    mean, log_scale = weights()
    expected = kl_divergence(
        FAMILIES[family](mean, log_scale.exp()), FAMILIES[family](torch.tensor(M).double(), S)
    )
    got = weight_costs(family, family, mean, log_scale, M, S)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("posterior", "prior"), [("gaussian", "laplace"), ("laplace", "gaussian")])
def test_costs_without_divergence_in_torch_equal_an_integral(posterior: Any, prior: Any) -> None:
    mean, log_scale = weights(8)
    q, p = FAMILIES[posterior](mean, log_scale.exp()), FAMILIES[prior](torch.tensor(M).double(), S)
    steps = torch.linspace(-60, 60, 1_200_001, dtype=torch.float64)[:, None]
    for index in range(8):
        one = FAMILIES[posterior](mean[index], log_scale[index].exp())
        points = mean[index] + log_scale[index].exp() * steps
        density = one.log_prob(points).exp()
        integrand = density * (one.log_prob(points) - p.log_prob(points))
        expected = torch.trapezoid(integrand[:, 0], points[:, 0])
        got = weight_costs(posterior, prior, mean[index], log_scale[index], M, S)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    assert q.entropy().sub(entropy(posterior, log_scale)).abs().max() < 1e-12


@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
def test_a_delta_costs_minus_the_log_density_of_the_prior(prior: Any) -> None:
    mean, log_scale = weights()
    expected = -FAMILIES[prior](torch.tensor(M).double(), S).log_prob(mean)
    torch.testing.assert_close(weight_costs("delta", prior, mean, log_scale, M, S), expected)


def test_the_formula_of_the_paper_is_that_of_a_gaussian() -> None:
    mean, log_scale = weights()
    sigma = log_scale.exp()
    paper = (S / sigma).log() + ((mean - M) ** 2 + sigma**2 - S**2) / (2 * S**2)
    torch.testing.assert_close(weight_costs("gaussian", "gaussian", mean, log_scale, M, S), paper)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradients_equal_autograd(posterior: Any, prior: Any) -> None:
    mean, log_scale = (value.requires_grad_() for value in weights())
    cost = weight_costs(posterior, prior, mean, log_scale, M, S).sum()
    if posterior == "delta" and prior == "uniform":
        assert float(cost) == 0
        return
    expected = torch.autograd.grad(cost, (mean, log_scale), allow_unused=True)
    values = (posterior, prior, mean.detach(), log_scale.detach(), M, S)
    for found, gradient in zip(cost_gradients(*values), expected, strict=True):
        wanted = torch.zeros_like(mean) if gradient is None else gradient
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_no_prior_is_better_than_the_best(posterior: Any, prior: Any) -> None:
    mean, log_scale = weights(51)
    centre, scale = (gaussian_prior if prior == "gaussian" else laplace_prior)(posterior, mean, log_scale)

    def total(m: Any, s: Any) -> float:
        return float(weight_costs(posterior, prior, mean, log_scale, m, s).sum())

    for m, s in ((0.01, 1.0), (-0.01, 1.0), (0.0, 1.01), (0.0, 0.99)):
        assert total(centre + m, scale * s) > total(centre, scale)


@pytest.mark.parametrize("best", [gaussian_prior, laplace_prior])
def test_a_given_centre_stays(best: Any) -> None:
    mean, log_scale = weights()
    centre, scale = best("gaussian", mean, log_scale, 0.5)
    prior = "gaussian" if best is gaussian_prior else "laplace"
    assert float(centre) == 0.5
    costs = [
        weight_costs("gaussian", prior, mean, log_scale, centre, scale * f).sum() for f in (0.99, 1, 1.01)
    ]
    assert costs[1] < min(costs[0], costs[2])


def test_at_the_best_gaussian_prior_the_quadratic_terms_cancel() -> None:
    mean, log_scale = weights()
    centre, scale = gaussian_prior("gaussian", mean, log_scale)
    expected = len(mean) * scale.log() - log_scale.sum()
    got = weight_costs("gaussian", "gaussian", mean, log_scale, centre, scale).sum()
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_draws_have_variance_and_mean_distance_of_the_family(family: Any) -> None:
    count, zero = 200_000, torch.zeros(1, dtype=torch.float64)
    noise = draw_(family, torch.empty(count, dtype=torch.float64), torch.Generator().manual_seed(0))
    for sample, expected in (
        (noise.square(), variance(family, zero)),
        ((noise + 0.4).abs(), mean_distance(family, zero + 0.4, zero)),
    ):
        assert abs(sample.mean() - expected) < 4 * sample.std() / math.sqrt(count)


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_squares_give_the_scale_gradient_of_a_quadratic_error(family: Any) -> None:
    """For an error h w^2 / 2, whose curvature is h, the expectation is h (mean^2 + variance) / 2."""
    log_scale = torch.tensor([-0.7, 0.2], dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor([3.0, 0.5], dtype=torch.float64)
    (curvature * variance(family, log_scale) / 2).sum().backward()
    assert log_scale.grad is not None
    torch.testing.assert_close(squared_gradient(family, curvature, log_scale.detach()), log_scale.grad)


def test_one_matrix_product_sums_the_squares_of_all_examples() -> None:
    inputs, gradients = torch.randn(7, 3), torch.randn(7, 2)
    expected = sum(torch.outer(g, x).square() for g, x in zip(gradients, inputs, strict=True))
    torch.testing.assert_close(linear_squares(inputs, gradients), expected)


def test_shares_of_an_epoch_add_up_to_one() -> None:
    assert sum(complexity_scale(10, float(size)) for size in (4, 4, 2)) == pytest.approx(1)
