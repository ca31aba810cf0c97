"""What UORO and RFLO remember of the built-in cells follows masks, compilation and frozen parameters."""

import shutil

import pytest
import torch
from general_cells import LeakyCell, built_in, data, each_step, flat, loss_of
from reference_setting import Kind, Setting

from graves_core.spec import build
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.learners.base import ForwardLearner
from graves_rnn_training.layers.learners.rflo import RFLO
from graves_rnn_training.layers.learners.uoro import UORO

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.func computes them")
LEARNERS = [UORO, RFLO]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")


@pytest.mark.parametrize("make", LEARNERS)
def test_a_learner_used_before_pruning_computes_what_a_new_one_does(make: type[ForwardLearner]) -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = GRUCell(3, 4).double(), data()
    old = make(cell)
    each_step(old, inputs, targets)
    cell.prune(0.5)
    found = []
    for learner in (old, make(cell)):
        cell.zero_grad()
        torch.manual_seed(1)
        found.append(flat(each_step(learner, inputs, targets)).clone())
    assert len(found[0]) == sum(value.numel() for value in cell.parameters())
    assert torch.equal(*found)


@pytest.mark.parametrize("make", LEARNERS)
def test_a_state_from_before_pruning_is_refused(make: type[ForwardLearner]) -> None:
    cell, (inputs, _) = GRUCell(3, 4).double(), data()
    learner = make(cell)
    state = learner.initial_state(2)
    cell.prune(0.5)
    with pytest.raises(ValueError, match="after a change of batch size or masks begin with initial_state"):
        learner(inputs[0], state)


@pytest.mark.parametrize("cell", [GRUCell(3, 4), LeakyCell()], ids=["gru", "leaky"])
@pytest.mark.parametrize("make", LEARNERS)
def test_a_wholly_frozen_cell_still_sends_gradients_to_its_inputs(
    make: type[ForwardLearner], cell: OnlineCell
) -> None:
    cell = cell.double().requires_grad_(False)
    learner, (inputs, targets) = make(cell), data()
    x = inputs[0].clone().requires_grad_()
    output, _ = learner(x, learner.initial_state(2))
    loss_of(output, targets[0]).backward()
    y = inputs[0].clone().requires_grad_()
    loss_of(cell.output(cell(y, learner.initial_state(2).hidden)), targets[0]).backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("make", LEARNERS)
def test_learners_are_rebuilt_from_their_spec(make: type[ForwardLearner]) -> None:
    learner = make(GRUCell(3, 4), in_place=False, max_trace_bytes=10_000)
    again = build(learner.spec)
    assert again.spec == learner.spec
    assert (again.in_place, again.max_trace_bytes) == (False, 10_000)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vanilla", "gru", "lstm"])
def test_compiling_rflo_changes_nothing(kind: Kind) -> None:
    setting = Setting(kind)
    plain, compiled = built_in(setting), built_in(setting)
    each_step(RFLO(plain), setting.inputs, setting.targets)
    each_step(RFLO(compiled, compile=True), setting.inputs, setting.targets)
    for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-12)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("make", LEARNERS)
def test_compiled_learners_take_inputs_and_deltas_of_any_strides(make: type[ForwardLearner]) -> None:
    """A sum sends one number back to all outputs, and a column of a matrix steps over its neighbours."""
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        cell, inputs = GRUCell(3, 4).double(), torch.randn(4, 3, 2, dtype=torch.float64)
        learner = make(cell, compile=compiled)
        state = learner.initial_state(2)
        for x, towards in zip(inputs, (1.0, inputs[0].sum(), 2.0, 3.0), strict=True):
            output, state = learner(x.T, state)
            (output.sum() * towards + output.T.contiguous().T.pow(2).sum()).backward()
            output, state = learner(x.T.contiguous(), state)
            output.sum().backward()
        found.append(torch.cat([value.grad for value in cell.parameters()]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
