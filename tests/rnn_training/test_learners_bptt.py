"""Backpropagation through time as a learner."""

from collections.abc import Callable

import pytest
import torch
from general_cells import LeakyCell, built_in, data, flat, loss_of, through_time
from reference_setting import NAMES, Kind, Setting, bptt
from torch import Tensor

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.learners.base import OnlineState
from graves_rnn_training.layers.learners.bptt import BPTT, TruncatedBPTT

KINDS: tuple[Kind, ...] = ("vanilla", "gru", "lstm")
CELLS = {"gru": lambda: GRUCell(3, 4), "lstm": lambda: LSTMCell(3, 4, sparsity=0.5), "leaky": LeakyCell}
ONCE = r"gone through these steps before: .* go on with learner.detach\(state\)"


def total(learner: BPTT, inputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of all steps."""
    state, losses = learner.initial_state(inputs.shape[1]), []
    for x, target in zip(inputs, targets, strict=True):
        output, state = learner(x, state)
        losses.append(loss_of(output, target))
    return torch.stack(losses).sum()


def gradient(cell: OnlineCell) -> Tensor:
    return torch.cat([value.grad.flatten() for _, value in cell.learned()])


def cut(cell: OnlineCell, inputs: Tensor, targets: Tensor, window: int) -> Tensor:
    """The gradient by a loop that detaches after every `window` steps."""
    state = torch.zeros(inputs.shape[1], cell.state_size, dtype=inputs.dtype)
    loss = torch.zeros((), dtype=inputs.dtype)
    for t, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        state = cell(x, state.detach() if t % window == 0 else state)
        loss = loss + loss_of(cell.output(state), target)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(cell.parameters()))])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_autograd_over_the_masked_network(kind: Kind) -> None:
    setting = Setting(kind)
    cell, (expected, _) = built_in(setting), bptt(setting)
    total(BPTT(cell), setting.inputs, setting.targets).backward()
    kept = [expected[name][setting.masks[name]] for name in NAMES]
    torch.testing.assert_close(gradient(cell), torch.cat(kept), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [1, 2, 3, 7])
@pytest.mark.parametrize("name", CELLS)
def test_a_window_cuts_the_graph(name: str, window: int) -> None:
    cell, (inputs, targets) = CELLS[name]().double(), data(steps=7)
    total(TruncatedBPTT(cell, window), inputs, targets).backward()
    torch.testing.assert_close(gradient(cell), cut(cell, inputs, targets, window), rtol=0, atol=1e-12)


def test_a_backward_per_window_gives_the_same_as_one_at_the_end() -> None:
    cell, (inputs, targets) = GRUCell(3, 4).double(), data(steps=6)
    learner, losses = TruncatedBPTT(cell, 3), []
    state = learner.initial_state(2)
    for t, (x, target) in enumerate(zip(inputs, targets, strict=True), start=1):
        output, state = learner(x, state)
        losses.append(loss_of(output, target))
        if t % 3 == 0:
            torch.stack(losses).sum().backward()
            losses.clear()
    torch.testing.assert_close(gradient(cell), cut(cell, inputs, targets, 3), rtol=0, atol=1e-12)


def test_weights_can_move_between_windows() -> None:
    cell, (inputs, targets) = GRUCell(3, 4).double(), data(steps=6)
    learner, optimizer = TruncatedBPTT(cell, 2), torch.optim.SGD(cell.parameters(), lr=0.1)
    state, losses = learner.initial_state(2), []
    for t, (x, target) in enumerate(zip(inputs, targets, strict=True), start=1):
        output, state = learner(x, state)
        losses.append(loss_of(output, target))
        if t % 2 == 0:
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            losses.clear()
    assert len(state.traces[0]) == 2


@pytest.mark.parametrize("make", [BPTT, lambda cell: TruncatedBPTT(cell, 5)])
def test_going_backward_twice_through_a_step_is_explained(make: Callable[[OnlineCell], BPTT]) -> None:
    learner, (inputs, _) = make(GRUCell(3, 4).double()), data()
    first, state = learner(inputs[0], learner.initial_state(2))
    first.sum().backward()
    second, _ = learner(inputs[1], state)
    with pytest.raises(RuntimeError, match=ONCE):
        second.sum().backward()


def test_a_detach_makes_a_second_backward_possible() -> None:
    learner, (inputs, _) = BPTT(GRUCell(3, 4).double()), data()
    first, state = learner(inputs[0], learner.initial_state(2))
    first.sum().backward()
    second, _ = learner(inputs[1], learner.detach(state))
    second.sum().backward()


def test_a_graph_that_is_retained_can_be_used_twice() -> None:
    cell, (inputs, targets) = GRUCell(3, 4).double(), data()
    loss = total(BPTT(cell), inputs, targets)
    loss.backward(retain_graph=True)
    once = gradient(cell)
    loss.backward()
    torch.testing.assert_close(gradient(cell), 2 * once)


def test_a_detach_begins_a_new_window() -> None:
    learner, (inputs, _) = TruncatedBPTT(GRUCell(3, 4).double(), 3), data()
    state = learner.initial_state(2)
    counts = []
    for t, x in enumerate(inputs):
        state = learner.detach(state) if t == 2 else state
        _, state = learner(x, state)
        counts.append(len(state.traces[0]))
    assert counts == [1, 2, 1, 2, 3]


def test_the_count_of_a_window_survives_a_checkpoint(tmp_path) -> None:
    learner, (inputs, _) = TruncatedBPTT(GRUCell(3, 4).double(), 3), data()
    _, state = learner(inputs[0], learner.initial_state(2))
    torch.save({"hidden": state.hidden, "traces": list(state.traces)}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    _, state = learner(inputs[1], OnlineState(saved["hidden"], tuple(saved["traces"])))
    assert len(state.traces[0]) == 2


def test_without_gradients_windows_do_not_advance() -> None:
    learner, (inputs, _) = TruncatedBPTT(GRUCell(3, 4).double(), 3), data()
    _, state = learner(inputs[0], learner.initial_state(2))
    with torch.no_grad():
        output, after = learner(inputs[1], state)
    assert len(after.traces[0]) == 1
    assert not output.requires_grad


@pytest.mark.parametrize("make", [BPTT, lambda cell: TruncatedBPTT(cell, 5)])
def test_a_sequence_that_starts_anew_is_cut_off_from_its_past(make: Callable[[OnlineCell], BPTT]) -> None:
    cell, (inputs, targets) = GRUCell(3, 4).double(), data(steps=4)
    learner = make(cell)
    state, loss = learner.initial_state(2), 0
    for t, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        state = learner.reset(state, torch.tensor([t == 2, False]))
        output, state = learner(x, state)
        loss = loss + loss_of(output, target)
    loss.backward()
    pieces = [
        (inputs[:2, :1], targets[:2, :1]),
        (inputs[2:, :1], targets[2:, :1]),
        (inputs[:, 1:], targets[:, 1:]),
    ]
    expected = sum(flat(through_time(cell, *piece)) for piece in pieces)
    torch.testing.assert_close(gradient(cell), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [BPTT, lambda cell: TruncatedBPTT(cell, 5)])
def test_there_are_no_traces_to_store(make: Callable[[OnlineCell], BPTT]) -> None:
    learner = make(GRUCell(3, 4))
    assert learner.trace_bytes(8) == 0
    assert not learner.forward_accumulation


def test_a_state_for_another_batch_is_refused() -> None:
    learner = BPTT(GRUCell(3, 4))
    with pytest.raises(ValueError, match=r"state.hidden has the shape \(5, 4\), but BPTT needs \(2, 4\)"):
        learner(torch.zeros(2, 3), learner.initial_state(5))


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        TruncatedBPTT(GRUCell(3, 4), 0)


@pytest.mark.parametrize("name", CELLS)
def test_autocast_does_not_stop_it(name: str) -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = CELLS[name](), data()
    inputs, targets = inputs.float(), targets.float()
    expected = flat(through_time(cell, inputs, targets))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = total(BPTT(cell), inputs, targets)
    loss.backward()
    assert (gradient(cell) - expected).norm() < 0.02 * expected.norm()
