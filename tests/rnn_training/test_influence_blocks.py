"""The blocks of rows: their update and gradient against dense matrices, their layout against the pattern."""

import pytest
import torch
from general_cells import built_in
from reference_setting import KINDS, Kind, Setting, pattern
from torch import Tensor

from graves_rnn_training.equations.units import Columns
from graves_rnn_training.influence.blocks import (
    Pairs,
    block_gradient,
    block_step,
    entry_values,
    find_entries,
    find_pairs,
)
from graves_rnn_training.influence.groups import make_groups
from graves_rnn_training.influence.patterns import dynamics_pattern, reached, slot_classes
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.snap_blocks import distinct_columns

BATCH, WIDTH = 2, 3


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def pairs_of(cell: UnitCell, order: int) -> tuple[Pairs, Tensor, Tensor]:
    """Those of the first class, with the pattern of D and the rows that are reached."""
    dynamics = dynamics_pattern(cell.structure, cell.weight_hh_mask)
    rows, touched = (reached(dynamics, cell.structure, n)[0] for n in (order, 1))
    return find_pairs(rows, touched, find_entries(dynamics), cell.hidden_size), dynamics, rows


@pytest.mark.parametrize("kind", KINDS)
def test_entries_hold_the_derivative_by_the_state_before(kind: Kind) -> None:
    cell = built_in(Setting(kind))
    inputs, state = drawn(BATCH, cell.input_size), drawn(BATCH, cell.state_size)
    entries = find_entries(dynamics_pattern(cell.structure, cell.weight_hh_mask))
    step = cell.linearise(inputs, state)
    values = entry_values(step, cell.matrix("weight_hh").detach(), cell.structure, entries)
    expected = cell.linear_maps(inputs, state).dynamics[:, entries.state, entries.before].T
    torch.testing.assert_close(values[:-1], expected, rtol=0, atol=1e-12)
    assert not values[-1].any()


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_the_product_with_the_dense_matrix_on_kept_rows(kind: Kind, order: int) -> None:
    cell = built_in(Setting(kind))
    pairs, dynamics, rows = pairs_of(cell, order)
    influence, values = drawn(len(pairs.row), WIDTH, BATCH), drawn(int(dynamics.sum()) + 1, BATCH)
    values[-1] = 0
    direct = drawn(pairs.own, WIDTH, BATCH)
    matrix = torch.zeros(*dynamics.shape, BATCH, dtype=torch.float64)
    matrix[dynamics] = values[:-1]
    before, immediate = (torch.zeros(*rows.shape, WIDTH, BATCH, dtype=torch.float64) for _ in range(2))
    before[pairs.row, pairs.block] = influence
    immediate[pairs.row[: pairs.own], pairs.block[: pairs.own]] = direct
    expected = torch.einsum("ijb,jupb->iupb", matrix, before) + immediate
    found = block_step(influence, pairs, values, direct)
    torch.testing.assert_close(found, expected[pairs.row, pairs.block], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_sums_over_the_outputs_that_a_unit_reaches(kind: Kind) -> None:
    cell = built_in(Setting(kind))
    pairs, _, rows = pairs_of(cell, 2)
    influence, delta = drawn(len(pairs.row), WIDTH, BATCH), drawn(cell.hidden_size, BATCH)
    whole = torch.zeros(*rows.shape, WIDTH, BATCH, dtype=torch.float64)
    whole[pairs.row, pairs.block] = influence
    expected = torch.einsum("ib,iupb->up", delta, whole[: cell.hidden_size])
    torch.testing.assert_close(block_gradient(influence, pairs, delta), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_parameters_touch_at_once_come_first(kind: Kind) -> None:
    pairs, _, _ = pairs_of(built_in(Setting(kind)), 3)
    assert [run.own for run in pairs.runs] == sorted((run.own for run in pairs.runs), reverse=True)
    assert pairs.runs[0].start == 0
    assert pairs.runs[-1].stop == len(pairs.row)


@pytest.mark.parametrize("form", ["strict", "unit"])
@pytest.mark.parametrize("kind", KINDS)
def test_groups_keep_every_entry_of_the_pattern_once(kind: Kind, form: str) -> None:
    setting = Setting(kind)
    cell = built_in(setting)
    columns, numbers = distinct_columns(cell)
    classes = slot_classes(cell.structure, form)
    dynamics = dynamics_pattern(cell.structure, cell.weight_hh_mask)
    rows = reached(dynamics, cell.structure, 2, form)
    groups = make_groups(columns, classes, rows, find_entries(dynamics), cell.structure.slots)
    found = torch.zeros(cell.state_size, len(columns.unit), dtype=torch.long)
    for group in groups:
        width = group.sources.shape[0] * group.sources.shape[2]
        for column, place in zip(group.columns.tolist(), group.places.tolist(), strict=True):
            found[group.pairs.row[group.pairs.block == place // width], column] += 1
    expected = pattern(setting, 2, form)[:, setting.kept()].long()
    index = torch.cat([numbers[name] for name, _ in cell.learned()])
    assert torch.equal(found[:, index], expected)


def test_units_with_unequal_numbers_of_parameters_are_grouped_with_little_waste() -> None:
    torch.manual_seed(0)
    cell = GRUCell(8, 48)
    cell.prune(0.8)
    columns, _ = distinct_columns(cell)
    dynamics = dynamics_pattern(cell.structure, cell.weight_hh_mask)
    rows = reached(dynamics, cell.structure, 2)
    groups = make_groups(columns, slot_classes(cell.structure), rows, find_entries(dynamics), 4)
    for group in groups:
        sizes = torch.bincount(columns.unit[group.columns])
        used = sizes[sizes > 0]
        assert used.max() <= 1.08 * used.min()


def test_large_numbers_of_sources_are_rounded_up_with_zero_entries() -> None:
    cell = GRUCell(2, 40, sparsity=0.4)
    pairs, dynamics, _ = pairs_of(cell, 2)
    zero = int(dynamics.sum())
    filled = sum(int((run.entries == zero).sum()) for run in pairs.runs)
    assert 0 < filled < 0.2 * sum(run.entries.numel() for run in pairs.runs)
    assert len(pairs.runs) < 24


def test_columns_of_equal_influence_are_kept_once() -> None:
    cell = GRUCell(3, 5)
    columns, numbers = distinct_columns(cell)
    assert isinstance(columns, Columns)
    assert len(columns.unit) == 3 * 5 * (3 + 5) + 4 * 5
    assert torch.equal(numbers["bias_ih"][:10], numbers["bias_hh"][:10])
    assert not torch.isin(numbers["bias_ih"][10:], numbers["bias_hh"][10:]).any()
