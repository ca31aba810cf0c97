"""The update of a Kanerva memory beside brute-force conditioning of vec(M), and what float32 leaves of it."""

import numpy as np
import pytest
import torch
from kanerva_cases import Case, case, conditioned, vectorised
from torch import Tensor

from graves_memory.kanerva.matrix_normal import MatrixNormal
from graves_memory.kanerva.precision import full_precision, safe_cholesky
from graves_memory.kanerva.update import predict, read_codes, update_batch, update_one, update_online

EXACT = {"rtol": 0, "atol": 1e-10}
SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("items", [1, 6])
def test_the_posterior_is_that_of_vec_m_conditioned_by_brute_force(seed: int, items: int) -> None:
    given = case(seed, items=items)
    mean, covariance = vectorised(update_batch(*given))
    expected_mean, expected_covariance = conditioned(given)
    np.testing.assert_allclose(mean, expected_mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_batch_and_online_updates_agree(seed: int) -> None:
    given = case(seed, batch=(2, 3))
    torch.testing.assert_close(update_batch(*given), update_online(*given), **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_covariance_is_that_of_the_information_form(seed: int) -> None:
    given = case(seed, batch=(2,))
    precision = given.memory.covariance.inverse() + given.addresses.mT @ given.addresses / given.noise
    torch.testing.assert_close(update_batch(*given).covariance, precision.inverse(), **EXACT)


def test_the_order_of_items_does_not_matter() -> None:
    memory, addresses, codes, noise = case(0)
    order = torch.randperm(len(codes))
    again = update_batch(memory, addresses[order], codes[order], noise)
    torch.testing.assert_close(update_batch(memory, addresses, codes, noise), again, **EXACT)


def test_two_writes_are_one_write_of_both() -> None:
    memory, addresses, codes, noise = case(1)
    half = update_batch(memory, addresses[:2], codes[:2], noise)
    whole = update_batch(half, addresses[2:], codes[2:], noise)
    torch.testing.assert_close(whole, update_batch(memory, addresses, codes, noise), **EXACT)


def test_one_prior_serves_a_batch_of_episodes() -> None:
    memory, addresses, codes, noise = case(2, batch=(3,))
    prior = MatrixNormal(memory.mean[0], memory.covariance[0])
    together = update_batch(prior, addresses, codes, noise)
    for episode in range(3):
        alone = update_batch(prior, addresses[episode], codes[episode], noise)
        torch.testing.assert_close(MatrixNormal(*(part[episode] for part in together)), alone, **EXACT)
    torch.testing.assert_close(update_online(prior, addresses, codes, noise), together, **EXACT)


def test_the_noise_is_a_variance_and_not_a_standard_deviation() -> None:
    memory = MatrixNormal(torch.zeros(1, 1), torch.full((1, 1), 3.0))
    written = update_batch(memory, torch.ones(1, 1), torch.ones(1, 1), noise=2.0)
    assert written.mean.item() == pytest.approx(3 / (3 + 2))
    assert written.covariance.item() == pytest.approx(1 / (1 / 3 + 1 / 2))


def test_what_is_predicted_is_the_distribution_of_the_next_code() -> None:
    memory, addresses, _, noise = case(4)
    mean, variance = predict(memory, addresses, noise)
    whole_mean, covariance = vectorised(memory)
    seen = np.kron(np.eye(3), addresses.numpy())
    spread = (seen @ covariance @ seen.T + noise * np.eye(len(seen))).diagonal()
    np.testing.assert_allclose(mean.numpy().T.ravel(), seen @ whole_mean, atol=1e-12)
    np.testing.assert_allclose(variance.expand_as(mean).numpy().T.ravel(), spread, atol=1e-12)


@pytest.mark.parametrize("update", [update_batch, update_online])
def test_gradients_of_updates_are_those_of_finite_differences(update: object) -> None:
    memory, addresses, codes, _ = case(5, batch=(2,), rows=3, size=2, items=2)

    def run(
        mean: Tensor, covariance: Tensor, addresses: Tensor, codes: Tensor, noise: Tensor
    ) -> MatrixNormal:
        symmetric = (covariance + covariance.mT) / 2
        return update(MatrixNormal(mean, symmetric), addresses, codes, noise)  # type: ignore[operator]

    inputs = [*memory, addresses, codes, torch.tensor(0.6, dtype=torch.float64)]
    assert torch.autograd.gradcheck(run, [value.requires_grad_() for value in inputs])


def in_float32(given: Case) -> Case:
    memory = MatrixNormal(given.memory.mean.float(), given.memory.covariance.float())
    return Case(memory, given.addresses.float(), given.codes.float(), given.noise)


@pytest.mark.parametrize("noise", [1.0, 1e-2, 1e-3])
def test_float32_keeps_the_posterior_for_small_noise_and_many_items(noise: float) -> None:
    given = case(6, batch=(4,), rows=32, size=10, items=64, noise=noise)
    got, expected = update_batch(*in_float32(given)), update_batch(*given)
    scale = expected.mean.abs().max()
    assert (got.mean.double() - expected.mean).abs().max() < 2e-2 * scale
    assert (got.covariance.double() - expected.covariance).abs().max() < 1e-4 * given.memory.covariance.max()


def test_covariances_stay_exactly_symmetric_and_their_variances_positive() -> None:
    given = in_float32(case(7, rows=16, size=4, items=64, noise=1e-3))
    for update in (update_batch, update_online):
        covariance = update(*given).covariance
        assert torch.equal(covariance, covariance.mT)
        assert (predict(MatrixNormal(given.memory.mean, covariance), given.addresses, 1e-3)[1] >= 1e-3).all()


def test_autocast_and_half_precision_do_not_lower_the_precision() -> None:
    given = in_float32(case(8, batch=(2,)))
    expected = update_batch(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, read = update_batch(*given), predict(*given[:2], given.noise)[0]
    assert torch.equal(got.mean, expected.mean)
    assert torch.equal(read, predict(*given[:2], given.noise)[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(read_codes(given.memory.mean, given.addresses), read)
    half = update_batch(given.memory, given.addresses.bfloat16(), given.codes.bfloat16(), given.noise)
    assert half.mean.dtype == half.covariance.dtype == torch.float32


def test_full_precision_leaves_float64_alone() -> None:
    assert full_precision(torch.square)(torch.ones(2, dtype=torch.float64)).dtype == torch.float64


def test_a_factor_of_a_singular_matrix_is_found_and_of_a_negative_one_is_nan() -> None:
    torch.manual_seed(0)
    low = torch.randn(3, 20, 5)
    factor = safe_cholesky(low @ low.mT)
    assert (factor @ factor.mT - low @ low.mT).abs().max() < 1e-4 * 20
    assert safe_cholesky(-torch.eye(3)).isnan().all()


def test_one_item_is_an_update_of_rank_one() -> None:
    memory, addresses, codes, noise = case(9)
    after = update_one(memory, addresses[0], codes[0], noise)
    for change in (after.mean - memory.mean, after.covariance - memory.covariance):
        assert torch.linalg.matrix_rank(change, atol=1e-10) == 1
