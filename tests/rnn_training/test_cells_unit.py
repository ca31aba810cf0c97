"""The built-in cells against torch's own, and against derivatives by torch.func."""

import copy
import pickle

import pytest
import torch
from general_cells import CELLS, built_in, torch_cell
from reference_setting import KINDS, NAMES, Kind, Setting, bptt
from torch import Tensor, nn

from graves_core.spec import build
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.masks import checked_mask
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell

EXACT = {"rtol": 0, "atol": 1e-12}


def drawn(cell: UnitCell, batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = cell.input_size, cell.state_size
    inputs, state = (torch.randn(batch, size, generator=generator, dtype=torch.float64) for size in sizes)
    return inputs, state


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_that_of_torch(kind: Kind, dense: bool) -> None:
    setting = Setting(kind, dense=dense)
    cell, theirs = built_in(setting), torch_cell(setting)
    inputs, state = drawn(cell)
    parts = tuple(state.chunk(2, 1)) if kind == "lstm" else state
    expected = theirs(inputs, parts)
    expected = torch.cat(expected, 1) if kind == "lstm" else expected
    torch.testing.assert_close(cell(inputs, state), expected, **EXACT)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_time_are_those_of_the_masked_network(kind: Kind, dense: bool) -> None:
    setting = Setting(kind, dense=dense)
    cell = built_in(setting)
    state, loss = setting.start(), torch.zeros((), dtype=torch.float64)
    for x, target in zip(setting.inputs, setting.targets, strict=True):
        state = cell(x, state)
        loss = loss + (cell.output(state) - target).pow(2).sum() / 2
    loss.backward()
    expected, _ = bptt(setting)
    for name in NAMES:
        found = cell.get_parameter(name).grad
        torch.testing.assert_close(found, expected[name][setting.masks[name]], **EXACT)


@pytest.mark.filterwarnings("ignore:.*torch.func computes them")
@pytest.mark.parametrize("kind", KINDS)
def test_linear_maps_are_the_derivatives_that_torch_func_finds(kind: Kind) -> None:
    cell = built_in(Setting(kind))
    inputs, state = drawn(cell)
    for found, expected in zip(
        cell.linear_maps(inputs, state), OnlineCell.linear_maps(cell, inputs, state), strict=True
    ):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_the_linearised_step_has_the_state_of_forward(kind: Kind) -> None:
    cell = built_in(Setting(kind))
    inputs, state = drawn(cell)
    torch.testing.assert_close(
        cell.linearise(inputs, state).state.flatten(0, 1).T, cell(inputs, state), **EXACT
    )


@pytest.mark.parametrize("shared", [True, False])
def test_every_row_keeps_equally_many_entries(shared: bool) -> None:
    cell = GRUCell(10, 16, sparsity=0.75, input_sparsity=0.5, shared_gate_mask=shared)
    assert set(cell.weight_hh_mask.sum(1).tolist()) == {4}
    assert set(cell.weight_ih_mask.sum(1).tolist()) == {5}
    gates = cell.weight_hh_mask.view(3, 16, 16)
    assert bool((gates == gates[0]).all()) == shared
    assert len(cell.weight_hh) == 3 * 16 * 4


def test_without_fixed_fan_in_as_many_entries_are_kept_at_random() -> None:
    cell = LSTMCell(4, 16, sparsity=0.75, fixed_fan_in=False)
    assert cell.weight_hh_mask.sum() == 4 * 16 * 4
    assert len(set(cell.weight_hh_mask.sum(1).tolist())) > 1
    assert cell.weight_ih_mask.all()


def test_masks_depend_on_their_seed_alone() -> None:
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(masks))
        masks.append(VanillaCell(4, 16, sparsity=0.5, mask_seed=seed).weight_hh_mask)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_pruning_drops_the_smallest_weights() -> None:
    cell = GRUCell(4, 8)
    before = cell.weight_hh.detach().clone()
    cell.prune(0.75)
    kept = before.abs().sort(descending=True).values[: len(before) // 4]
    assert torch.equal(cell.weight_hh.detach().abs().sort(descending=True).values, kept)
    assert torch.equal(cell.matrix("weight_hh").flatten()[cell.weight_hh_mask.flatten()], cell.weight_hh)


def test_setting_masks_keeps_what_stays_and_begins_the_rest_at_zero() -> None:
    cell = VanillaCell(2, 4, sparsity=0.5)
    before, old = cell.matrix("weight_hh").detach().clone(), cell.weight_hh_mask.clone()
    weight, new = cell.weight_hh, ~old | torch.eye(4, dtype=torch.bool)
    cell.set_masks(weight_hh=new)
    assert cell.weight_hh is weight
    assert torch.equal(cell.matrix("weight_hh"), before * (old & new))
    assert len(cell.weight_hh) == new.sum()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(4, 3, dtype=torch.bool), r"must have the shape \(4, 4\), got \(4, 3\)"),
        (torch.zeros(4, 4, dtype=torch.bool), "must keep at least one entry"),
    ],
)
def test_wrong_masks_are_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VanillaCell(2, 4).set_masks(weight_hh=mask)


def test_masks_of_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"the mask of w must be a tensor of booleans, got torch\.float32"):
        checked_mask("w", torch.ones(2, 2), (2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must lie in \[0, 1\), got 1.0"),
        ({"input_sparsity": -0.1}, r"input_sparsity must lie in \[0, 1\), got -0.1"),
    ],
)
def test_wrong_sparsity_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRUCell(2, 4, **arguments)


def test_a_wrong_share_to_prune_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fraction must lie in \[0, 1\), got 1.0"):
        GRUCell(2, 4).prune(1.0)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (nn.LSTMCell(2, 3), TypeError, "GRUCell.from_torch needs a torch.nn.GRUCell, got LSTMCell"),
        (nn.GRUCell(2, 3, bias=False), ValueError, "module must have bias=True"),
    ],
)
def test_other_modules_are_refused(module: nn.RNNCellBase, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GRUCell.from_torch(module)


def test_another_nonlinearity_is_refused() -> None:
    with pytest.raises(ValueError, match="module must have nonlinearity='tanh', got 'relu'"):
        VanillaCell.from_torch(nn.RNNCell(2, 3, nonlinearity="relu"))


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_rebuilt_from_their_spec(kind: Kind) -> None:
    cell = CELLS[kind][0](3, 8, sparsity=0.5, input_sparsity=0.5, shared_gate_mask=False, mask_seed=4)
    again = build(cell.spec)
    assert type(again) is type(cell)
    assert torch.equal(again.weight_hh_mask, cell.weight_hh_mask)
    assert torch.equal(again.weight_ih_mask, cell.weight_ih_mask)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))])
def test_copies_after_use_are_independent(copied: object) -> None:
    cell = built_in(Setting("gru"))
    inputs, state = drawn(cell)
    before = cell(inputs, state)
    other = copied(cell)  # type: ignore[operator]
    assert torch.equal(other(inputs, state), before)
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    assert torch.equal(other(inputs, state), before)
