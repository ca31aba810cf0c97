"""A checkpointed scan gives what the plain loop gives, with as few forward steps as promised."""

from typing import Any

import pytest
import torch
from scan_loops import STRATEGIES, assert_equal, plain_loop, results_and_gradients, scan
from torch import Tensor, nn

from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.scan import checkpointed_scan, plan_cost
from graves_rnn_training.schedules.plan import make_plan

CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


def problem(kind: str, steps: int = 60) -> tuple[Any, Tensor, Any, list[Tensor]]:
    """A cell with a readout, inputs, an initial state, and all that wants a gradient, in double precision."""
    torch.manual_seed(0)
    cell = CELLS[kind](3, 5).double()
    readout = nn.Linear(5, 2).double()
    x = torch.randn(steps, 4, 3, dtype=torch.float64, requires_grad=True)
    parts = [torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(1 + (kind == "LSTM"))]

    def step(inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = cell(inputs, state)
        return readout(state[0] if kind == "LSTM" else state), state

    state = tuple(parts) if kind == "LSTM" else parts[0]
    return step, x, state, [x, *parts, *cell.parameters(), *readout.parameters()]


@pytest.mark.parametrize("slots", [1, 2, 5, 300])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", CELLS)
def test_results_and_gradients_equal_those_of_the_loop_bit_for_bit(
    kind: str, strategy: str, slots: int
) -> None:
    step, x, state, wanted = problem(kind)
    expected = results_and_gradients(lambda: plain_loop(step, x, state), wanted)
    found = results_and_gradients(
        lambda: scan(step, x, state, strategy, slots, parameters=wanted[3:] + wanted[2:3]), wanted
    )
    assert_equal(found, expected)


@pytest.mark.parametrize("slots", [1, 3, 20, 100])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_cell_runs_exactly_as_often_as_the_optimum_says(strategy: str, slots: int) -> None:
    step, x, state, wanted = problem("LSTM", steps=100)
    calls = 0

    def counted(inputs: Tensor, before: Any) -> Any:
        nonlocal calls
        calls += 1
        return step(inputs, before)

    budget = MemoryBudget(slots=slots, strategy=strategy)
    cost = plan_cost(counted, x, state, budget=budget, parameters=wanted[3:])
    calls = 0
    outputs, _ = checkpointed_scan(counted, x, state, budget=budget, parameters=wanted[3:])
    assert calls == 100
    outputs.sum().backward()
    assert calls == cost.forwards
    if strategy != "mixed":
        assert calls == make_plan(100, slots, 1, 1, strategy).forwards
    else:
        units = cost.plan.hidden_units, cost.plan.internal_units
        assert calls == make_plan(100, slots * units[0], *units, "mixed").forwards


@pytest.mark.parametrize("segment", [2, 7, 60, 1000])
def test_segments_of_a_cell_give_the_same_with_an_uneven_end(segment: int) -> None:
    step, x, state, wanted = problem("GRU")
    expected = results_and_gradients(lambda: plain_loop(step, x, state), wanted)
    budget = MemoryBudget(slots=3, segment=segment)
    found = results_and_gradients(
        lambda: checkpointed_scan(step, x, state, budget=budget, parameters=wanted[2:]), wanted
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", CELLS)
def test_cells_of_torch_return_their_state_alone_and_may_begin_without_one(kind: str) -> None:
    cell = CELLS[kind](3, 5).double()
    x = torch.randn(20, 4, 3, dtype=torch.float64)

    def step(inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = cell(inputs, state)
        return (state[0] if kind == "LSTM" else state), state

    expected = results_and_gradients(lambda: plain_loop(step, x, None), cell.parameters())
    found = results_and_gradients(lambda: scan(cell, x, None), cell.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_online_cells_give_their_output_and_begin_with_zeros() -> None:
    cell = GRUCell(3, 5, sparsity=0.5).double()
    x = torch.randn(20, 4, 3, dtype=torch.float64)
    zeros = torch.zeros(4, 5, dtype=torch.float64)

    def step(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = cell(inputs, state)
        return cell.output(state), state

    expected = results_and_gradients(lambda: plain_loop(step, x, zeros), cell.parameters())
    found = results_and_gradients(lambda: scan(cell, x, None), cell.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_a_readout_gives_the_same_and_is_left_out_where_only_states_are_wanted() -> None:
    cell, linear = nn.LSTMCell(3, 5).double(), nn.Linear(5, 2).double()
    x, y = (torch.randn(30, 4, size, dtype=torch.float64) for size in (3, 2))
    calls = 0

    def readout(h: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return (linear(h) - target).square().mean()

    def step(inputs: tuple[Tensor, Tensor], state: Any) -> tuple[Tensor, Any]:
        h, c = cell(inputs[0], state)
        return readout(h, inputs[1]), (h, c)

    zeros = tuple(torch.zeros(4, 5, dtype=torch.float64) for _ in range(2))
    wanted = [*cell.parameters(), *linear.parameters()]
    expected = results_and_gradients(lambda: plain_loop(step, (x, y), zeros), wanted)
    budget = MemoryBudget(slots=3, strategy="hidden")
    calls = 0
    found = results_and_gradients(
        lambda: checkpointed_scan(
            cell, x, zeros, readout=readout, targets=y, budget=budget, parameters=linear.parameters()
        ),
        wanted,
    )
    assert_equal(found, expected)
    assert calls == 30 + 29  # all steps once, and all but the last with a graph
