"""Real-time recurrent learning against backpropagation through time and a recursion written by hand."""

import pytest
import torch
from general_cells import built_in, each_step, whole_gradients
from reference_setting import KINDS, NAMES, Kind, Setting, bptt, rtrl

from graves_rnn_training.layers.learners.rtrl import RTRL

EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_backpropagation_through_time(kind: Kind, dense: bool, in_place: bool) -> None:
    setting = Setting(kind, dense=dense)
    cell = built_in(setting)
    each_step(RTRL(cell, in_place=in_place), setting.inputs, setting.targets)
    expected, _ = bptt(setting)
    for name, found in whole_gradients(setting, cell).items():
        torch.testing.assert_close(found, expected[name], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_cell(kind: Kind) -> None:
    setting = Setting(kind)
    learner = RTRL(built_in(setting))
    state, outputs = learner.initial_state(setting.batch), []
    for x in setting.inputs:
        output, state = learner(x, state)
        outputs.append(output.detach())
    torch.testing.assert_close(torch.stack(outputs), bptt(setting)[1], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trace_is_the_derivative_of_the_state(kind: Kind) -> None:
    setting = Setting(kind)
    learner = RTRL(built_in(setting), in_place=False)
    state = learner.initial_state(setting.batch)
    for x, expected in zip(setting.inputs, rtrl(setting)[1], strict=True):
        _, state = learner(x, state)
        torch.testing.assert_close(state.traces[0], expected[..., setting.kept()], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_online_updates_carry_the_influence_over(kind: Kind) -> None:
    setting = Setting(kind)
    cell = built_in(setting)
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.05)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    each_step(RTRL(cell), setting.inputs, setting.targets, update)
    expected, _ = rtrl(setting, rate=0.05)
    for name in NAMES:
        found = cell.get_parameter(name)
        torch.testing.assert_close(found, expected[name][setting.masks[name]], **EXACT)


def test_wide_influences_are_overwritten_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graves_rnn_training.layers.learners.influences.NARROW", 1)
    setting = Setting("lstm")
    cell = built_in(setting)
    each_step(RTRL(cell), setting.inputs, setting.targets)
    expected, _ = bptt(setting)
    for name, found in whole_gradients(setting, cell).items():
        torch.testing.assert_close(found, expected[name], **EXACT)
