"""Addresses beside explicit solutions of the systems that define them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from graves_memory.kanerva.addressing import project_address, solve_address


def given(rows: int, size: int, batch: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    torch.manual_seed(rows)
    mean = torch.randn(*batch, rows, size, dtype=torch.float64)
    return mean, torch.randn(*batch, 5, size, dtype=torch.float64)


@pytest.mark.parametrize(("rows", "size"), [(3, 7), (7, 3), (4, 4)])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_the_solved_address_is_that_of_an_explicit_solve(rows: int, size: int, ridge: float) -> None:
    mean, codes = given(rows, size)
    r = mean.numpy()
    expected = np.linalg.solve(r @ r.T + ridge * np.eye(rows), r @ codes.numpy().T).T
    np.testing.assert_allclose(solve_address(mean, codes, ridge).numpy(), expected, atol=1e-10)


def test_the_solved_address_is_where_the_log_posterior_has_its_top() -> None:
    mean, codes = given(4, 6)
    weights = solve_address(mean, codes, ridge=0.5).requires_grad_()
    log_posterior = -((codes - weights @ mean).square().sum() / 0.5 + weights.square().sum()) / 2
    (slope,) = torch.autograd.grad(log_posterior, weights)
    assert slope.abs().max() < 1e-10


def test_the_solved_address_is_not_that_of_a_ridge_solver_given_the_gram_matrix() -> None:
    """(G^2 + lam I)^-1 G R z, what released code gets, is something else."""
    mean, codes = given(4, 6)
    gram = mean @ mean.mT
    unit = torch.eye(4, dtype=torch.float64)
    released = torch.linalg.solve(gram @ gram + unit, gram @ mean @ codes.mT).mT
    assert (solve_address(mean, codes, ridge=1.0) - released).abs().max() > 0.01


def test_a_batch_is_solved_with_the_ridge_like_each_alone() -> None:
    mean, codes = given(4, 6, batch=(3,))
    together = solve_address(mean, codes, ridge=2.0)
    for episode in range(3):
        alone = solve_address(mean[episode], codes[episode], ridge=2.0)
        torch.testing.assert_close(together[episode], alone)
    assert (together - solve_address(mean, codes, ridge=1e-9)).abs().max() > 0.01


def test_one_memory_serves_codes_of_a_batch() -> None:
    for rows, size in [(4, 6), (6, 4)]:
        mean, _ = given(rows, size)
        codes = torch.randn(3, 5, size, dtype=torch.float64)
        expected = torch.stack([solve_address(mean, part, 0.5) for part in codes])
        torch.testing.assert_close(solve_address(mean, codes, 0.5), expected)


@pytest.mark.parametrize(("rows", "size"), [(3, 4), (4, 3)])
def test_gradients_of_solved_addresses_are_those_of_finite_differences(rows: int, size: int) -> None:
    mean, codes = given(rows, size, batch=(2,))
    ridge = torch.tensor(0.4, dtype=torch.float64)
    inputs = [value.requires_grad_() for value in (mean, codes, ridge)]
    assert torch.autograd.gradcheck(solve_address, inputs)


def test_projected_addresses_do_not_depend_on_the_length_of_locations() -> None:
    torch.manual_seed(0)
    keys, locations = torch.randn(2, 5, 3), torch.randn(4, 3)
    weights = project_address(keys, locations)
    lengths = torch.rand(4, 1) + 0.5
    torch.testing.assert_close(project_address(keys, lengths * locations), weights)
    assert (weights.abs() <= keys.norm(dim=-1, keepdim=True) * (1 + 1e-6)).all()


def test_projected_addresses_are_cosines_times_the_length_of_the_key() -> None:
    torch.manual_seed(1)
    keys, locations = torch.randn(5, 3), torch.randn(4, 3)
    cosines = torch.nn.functional.cosine_similarity(keys[:, None], locations, dim=-1)
    torch.testing.assert_close(project_address(keys, locations), cosines * keys.norm(dim=-1, keepdim=True))
