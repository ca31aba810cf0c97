"""The dense access memory against a statement in numpy."""

import numpy as np
import pytest
import torch
from dense_reference import dam, spread

from graves_memory.equations import dam as equations
from graves_memory.layers.dam import DAM
from graves_memory.layers.sam import SAM

EXACT = {"rtol": 1e-9, "atol": 1e-11}


def small(**given: int) -> DAM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 5, "rows": 6, "width": 4, "heads": 2} | given
    return DAM(3, 2, **sizes).double()


@pytest.mark.parametrize("strengths", [True, False])
def test_a_sequence_of_steps_equals_the_statement(strengths: bool) -> None:
    net = spread(small(strengths=strengths))
    x = torch.randn(12, 2, 3, dtype=torch.float64)
    outputs, state = net(x)
    for b in range(2):
        step = dam(net)
        for t in range(12):
            output, expected = step(x[t, b].numpy())
            np.testing.assert_allclose(outputs[t, b].detach(), output, **EXACT)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(state, name)[b].detach(), value, **EXACT)


def test_the_least_used_rows_are_different_ones_the_first_of_equals_first() -> None:
    usage = torch.tensor([[0.5, 0.1, 0.1, 0.0, 0.9], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert equations.least_used(usage, 3).tolist() == [[3, 1, 2], [0, 1, 2]]


def test_only_the_least_used_rows_are_erased() -> None:
    memory, rows = torch.ones(1, 5, 2), torch.tensor([[3, 1]])
    found = equations.written(memory, torch.zeros(1, 2, 5), rows, torch.ones(1, 2, 2))
    assert found[0, :, 0].tolist() == [1, 0, 1, 0, 1]


def test_writes_go_to_the_rows_read_and_to_the_least_used() -> None:
    reads = torch.tensor([[[0.25, 0.75, 0.0]]])
    alpha, gamma = torch.tensor([[0.5]]), torch.tensor([[0.2]])
    found = equations.write_weights(reads, torch.tensor([[1]]), alpha, gamma)
    expected = torch.tensor([[[0.5 * 0.2 * 0.25, 0.5 * (0.2 * 0.75 + 0.8), 0.0]]])
    torch.testing.assert_close(found, expected)


def test_usage_is_a_discounted_sum() -> None:
    writes, reads = torch.rand(4, 1, 2, 3).double(), torch.rand(4, 1, 2, 3).double()
    usage = torch.zeros(1, 3).double()
    for w, r in zip(writes, reads, strict=True):
        usage = equations.discounted_usage(usage, w, r, discount=0.9)
    expected = sum(0.9 ** (3 - t) * (writes[t] + reads[t]).sum(1) for t in range(4))
    torch.testing.assert_close(usage, expected)


def test_gradients_are_those_of_finite_differences() -> None:
    net = spread(small(hidden_size=3, rows=4, width=2, heads=1))
    x = torch.randn(5, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x)[0], [x])


@pytest.mark.parametrize("strengths", [True, False])
def test_parameters_fit_the_sparse_twin(strengths: bool) -> None:
    dense, sparse = DAM(3, 2, strengths=strengths), SAM(3, 2, rows=128, strengths=strengths)
    sparse.load_state_dict(dense.state_dict())


def test_fewer_rows_than_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must be at least heads=4, not 3"):
        DAM(3, 2, rows=3)


@pytest.mark.parametrize("discount", [-0.1, 1.1])
def test_a_discount_out_of_range_is_refused(discount: float) -> None:
    with pytest.raises(ValueError, match=f"discount must be between 0 and 1, not {discount}"):
        DAM(3, 2, discount=discount)
