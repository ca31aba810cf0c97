"""Patterns against the nonzeros of Jacobians, paths through the network, and densities measured elsewhere."""

from typing import Literal

import pytest
import torch
from general_cells import built_in
from reference_setting import KINDS, Kind, Setting, pattern, structure

from graves_rnn_training.influence.patterns import (
    dynamics_pattern,
    full_pattern,
    pattern_size,
    reached,
    slot_classes,
)
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.learners.snap import SnAp

Form = Literal["strict", "unit"]


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_reaches_where_the_jacobians_are_not_zero(kind: Kind, dense: bool) -> None:
    cell = built_in(Setting(kind, dense=dense))
    for found, expected in zip(cell.patterns(), OnlineCell.patterns(cell), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("form", ["strict", "unit"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_full_pattern_is_the_union_of_boolean_products(kind: Kind, order: int, form: Form) -> None:
    setting = Setting(kind)
    cell = built_in(setting)
    columns, classes = cell.columns(), slot_classes(cell.structure, form)
    dynamics = dynamics_pattern(cell.structure, cell.weight_hh_mask)
    rows = reached(dynamics, cell.structure, order, form)
    found = full_pattern(rows, classes, columns.slot, columns.unit)
    assert torch.equal(found, pattern(setting, order, form)[:, setting.kept()])
    assert pattern_size(rows, classes, columns.slot, columns.unit) == found.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_order_n_reaches_what_n_powers_of_the_dynamics_reach(kind: Kind) -> None:
    cell = built_in(Setting(kind))
    dynamics, immediate = structure(kind, dense=False, shared=False)
    powers = sum(torch.linalg.matrix_power(dynamics.double(), n) @ immediate.double() for n in range(3))
    columns = cell.columns()
    rows = reached(dynamics, cell.structure, 3)
    found = full_pattern(rows, slot_classes(cell.structure), columns.slot, columns.unit)
    assert torch.equal(found, powers[:, Setting(kind).kept()] > 0)


@pytest.mark.parametrize(
    ("sparsity", "shared", "order", "density"),
    [
        (0.75, True, 2, 0.256),
        (0.9375, True, 2, 0.070),
        (0.984, True, 2, 0.023),
        (0.75, False, 2, 0.579),
        (0.9375, False, 2, 0.182),
        (0.984, False, 2, 0.054),
        (0.9375, True, 3, 0.445),
        (0.984, True, 3, 0.053),
        (0.9375, False, 3, 0.988),
        (0.984, False, 3, 0.285),
    ],
)
def test_densities_of_random_masks_are_those_measured_elsewhere(
    sparsity: float, shared: bool, order: int, density: float
) -> None:
    """Other masks of the same kind; the numbers vary with the mask by a few per cent."""
    cell = GRUCell(32, 128, sparsity=sparsity, input_sparsity=sparsity, shared_gate_mask=shared)
    assert SnAp(cell, order).density == pytest.approx(density, rel=0.08)
