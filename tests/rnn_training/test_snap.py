"""SnAp of any order against a dense influence matrix that is masked by hand at every step."""

from typing import Literal

import pytest
import torch
from general_cells import built_in, each_step, masked_by_hand, whole_gradients
from reference_setting import KINDS, NAMES, Kind, Setting, bptt, pattern, rtrl

from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.snap import SnAp

EXACT = {"rtol": 0, "atol": 1e-12}
Form = Literal["strict", "unit"]
FORMS: list[tuple[Kind, Form]] = [
    ("vanilla", "strict"),
    ("gru", "strict"),
    ("lstm", "strict"),
    ("lstm", "unit"),
]
ORDERS = [1, 2, 3]


def assert_masked(setting: Setting, learner: SnAp) -> None:
    """Compares with the recursion by hand, with masks of this order and form."""
    expected, _ = rtrl(setting, pattern(setting, learner.order, learner.lstm_pattern))
    for name, found in whole_gradients(setting, learner.cell).items():
        torch.testing.assert_close(found, expected[name], **EXACT)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_snap_is_rtrl_masked_at_every_step(kind: Kind, form: Form, order: int, in_place: bool) -> None:
    setting = Setting(kind)
    learner = SnAp(built_in(setting), order, form, in_place=in_place)
    each_step(learner, setting.inputs, setting.targets)
    assert_masked(setting, learner)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_gates_may_share_a_mask(kind: Kind, form: Form, order: int) -> None:
    setting = Setting(kind, shared=True)
    learner = SnAp(built_in(setting), order, form)
    each_step(learner, setting.inputs, setting.targets)
    assert_masked(setting, learner)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_one_hot_inputs_do_not_wipe_the_influence_of_symbols_seen_before(
    kind: Kind, form: Form, order: int
) -> None:
    setting = Setting(kind, one_hot=True)
    learner = SnAp(built_in(setting), order, form)
    each_step(learner, setting.inputs, setting.targets)
    assert_masked(setting, learner)


@pytest.mark.parametrize("form", ["strict", "unit"])
@pytest.mark.parametrize("kind", KINDS)
def test_order_one_on_dense_weights(kind: Kind, form: Form) -> None:
    setting = Setting(kind, dense=True)
    learner = SnAp(built_in(setting), 1, form)
    each_step(learner, setting.inputs, setting.targets)
    assert_masked(setting, learner)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_snap_of_full_order_is_backpropagation_through_time(kind: Kind, dense: bool) -> None:
    setting = Setting(kind, dense=dense)
    cell = built_in(setting)
    each_step(SnAp(cell, order=20), setting.inputs, setting.targets)
    expected, _ = bptt(setting)
    for name, found in whole_gradients(setting, cell).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_order_two_on_dense_weights_is_rtrl(kind: Kind) -> None:
    learner = SnAp(built_in(Setting(kind, dense=True)), order=2)
    assert learner.density == 1
    assert learner.trace_shapes(3) == RTRL(learner.cell).trace_shapes(3)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_online_updates_carry_the_influence_over(kind: Kind, form: Form, order: int) -> None:
    setting = Setting(kind)
    cell = built_in(setting)
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.05)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    each_step(SnAp(cell, order, form), setting.inputs, setting.targets, update)
    expected, _ = rtrl(setting, pattern(setting, order, form), rate=0.05)
    for name in NAMES:
        found = cell.get_parameter(name)
        torch.testing.assert_close(found, expected[name][setting.masks[name]], **EXACT)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_zero_by_chance_stay_in_the_pattern(kind: Kind, order: int) -> None:
    setting = Setting(kind)
    setting.weights["weight_hh"][:, ::2] = 0
    learner = SnAp(built_in(setting), order)
    each_step(learner, setting.inputs, setting.targets)
    assert_masked(setting, learner)


def sparse_cells() -> list[UnitCell]:
    torch.manual_seed(0)
    made = [
        VanillaCell(3, 12, sparsity=0.75),
        GRUCell(3, 12, sparsity=0.75, input_sparsity=0.5),
        GRUCell(3, 12, sparsity=0.8, shared_gate_mask=False),
        LSTMCell(3, 12, sparsity=0.75),
        LSTMCell(3, 12, sparsity=0.8, shared_gate_mask=False, fixed_fan_in=False),
    ]
    pruned = GRUCell(3, 12)
    pruned.prune(0.85)
    return [cell.double() for cell in (*made, pruned)]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("index", range(6))
def test_random_and_pruned_masks(index: int, order: int, cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if cut:
        monkeypatch.setattr("graves_rnn_training.influence.groups.LARGE", 1)
    cell = sparse_cells()[index]
    inputs, targets = (torch.randn(4, 2, size, dtype=torch.float64) for size in (3, 12))
    dynamics, kept = cell.patterns()
    for _ in range(order - 1):
        kept = kept | (dynamics.double() @ kept.double() > 0)
    found = each_step(SnAp(cell, order), inputs, targets)
    expected = masked_by_hand(cell, inputs, targets, kept)
    gradient = torch.cat([found[f"cell.{name}"] for name, _ in cell.learned()])
    torch.testing.assert_close(gradient, expected, **EXACT)


@pytest.mark.parametrize("order", [1, 2])
def test_permuting_the_sequences_of_a_batch_permutes_the_traces(order: int) -> None:
    setting = Setting("gru", batch=4)
    order_of = torch.tensor([2, 0, 3, 1])
    traces = []
    for index in (torch.arange(4), order_of):
        learner = SnAp(built_in(setting), order)
        state = learner.initial_state(4)
        for x in setting.inputs[:, index]:
            _, state = learner(x, state)
        traces.append(state.traces)
    for one, other in zip(*traces, strict=True):
        torch.testing.assert_close(one[..., order_of], other, **EXACT)


def test_pruning_between_sequences_rebuilds_the_pattern() -> None:
    cell = GRUCell(3, 12).double()
    learner = SnAp(cell, order=2)
    assert learner.density == 1
    cell.prune(0.9)
    assert learner.density < 0.5
    inputs, targets = (torch.randn(4, 2, size, dtype=torch.float64) for size in (3, 12))
    old, new = (each_step(one, inputs, targets) for one in (learner, SnAp(cell, order=2)))
    assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order must be at least 1, got 0"),
        ({"lstm_pattern": "loose"}, r"lstm_pattern must be one of \('strict', 'unit'\), got 'loose'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SnAp(GRUCell(2, 3), **arguments)
