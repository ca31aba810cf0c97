"""Learners of any cell, whose influence is a matrix, whole or masked, and the patterns that mask it."""

import pytest
import torch
from general_cells import LeakyCell, data, each_step, flat, masked_by_hand, through_time
from torch import nn

from graves_rnn_training.influence.patterns import widened
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.reset_before import ResetBeforeGRUCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.snap import SnAp

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


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_rtrl_of_any_cell_is_backpropagation_through_time(name: str, in_place: bool) -> None:
    cell, (inputs, targets) = made(name), data()
    expected = flat(through_time(cell, inputs, targets))
    found = flat(each_step(RTRL(cell, in_place=in_place), inputs, targets))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_snap_of_any_cell_is_the_recursion_masked_by_hand(name: str, order: int, in_place: bool) -> None:
    cell, (inputs, targets) = made(name), data()
    dynamics, immediate = (pattern.double() for pattern in cell.patterns())
    paths = sum(torch.linalg.matrix_power(dynamics, steps) @ immediate for steps in range(order))
    expected = masked_by_hand(cell, inputs, targets, (paths > 0).double())
    found = flat(each_step(SnAp(cell, order, in_place=in_place), inputs, targets))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_what_is_reached_is_what_paths_of_fewer_steps_reach() -> None:
    """nz(I + D I + ... + D^(n-1) I), with ones for what can be other than zero."""
    dynamics, immediate = LeakyCell().patterns()
    edges, reached = dynamics.double(), immediate.double()
    for order in range(1, 6):
        paths = sum(torch.linalg.matrix_power(edges, steps) @ reached for steps in range(order))
        assert torch.equal(widened(dynamics, immediate, order), paths > 0)


def test_more_steps_reach_more_until_everything_that_is_used_is_reached() -> None:
    """Masked weights are parameters of this cell, which reach nothing."""
    dynamics, immediate = LeakyCell(units=12, seen=3).patterns()
    kept = [int(widened(dynamics, immediate, order).sum()) for order in (1, 2, 3, 20, 10**6)]
    assert kept[0] < kept[1] < kept[2] < kept[3] == kept[4] == 12 * immediate.any(0).sum()


@pytest.mark.parametrize("name", ["wrapped gru", "old gru", "wrapped lstm"])
def test_two_steps_reach_everything_where_all_weights_are_kept(name: str) -> None:
    cell = made(name)
    reached = widened(*cell.patterns(), order=2)
    assert reached[: cell.hidden_size].all()
