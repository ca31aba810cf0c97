"""What all learners that carry an influence have in common."""

import copy
import pickle
from collections.abc import Callable

import lightning.pytorch as pl
import pytest
import torch
from general_cells import LeakyCell, data, each_step, flat, loss_of, masked_by_hand, through_time
from torch import Tensor, nn

from graves_core.testing import assert_same_gradients_ddp
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.reset_before import ResetBeforeGRUCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell
from graves_rnn_training.layers.learners.base import ForwardLearner, OnlineState
from graves_rnn_training.layers.learners.rflo import RFLO
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.snap import SnAp
from graves_rnn_training.layers.learners.uoro import UORO

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.func computes them")
GENERAL: dict[str, Callable[[], OnlineCell]] = {
    "leaky": LeakyCell,
    "wrapped": lambda: wrap_cell(nn.GRUCell(3, 4)),
    "old gru": lambda: ResetBeforeGRUCell(3, 4),
}
CELLS = {"gru": lambda: GRUCell(3, 4), "lstm": lambda: LSTMCell(3, 4, sparsity=0.5), "leaky": LeakyCell}
CLASSES = [RTRL, UORO, RFLO, SnAp]
every = [
    pytest.param(lambda c=c, k=k, **a: c(CELLS[k]().double(), **a), id=f"{c.__name__}-{k}")
    for c in CLASSES
    for k in CELLS
]


