"""A budget is kept, uses what it is given, and says what it costs."""

from typing import Any

import pytest
import torch
from scan_loops import plain_loop
from torch import Tensor, nn

from graves_core.spec import build
from graves_core.testing import peak_bytes
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.scan import checkpointed_scan, plan_cost
from graves_rnn_training.layers.scan.sizes import StepBytes
from graves_rnn_training.schedules.plan import make_plan

STEPS, BATCH, SIZE = 120, 64, 16
HIDDEN = 2 * BATCH * SIZE * 4
SIZES = StepBytes(hidden=65_536, internal=233_500)


def problem() -> tuple[nn.LSTMCell, Tensor, Any]:
    torch.manual_seed(0)
    cell = nn.LSTMCell(3, SIZE)
    return cell, torch.randn(STEPS, BATCH, 3), tuple(torch.zeros(BATCH, SIZE) for _ in range(2))


def training_peak(budget: MemoryBudget) -> int:
    """The memory of a gradient, without that of parameters: those of a step and their sum."""
    cell, x, state = problem()

    def train() -> None:
        cell.zero_grad()
        loss, _ = checkpointed_scan(
            cell, x, state, readout=lambda h: h.square().mean(), budget=budget, outputs="sum"
        )
        loss.backward()

    train()
    return peak_bytes(train) - 2 * sum(4 * weight.numel() for weight in cell.parameters())


def full_peak() -> int:
    cell, x, state = problem()

    def step(inputs: Tensor, before: Any) -> tuple[Tensor, Any]:
        after = cell(inputs, before)
        return after[0].square().mean(), after

    def train() -> None:
        cell.zero_grad()
        plain_loop(step, x, state)[0].sum().backward()

    return peak_bytes(train) - 2 * sum(4 * weight.numel() for weight in cell.parameters())


def test_sizes_are_those_that_full_backpropagation_shows() -> None:
    cell, x, state = problem()
    cost = plan_cost(cell, x, state, readout=lambda h: h.square().mean())
    assert cost.sizes is not None
    assert cost.sizes.hidden == HIDDEN
    assert cost.full_bytes == pytest.approx(full_peak(), rel=0.05)
    assert cost.sizes.internal / HIDDEN == pytest.approx(3.5, abs=0.01)


@pytest.mark.parametrize("strategy", ["auto", "hidden", "internal", "mixed"])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.3])
def test_a_budget_in_bytes_is_kept_and_used(share: float, strategy: Any) -> None:
    budget = MemoryBudget(bytes=int(share * STEPS * 3.5 * HIDDEN), strategy=strategy)
    assert budget.bytes is not None
    peak = training_peak(budget)
    assert peak <= budget.bytes
    used_by_nature = min(1, STEPS * HIDDEN / budget.bytes) if strategy == "hidden" else 1
    assert peak > 0.7 * used_by_nature * budget.bytes


def test_a_fraction_is_that_of_full_backpropagation() -> None:
    assert training_peak(MemoryBudget(fraction=0.05)) <= 0.05 * full_peak()


@pytest.mark.parametrize(
    "budget",
    [
        MemoryBudget(slots=20),
        MemoryBudget(slots=20, strategy="hidden"),
        MemoryBudget(slots=20, strategy="internal"),
        MemoryBudget(fraction=0.1),
        MemoryBudget(),
    ],
    ids=str,
)
def test_the_expected_peak_is_an_upper_bound_and_near(budget: MemoryBudget) -> None:
    cell, x, state = problem()
    cost = plan_cost(cell, x, state, readout=lambda h: h.square().mean(), budget=budget)
    assert cost.peak_bytes is not None
    assert 0.75 * cost.peak_bytes < training_peak(budget) <= cost.peak_bytes


