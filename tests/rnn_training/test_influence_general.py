"""Influence of any cell as full matrices, whole or masked, and the patterns that mask it."""

import pytest
import torch
from general_cells import (
    LeakyCell,
    data,
    each_step,
    flat,
    loss_of,
    masked_by_hand,
    through_time,
)
from torch import Tensor, nn

from graves_rnn_training.influence.general import masked_dense_step, reached_within
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.reset_before import ResetBeforeGRUCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell
from graves_rnn_training.layers.learners.rtrl import RTRL

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.func computes them")
MAKERS = {
    "leaky": LeakyCell,
    "wrapped gru": lambda: wrap_cell(nn.GRUCell(3, 4)),
    "wrapped lstm": lambda: wrap_cell(nn.LSTMCell(3, 4)),
    "old gru": lambda: ResetBeforeGRUCell(3, 4),
}


def made(name: str) -> OnlineCell:
    torch.manual_seed(0)
    return MAKERS[name]().double()


def stepped(cell: OnlineCell, inputs: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
    """The gradient with the step that is tested."""
    state = torch.zeros(inputs.shape[1], cell.state_size, dtype=inputs.dtype)
    size = sum(value.numel() for _, value in cell.learned())
    influence, total = state.new_zeros(*state.shape, size), state.new_zeros(size)
    for x, target in zip(inputs, targets, strict=True):
        maps = cell.linear_maps(x, state)
        state = maps.state
        influence = masked_dense_step(influence, maps.dynamics, maps.immediate, mask)
        output = cell.output(state).requires_grad_()
        (delta,) = torch.autograd.grad(loss_of(output, target), output)
        total += torch.einsum("bs,bsp->p", delta, influence[:, : cell.hidden_size])
    return total


@pytest.mark.parametrize("name", MAKERS)
def test_rtrl_of_any_cell_is_backpropagation_through_time(name: str) -> None:
    cell, (inputs, targets) = made(name), data()
    expected = flat(through_time(cell, inputs, targets))
    torch.testing.assert_close(flat(each_step(RTRL(cell), inputs, targets)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_the_masked_step_is_the_recursion_masked_by_hand(name: str, order: int) -> None:
    cell, (inputs, targets) = made(name), data()
    mask = reached_within(*cell.patterns(), order)
    expected = masked_by_hand(cell, inputs, targets, mask.double())
    torch.testing.assert_close(stepped(cell, inputs, targets, mask), expected, rtol=0, atol=1e-12)


def test_what_is_reached_is_what_paths_of_fewer_steps_reach() -> None:
    """nz(I + D I + ... + D^(n-1) I), with ones for what can be other than zero."""
    dynamics, immediate = LeakyCell().patterns()
    edges, reached = dynamics.double(), immediate.double()
    for order in range(1, 6):
        paths = sum(torch.linalg.matrix_power(edges, steps) @ reached for steps in range(order))
        assert torch.equal(reached_within(dynamics, immediate, order), paths > 0)


def test_more_steps_reach_more_until_everything_that_is_used_is_reached() -> None:
    """Masked weights are parameters of this cell, which reach nothing."""
    dynamics, immediate = LeakyCell(units=12, seen=3).patterns()
    kept = [int(reached_within(dynamics, immediate, order).sum()) for order in (1, 2, 3, 20, 10**6)]
    assert kept[0] < kept[1] < kept[2] < kept[3] == kept[4] == 12 * immediate.any(0).sum()


@pytest.mark.parametrize("name", ["wrapped gru", "old gru", "wrapped lstm"])
def test_two_steps_reach_everything_where_all_weights_are_kept(name: str) -> None:
    cell = made(name)
    reached = reached_within(*cell.patterns(), order=2)
    assert reached[: cell.hidden_size].all()
