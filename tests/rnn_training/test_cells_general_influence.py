"""The influence of any cell as a masked matrix, step by step."""

from collections.abc import Callable

import pytest
import torch
from general_cells import LeakyCell, data, flat, masked_by_hand, through_time
from torch import Tensor, nn

from graves_rnn_training.influence.general import masked_dense_step, reached_within
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.reset_before import ResetBeforeGRUCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.func computes them")
CELLS = [LeakyCell, lambda: wrap_cell(nn.GRUCell(3, 4)), lambda: ResetBeforeGRUCell(3, 4)]
cells = pytest.mark.parametrize("make", CELLS, ids=["leaky", "wrapped", "old gru"])


def stepwise(cell: OnlineCell, inputs: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over steps and sequences of delta^T J."""
    state = torch.zeros(inputs.shape[1], cell.state_size, dtype=inputs.dtype)
    size = sum(value.numel() for _, value in cell.learned())
    influence, total = state.new_zeros(*state.shape, size), state.new_zeros(size)
    for x, target in zip(inputs, targets, strict=True):
        maps = cell.linear_maps(x, state)
        influence = masked_dense_step(influence, maps.dynamics, maps.immediate, mask)
        state = maps.state
        total += torch.einsum("bh,bhp->p", cell.output(state) - target, influence[:, : cell.hidden_size])
    return total


@cells
def test_without_a_mask_the_gradient_is_that_of_backpropagation(make: Callable[[], OnlineCell]) -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = make().double(), data()
    expected = flat(through_time(cell, inputs, targets))
    torch.testing.assert_close(stepwise(cell, inputs, targets, None), expected, rtol=0, atol=1e-12)


@cells
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_mask_of_an_order_is_that_of_boolean_powers(make: Callable[[], OnlineCell], order: int) -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = make().double(), data()
    dynamics, immediate = (pattern.double() for pattern in cell.patterns())
    powers = [torch.linalg.matrix_power(dynamics, n) @ immediate for n in range(order)]
    expected = torch.stack(powers).sum(0) > 0
    mask = reached_within(*cell.patterns(), order)
    assert torch.equal(mask, expected)
    found = stepwise(cell, inputs, targets, mask)
    by_hand = masked_by_hand(cell, inputs, targets, expected.double())
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-12)


def test_what_is_not_kept_is_zero_whatever_it_was() -> None:
    broken = torch.full((1, 2, 3), torch.inf)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    found = masked_dense_step(broken, torch.eye(2)[None], broken, mask)
    assert torch.equal(found[0] == 0, ~mask)
