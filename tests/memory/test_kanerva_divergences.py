"""Divergences and draws of the distributions beside brute force and torch.distributions."""

import math

import pytest
import torch
from kanerva_cases import Case, case, conditioned, covariances, kl_normal, vectorised
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from graves_memory.kanerva.gaussian import DiagonalNormal, kl_gaussian, kl_standard
from graves_memory.kanerva.matrix_normal import MatrixNormal, kl_matrix_normal, sample_matrix_normal
from graves_memory.kanerva.update import kl_write, update_batch, update_one

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_kl_of_matrix_normals_is_that_of_whole_covariances(seed: int) -> None:
    new, old = case(seed).memory, case(seed + 100).memory
    assert kl_matrix_normal(new, old).item() == pytest.approx(
        kl_normal(vectorised(new), vectorised(old)), abs=1e-10
    )


def test_kl_of_matrix_normals_is_that_of_torch_column_by_column() -> None:
    new, old = case(0, batch=(3,)).memory, case(1, batch=(3,)).memory
    columns = [
        kl_divergence(
            MultivariateNormal(new.mean[..., column], new.covariance),
            MultivariateNormal(old.mean[..., column], old.covariance),
        )
        for column in range(3)
    ]
    torch.testing.assert_close(kl_matrix_normal(new, old), sum(columns), rtol=0, atol=1e-10)


def test_kl_of_a_memory_from_itself_is_zero() -> None:
    memory = case(2).memory
    assert kl_matrix_normal(memory, memory).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_kl_of_a_memory_is_not_that_of_diagonals_without_the_half(seed: int) -> None:
    """What released code computes for an episode is another number."""
    given = case(seed)
    new, old = update_batch(*given), given.memory
    posterior, prior = new.covariance.diagonal(), old.covariance.diagonal()
    spread = 3 * (posterior / prior - 1 + prior.log() - posterior.log()).sum()
    released = spread + ((new.mean - old.mean).square() / prior.unsqueeze(1)).sum()
    right = kl_normal(conditioned(given), vectorised(old))
    assert kl_matrix_normal(new, old).item() == pytest.approx(right, abs=1e-9)
    for halved in (released, released / 2):
        assert abs(halved.item() - right) > 0.05 * right


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("items", [1, 3, 6])
def test_kl_of_a_write_is_that_of_the_memories_before_and_after(seed: int, items: int) -> None:
    given = case(seed, batch=(2,), items=items)
    expected = kl_matrix_normal(update_batch(*given), given.memory)
    torch.testing.assert_close(kl_write(*given), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_kl_of_one_write_is_its_closed_form(seed: int) -> None:
    memory, addresses, codes, noise = case(seed, items=1)
    address, code = addresses[0], codes[0]
    variance = address @ memory.covariance @ address + noise
    share = (address @ memory.covariance @ address / variance).item()
    error = (code - address @ memory.mean).square().sum().item()
    expected = 0.5 * (-3 * share - 3 * math.log(1 - share) + share * error / variance.item())
    assert kl_write(memory, addresses, codes, noise).item() == pytest.approx(expected, abs=1e-10)
    after = update_one(memory, address, code, noise)
    assert kl_matrix_normal(after, memory).item() == pytest.approx(expected, abs=1e-10)


def test_the_sum_over_single_writes_is_not_the_kl_of_an_episode() -> None:
    memory, addresses, codes, noise = case(3)
    total, current = 0.0, memory
    for address, code in zip(addresses, codes, strict=True):
        total += kl_write(current, address[None], code[None], noise).item()
        current = update_one(current, address, code, noise)
    assert abs(total - kl_write(memory, addresses, codes, noise).item()) > 0.1


def test_gradients_of_divergences_are_those_of_finite_differences() -> None:
    memory, addresses, codes, noise = case(4, rows=3, size=2, items=2)
    prior = case(5, rows=3, size=2).memory

    def run(mean: Tensor, covariance: Tensor, addresses: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        given = MatrixNormal(mean, (covariance + covariance.mT) / 2)
        return kl_matrix_normal(given, prior), kl_write(given, addresses, codes, noise)

    inputs = [*memory, addresses, codes]
    assert torch.autograd.gradcheck(run, [value.requires_grad_() for value in inputs])


def test_float32_keeps_the_kl_of_a_write_where_the_memory_is_nearly_certain() -> None:
    given = case(6, rows=16, size=4, items=32, noise=1e-3)
    expected = kl_write(*given).item()
    memory = MatrixNormal(given.memory.mean.float(), given.memory.covariance.float())
    single = Case(memory, given.addresses.float(), given.codes.float(), given.noise)
    assert kl_write(*single).item() == pytest.approx(expected, rel=1e-2)


def test_drawn_memories_have_mean_and_covariance_of_the_distribution() -> None:
    torch.manual_seed(0)
    count, memory = 40_000, MatrixNormal(torch.randn(3, 2).double(), covariances((), 3))
    many = MatrixNormal(memory.mean.expand(count, 3, 2), memory.covariance.expand(count, 3, 3))
    drawn = sample_matrix_normal(many).mT.flatten(1)
    mean, covariance = (torch.from_numpy(part) for part in vectorised(memory))
    variances = covariance.diagonal()
    error = (drawn.mean(0) - mean).abs() / (variances / count).sqrt()
    assert error.max() < 5
    bound = 5 * ((variances[:, None] * variances + covariance.square()) / count).sqrt()
    assert ((drawn.T.cov() - covariance).abs() < bound).all()


def test_draws_come_from_given_numbers_or_a_generator() -> None:
    memory = case(7).memory
    noise = torch.randn(4, 3, dtype=torch.float64)
    expected = memory.mean + torch.linalg.cholesky(memory.covariance) @ noise
    torch.testing.assert_close(sample_matrix_normal(memory, noise), expected)
    first, second = (
        sample_matrix_normal(memory, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_kl_of_diagonal_normals_is_that_of_torch() -> None:
    torch.manual_seed(0)
    new = DiagonalNormal(torch.randn(5, 4).double(), torch.randn(5, 4).double())
    old = DiagonalNormal(torch.randn(5, 4).double(), torch.randn(5, 1).double())

    def distribution(given: DiagonalNormal) -> Normal:
        return Normal(given.mean, (given.log_variance / 2).exp().expand_as(given.mean))

    expected = kl_divergence(distribution(new), distribution(old)).sum(-1)
    torch.testing.assert_close(kl_gaussian(new, old), expected, rtol=0, atol=1e-12)
    standard = Normal(torch.zeros_like(new.mean), torch.ones_like(new.mean))
    expected = kl_divergence(distribution(new), standard).sum(-1)
    torch.testing.assert_close(kl_standard(new), expected, rtol=0, atol=1e-12)


def test_a_draw_has_the_deviation_that_belongs_to_the_variance() -> None:
    given = DiagonalNormal(torch.tensor([1.0]), torch.tensor([math.log(4.0)]))
    assert given.sample(torch.tensor([3.0])).item() == pytest.approx(1 + 2 * 3)
    noise = torch.randn(1, generator=torch.Generator().manual_seed(5))
    drawn = given.sample(generator=torch.Generator().manual_seed(5))
    assert drawn.item() == pytest.approx(given.sample(noise).item())