def test_a_stacked_view_of_a_large_tensor_does_not_keep_it() -> None:
    """A cell whose state is a slice of something larger keeps the slice alone."""
    mix = nn.Linear(SIZE, 20 * SIZE)

    def cell(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = mix(state + inputs).tanh()[:, :SIZE]
        return state.mean(), state

    def train() -> None:
        budget = MemoryBudget(slots=50, strategy="hidden")
        state, x = torch.zeros(BATCH, SIZE), torch.zeros(STEPS, BATCH, 1)
        loss, _ = checkpointed_scan(cell, x, state, budget=budget, outputs="sum", parameters=mix.parameters())
        loss.backward()

    slice_bytes = BATCH * SIZE * 4
    weights = 3 * 4 * sum(weight.numel() for weight in mix.parameters())
    assert peak_bytes(train) - weights < 50 * slice_bytes + 7 * 20 * slice_bytes


def test_the_cost_says_what_the_plan_says() -> None:
    cost = MemoryBudget(slots=50, strategy="internal").plan(1000, SIZES)
    assert (cost.slots, cost.forwards, cost.segment) == (50, 1950, 1)
    assert cost.forward_factor == 1.95
    assert cost.time_ratio == pytest.approx((1.95 + 2) / 3)
    assert "50 slots (internal), 1.95 forward passes" in str(cost)


def test_slots_of_mixed_states_are_the_optimum_for_their_measured_ratio() -> None:
    cost = MemoryBudget(slots=100).plan(1000, StepBytes(hidden=100, internal=400))
    assert cost.forwards == make_plan(1000, 100, 1, 4, "mixed").forwards == 1985


@pytest.mark.parametrize("strategy", ["internal", "mixed"])
@pytest.mark.parametrize("forwards", [1.0, 1.5, 2.0, 3.5])
def test_forwards_are_bounded_with_the_least_memory(strategy: Any, forwards: float) -> None:
    cost = MemoryBudget(forwards=forwards, strategy=strategy).plan(1000, SIZES)
    assert cost.forwards <= forwards * 1000
    plan = cost.plan
    less = make_plan(1000, plan.units - 1, plan.hidden_units, plan.internal_units, plan.strategy)
    assert less.forwards > forwards * 1000


def test_everything_fits_into_a_large_budget_and_runs_once() -> None:
    assert MemoryBudget(fraction=2.0).plan(1000, SIZES).forwards == 1000


def test_a_tiny_fraction_is_raised_to_a_logarithm_of_states() -> None:
    cost = MemoryBudget(fraction=1e-6).plan(1000, SIZES)
    assert cost.forward_factor < 5


def test_long_segments_are_chosen_within_the_bytes() -> None:
    cost = MemoryBudget(bytes=40_000_000).plan(1000, StepBytes(65_536, 719_000), fused=True)
    assert cost.segment > 10
    assert cost.peak_bytes is not None
    assert cost.peak_bytes <= 40_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 0}, "slots must be at least 1, not 0"),
        ({"bytes": 0}, "bytes must be at least 1, not 0"),
        ({"fraction": 0.0}, "fraction must be more than 0, not 0.0"),
        ({"forwards": 0.5}, "forwards must be at least 1, not 0.5"),
        ({"slots": 1, "bytes": 10}, "only one of slots, bytes, fraction and forwards"),
        ({"strategy": "best"}, "strategy must be one of"),
        ({"segment": 0}, "segment must be at least 1 or 'auto', not 0"),
        ({"segment": "long"}, "segment must be at least 1 or 'auto', not 'long'"),
    ],
)
def test_what_makes_no_budget_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryBudget(**arguments)


def test_too_few_bytes_are_refused_with_the_number_that_would_do() -> None:
    least = 2 * SIZES.internal + 4 * SIZES.hidden
    with pytest.raises(ValueError, match=f"bytes must be at least {least}, which one step needs, not 1000"):
        MemoryBudget(bytes=1000).plan(100, SIZES)
    MemoryBudget(bytes=least).plan(100, SIZES)


def test_hidden_states_cannot_save_the_second_run() -> None:
    with pytest.raises(ValueError, match=r"forwards=1\.5 needs another strategy than 'hidden'"):
        MemoryBudget(forwards=1.5, strategy="hidden").plan(100, SIZES)


def test_a_budget_is_plain_data() -> None:
    budget = MemoryBudget(fraction=0.1, strategy="mixed", segment=5)
    assert build(budget.spec).spec == budget.spec