@pytest.mark.parametrize("name", GENERAL)
def test_rtrl_of_any_cell_is_backpropagation_through_time(name: str) -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = GENERAL[name]().double(), data()
    expected = through_time(cell, inputs, targets)
    found = flat(each_step(RTRL(cell), inputs, targets))
    torch.testing.assert_close(found, flat(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", GENERAL)
def test_snap_of_any_cell_is_rtrl_masked_by_hand(name: str, order: int) -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = GENERAL[name]().double(), data()
    dynamics, mask = (pattern.double() for pattern in cell.patterns())
    for _ in range(order - 1):
        mask = ((mask + dynamics @ mask) > 0).double()
    expected = masked_by_hand(cell, inputs, targets, mask)
    found = flat(each_step(SnAp(cell, order=order), inputs, targets))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", every)
def test_backward_after_the_next_step_is_refused(make: Callable[..., ForwardLearner]) -> None:
    learner, (inputs, _) = make(), data()
    first, state = learner(inputs[0], learner.initial_state(2))
    learner(inputs[1], state)
    with pytest.raises(RuntimeError, match="has overwritten the traces: call it after each step"):
        first.sum().backward()


@pytest.mark.parametrize("make", every)
def test_losses_of_several_steps_can_wait_where_traces_are_not_overwritten(
    make: Callable[..., ForwardLearner],
) -> None:
    torch.manual_seed(0)
    patient, (inputs, targets) = make(in_place=False), data()
    hasty = copy.deepcopy(patient)
    hasty.in_place = True
    torch.manual_seed(1)
    expected = flat(each_step(hasty, inputs, targets))
    torch.manual_seed(1)
    state, loss = patient.initial_state(2), torch.zeros((), dtype=torch.float64)
    for x, target in zip(inputs, targets, strict=True):
        output, state = patient(x, state)
        loss = loss + loss_of(output, target)
    loss.backward()
    found = {name: value.grad for name, value in patient.named_parameters()}
    torch.testing.assert_close(flat(found), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", every)
def test_without_gradients_only_the_hidden_state_moves(make: Callable[..., ForwardLearner]) -> None:
    learner, (inputs, _) = make(), data()
    _, state = learner(inputs[0], learner.initial_state(2))
    before = [trace.clone() for trace in state.traces]
    hidden = learner.cell(inputs[1], state.hidden)
    random = torch.get_rng_state()
    with torch.no_grad():
        output, after = learner(inputs[1], state)
    evaluated, _ = learner.eval()(inputs[1], state)
    assert torch.equal(torch.get_rng_state(), random)
    for found in (output, evaluated):
        torch.testing.assert_close(found, learner.cell.output(hidden))
    assert all(a is b for a, b in zip(after.traces, state.traces, strict=True))
    torch.testing.assert_close(list(state.traces), before, rtol=0, atol=0)


@pytest.mark.parametrize("make", every)
def test_a_sequence_that_starts_anew_forgets_alone(
    make: Callable[..., ForwardLearner],
) -> None:
    torch.manual_seed(0)
    learner, (inputs, _) = make(), data(batch=3)
    state = learner.initial_state(3)
    for x in inputs[:3]:
        _, state = learner(x, state)
    kept = OnlineState(state.hidden.clone(), tuple(trace.clone() for trace in state.traces))
    state = learner.reset(state, torch.tensor([False, True, False]))
    axis = -1 if isinstance(learner.cell, UnitCell) and not isinstance(learner, RTRL) else 0
    pairs = [(state.hidden, kept.hidden, 0)]
    pairs += [(after, before, axis) for after, before in zip(state.traces, kept.traces, strict=True)]
    for after, before, axis in pairs:
        assert not after.select(axis, 1).any()
        assert before.select(axis, 1).any()
        assert torch.equal(after.select(axis, 0), before.select(axis, 0))
        assert torch.equal(after.select(axis, 2), before.select(axis, 2))


@pytest.mark.parametrize("make", every)
def test_a_nan_does_not_survive_a_new_start(make: Callable[..., ForwardLearner]) -> None:
    learner = make()
    state = learner.initial_state(2)
    broken = OnlineState(state.hidden + torch.nan, tuple(trace + torch.nan for trace in state.traces))
    again = learner.reset(broken, torch.tensor([True, True]))
    assert not any(tensor.abs().sum() for tensor in (again.hidden, *again.traces))


@pytest.mark.parametrize("make", every)
def test_states_hold_plain_tensors_that_a_checkpoint_takes(
    make: Callable[..., ForwardLearner], tmp_path
) -> None:
    torch.manual_seed(0)
    learner, (inputs, targets) = make(), data()
    state = learner.initial_state(2)
    for x in inputs[:2]:
        _, state = learner(x, state)
    torch.save({"hidden": state.hidden, "traces": list(state.traces)}, tmp_path / "state.pt")
    random = torch.get_rng_state()
    whole, _ = learner(inputs[2], state)
    loss_of(whole, targets[2]).backward()
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.set_rng_state(random)
    again = copy.deepcopy(learner)
    again.zero_grad()
    output, _ = again(inputs[2], OnlineState(saved["hidden"], tuple(saved["traces"])))
    loss_of(output, targets[2]).backward()
    for one, two in zip(learner.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


@pytest.mark.parametrize("make", every)
def test_memory_of_traces_is_what_is_said_and_can_be_limited(make: Callable[..., ForwardLearner]) -> None:
    learner = make()
    state = learner.initial_state(2)
    needed = sum(trace.numel() * trace.element_size() for trace in state.traces)
    assert learner.trace_bytes(2) == needed
    assert make(max_trace_bytes=needed).initial_state(2)
    with pytest.raises(ValueError, match=rf"need {needed:,} bytes .* max_trace_bytes={needed - 1:,}"):
        make(max_trace_bytes=needed - 1).initial_state(2)


@pytest.mark.parametrize("make", every)
def test_a_state_for_another_batch_is_refused(make: Callable[..., ForwardLearner]) -> None:
    learner, (inputs, _) = make(), data()
    with pytest.raises(ValueError, match="begin with initial_state"):
        learner(inputs[0], learner.initial_state(5))


@pytest.mark.parametrize("make", every)
def test_the_gradient_of_the_inputs_is_that_of_the_step(make: Callable[..., ForwardLearner]) -> None:
    learner, (inputs, targets) = make(), data()
    _, state = learner(inputs[0], learner.initial_state(2))
    one, two = inputs[1].clone().requires_grad_(), inputs[1].clone().requires_grad_()
    hidden = state.hidden.clone()
    loss_of(learner(one, state)[0], targets[1]).backward()
    loss_of(learner.cell.output(learner.cell(two, hidden)), targets[1]).backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_the_gradient_of_inputs_is_refused_once_the_weights_have_moved() -> None:
    learner, (inputs, _) = RTRL(GRUCell(3, 4).double()), data()
    output, _ = learner(inputs[0].requires_grad_(), learner.initial_state(2))
    with torch.no_grad():
        learner.cell.bias_hh.add_(1.0)
    with pytest.raises(RuntimeError, match="the weights have changed since the step"):
        output.sum().backward()


@pytest.mark.parametrize("make", every)
def test_autocast_does_not_reach_traces_and_gradients(make: Callable[..., ForwardLearner]) -> None:
    torch.manual_seed(0)
    learner, (inputs, targets) = make().float(), data()
    inputs, targets = inputs.float(), targets.float()
    plain = copy.deepcopy(learner)
    torch.manual_seed(1)
    expected = flat(each_step(plain, inputs, targets))
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = nn.functional.linear(inputs, torch.eye(3))
        assert lower.dtype == torch.bfloat16
        state = learner.initial_state(2)
        for x, target in zip(inputs, targets, strict=True):
            output, state = learner(x.requires_grad_(), state)
            assert all(tensor.dtype == torch.float32 for tensor in (output, state.hidden, *state.traces))
            loss_of(output, target).backward()
    found = {name: value.grad for name, value in learner.named_parameters()}
    torch.testing.assert_close(flat(found), expected, rtol=0, atol=0)


def test_gradients_add_up_and_can_be_clipped_as_any() -> None:
    cell, (inputs, targets) = GRUCell(3, 4).double(), data()
    expected = flat(through_time(cell, inputs, targets)) + flat(through_time(cell, -inputs, targets))
    each_step(RTRL(cell), inputs, targets)
    found = flat(each_step(RTRL(cell), -inputs, targets))
    torch.testing.assert_close(found, expected)
    torch.nn.utils.clip_grad_norm_(cell.parameters(), 0.5)
    clipped = torch.cat([value.grad.flatten() for value in cell.parameters()])
    torch.testing.assert_close(clipped, expected * 0.5 / expected.norm(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("make", every)
def test_part_of_the_parameters_can_be_frozen(make: Callable[..., ForwardLearner]) -> None:
    torch.manual_seed(0)
    learner, (inputs, targets) = make(), data()
    first = next(iter(learner.parameters())).requires_grad_(False)
    each_step(learner, inputs, targets)
    assert first.grad is None
    assert all(value.grad is not None for value in learner.parameters() if value.requires_grad)


@pytest.mark.parametrize("make", every)
def test_learners_can_be_copied_and_pickled_after_use(make: Callable[..., ForwardLearner]) -> None:
    learner, (inputs, targets) = make(), data()
    each_step(learner, inputs, targets)
    again = pickle.loads(pickle.dumps(copy.deepcopy(learner)))
    for ours in (learner, again):
        ours.zero_grad()
    found = []
    for ours in (learner, again):
        torch.manual_seed(2)
        found.append(flat(each_step(ours, inputs, targets)))
    assert torch.equal(*found)


@pytest.mark.parametrize("make", every)
def test_the_spec_names_cell_and_limits(make: Callable[..., ForwardLearner]) -> None:
    learner = make(max_trace_bytes=10**6)
    again = learner.spec
    assert again["init_args"]["max_trace_bytes"] == 10**6
    assert again["init_args"]["cell"]["class_path"].endswith(type(learner.cell).__name__)


class Online(pl.LightningModule):
    """Updates once, with the mean over the batch, after a few steps of its own loop."""

    def __init__(self, learner: ForwardLearner) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learner = learner
        self.readout = nn.Linear(learner.hidden_size, 2)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        inputs, targets = (part.transpose(0, 1) for part in batch)
        state = self.learner.initial_state(inputs.shape[1])
        for step, (x, target) in enumerate(zip(inputs, targets, strict=True)):
            output, state = self.learner(x, state)
            loss = (self.readout(output) - target).pow(2).mean()
            if step == len(inputs) - 1 or self.trainer.world_size == 1:
                self.manual_backward(loss)
            else:
                with self.trainer.strategy.block_backward_sync():
                    self.manual_backward(loss)
        self.optimizers().step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("name", ["RTRL", "UORO", "RFLO"])
def test_two_ranks_compute_the_gradient_of_one(name: str) -> None:
    make = {"RTRL": RTRL, "UORO": UORO, "RFLO": RFLO}[name]
    draw = torch.Generator().manual_seed(0)
    batch = [torch.randn(10, 4, 3, generator=draw), torch.randn(10, 4, 2, generator=draw)]
    assert_same_gradients_ddp(lambda: Online(make(GRUCell(3, 4, sparsity=0.5))), batch)


def test_a_fused_optimizer_between_step_and_backward_is_noticed() -> None:
    """Such optimizers change weights without raising torch's version of them by themselves."""
    cell = GRUCell(3, 4)
    learner = RTRL(cell)
    optimizer = torch.optim.Adam(cell.parameters(), fused=True)
    inputs = torch.randn(2, 3, requires_grad=True)
    output, _ = learner(inputs, learner.initial_state(2))
    for weight in cell.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(RuntimeError, match="the weights have changed since the step"):
        output.sum().backward()
