"""Checkpoints of sparse cells: what is kept is part of the state, and sizes follow it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.learners.snap import SnAp


def pruned(fraction: float = 0.5) -> GRUCell:
    torch.manual_seed(1)
    cell = GRUCell(3, 6)
    cell.prune(fraction, names=["weight_hh", "weight_ih"])
    return cell


def outputs(cell: GRUCell) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return cell(torch.randn(2, 3, generator=generator), torch.randn(2, 6, generator=generator))


@pytest.mark.parametrize("other", [GRUCell(3, 6), GRUCell(3, 6, sparsity=0.8, mask_seed=3), pruned(0.2)])
def test_a_cell_with_other_masks_takes_over_masks_and_weights(other: GRUCell) -> None:
    cell, parameters = pruned(), list(other.parameters())
    outputs(other)
    other.load_state_dict(cell.state_dict())
    assert torch.equal(outputs(other), outputs(cell))
    assert torch.equal(other.weight_hh_mask, cell.weight_hh_mask)
    assert all(one is two for one, two in zip(other.parameters(), parameters, strict=True))


def test_a_learner_takes_over_masks_too() -> None:
    learner, other = SnAp(pruned(), order=2), SnAp(GRUCell(3, 6), order=2)
    dense = other.density
    other.load_state_dict(learner.state_dict())
    assert other.density == learner.density < dense


def test_the_state_loads_as_plain_tensors(tmp_path: Any) -> None:
    cell, other = pruned(), GRUCell(3, 6)
    torch.save(cell.state_dict(), tmp_path / "cell.pt")
    other.load_state_dict(torch.load(tmp_path / "cell.pt", weights_only=True))
    assert torch.equal(outputs(other), outputs(cell))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_hh", torch.zeros(7), r"weight_hh has the shape \(7,\), but its mask keeps"),
        (
            "weight_hh_mask",
            torch.ones(18, 5, dtype=torch.bool),
            r"must have the shape \(18, 6\), got \(18, 5\)",
        ),
        ("weight_hh_mask", torch.ones(18, 6), "must be a tensor of booleans"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    name: str, value: Tensor, message: str
) -> None:
    cell = GRUCell(3, 6)
    before = outputs(cell)
    with pytest.raises(RuntimeError, match=message):
        cell.load_state_dict({**pruned().state_dict(), name: value})
    assert torch.equal(outputs(cell), before)


@pytest.mark.parametrize("name", ["weight_hh", "weight_hh_mask", "bias_ih"])
def test_missing_entries_are_named(name: str) -> None:
    state = pruned().state_dict()
    del state[name]
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{name}"'):
        pruned().load_state_dict(state)


def test_cells_inside_other_modules_load_with_their_prefix() -> None:
    one, two = (nn.ModuleDict({"cell": cell}) for cell in (pruned(), GRUCell(3, 6)))
    two.load_state_dict(one.state_dict())
    assert torch.equal(outputs(two["cell"]), outputs(one["cell"]))


def test_an_optimizer_made_after_loading_moves_the_kept_weights_alone() -> None:
    cell = GRUCell(3, 6)
    cell.load_state_dict(pruned().state_dict())
    optimizer = torch.optim.AdamW(cell.parameters(), lr=0.1, weight_decay=0.1)
    outputs(cell).sum().backward()
    optimizer.step()
    assert not cell.matrix("weight_hh")[~cell.weight_hh_mask].any()
