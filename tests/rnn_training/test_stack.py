"""Layers of learners."""

import pytest
import torch
from general_cells import LeakyCell, data, each_step, flat, loss_of
from torch import Tensor

from graves_core.spec import build
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.learners.base import Learner
from graves_rnn_training.layers.learners.bptt import BPTT, TruncatedBPTT
from graves_rnn_training.layers.learners.exact import exact_learner
from graves_rnn_training.layers.learners.rflo import RFLO
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.stack import LearnerStack
from graves_rnn_training.layers.learners.uoro import UORO


def by_hand(cells: list, inputs: Tensor, targets: Tensor, local: bool) -> Tensor:
    """Autograd over a loop; `local` cuts the past of the layers above that of a parameter."""
    total = None
    for number, cell in enumerate(cells):
        states = [torch.zeros(inputs.shape[1], c.state_size, dtype=inputs.dtype) for c in cells]
        loss = torch.zeros((), dtype=inputs.dtype)
        for x, target in zip(inputs, targets, strict=True):
            output = x
            for index, layer in enumerate(cells):
                past = states[index].detach() if local and index > number else states[index]
                states[index] = layer(output, past)
                output = layer.output(states[index])
            loss = loss + loss_of(output, target)
        own = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(cell.parameters()))])
        total = own if total is None else torch.cat([total, own])
    return total


def three_cells() -> list:
    torch.manual_seed(0)
    return [LSTMCell(3, 5, sparsity=0.4).double(), LeakyCell(5, 6, 4).double(), VanillaCell(4, 4).double()]


@pytest.mark.filterwarnings("ignore:.*torch.func computes them")
def test_a_stack_of_rtrl_leaves_out_the_past_of_layers_above_alone() -> None:
    cells, (inputs, targets) = three_cells(), data()
    found = flat(each_step(LearnerStack([RTRL(cell) for cell in cells]), inputs, targets))
    torch.testing.assert_close(found, by_hand(cells, inputs, targets, local=True), rtol=0, atol=1e-12)
    assert not torch.allclose(found, by_hand(cells, inputs, targets, local=False))


def test_a_stack_of_bptt_is_exact() -> None:
    cells, (inputs, targets) = three_cells(), data()
    stack = LearnerStack([BPTT(cell) for cell in cells])
    state, loss = stack.initial_state(2), torch.zeros((), dtype=torch.float64)
    for x, target in zip(inputs, targets, strict=True):
        output, state = stack(x, state)
        loss = loss + loss_of(output, target)
    loss.backward()
    found = torch.cat([value.grad.flatten() for value in stack.parameters()])
    torch.testing.assert_close(found, by_hand(cells, inputs, targets, local=False), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [RTRL, UORO, RFLO])
def test_a_stack_of_one_layer_is_that_layer(make: type[Learner]) -> None:
    cell, (inputs, targets) = GRUCell(3, 4).double(), data()
    torch.manual_seed(1)
    expected = flat(each_step(make(cell), inputs, targets)).clone()
    cell.zero_grad()
    torch.manual_seed(1)
    found = flat(each_step(LearnerStack([make(cell)]), inputs, targets))
    assert torch.equal(found, expected)


def test_stacks_can_be_layers_of_stacks() -> None:
    cells, (inputs, targets) = (
        [GRUCell(3, 5).double(), GRUCell(5, 6).double(), GRUCell(6, 4).double()],
        data(),
    )
    flat_one = flat(each_step(LearnerStack([RTRL(cell) for cell in cells]), inputs, targets)).clone()
    for cell in cells:
        cell.zero_grad()
    first, *rest = (RTRL(cell) for cell in cells)
    nested = flat(each_step(LearnerStack([first, LearnerStack(rest)]), inputs, targets))
    torch.testing.assert_close(nested, flat_one, rtol=0, atol=0)


def test_states_stand_beside_each_other_and_traces_in_turn() -> None:
    stack = LearnerStack([UORO(LSTMCell(3, 5)), RTRL(GRUCell(5, 4))])
    state = stack.initial_state(2)
    assert (stack.input_size, stack.hidden_size, stack.state_size) == (3, 4, 14)
    assert state.hidden.shape == (2, 14)
    first, second = stack.states(state)
    assert first.hidden.shape == (2, 10)
    assert [trace.shape for trace in second.traces] == [
        (2, 4, sum(p.numel() for p in stack.layers[1].parameters()))
    ]
    assert stack.trace_bytes(2) == sum(layer.trace_bytes(2) for layer in stack.layers)


def test_sequences_start_anew_in_all_layers() -> None:
    torch.manual_seed(0)
    stack, (inputs, _) = LearnerStack([RTRL(GRUCell(3, 5).double()), RTRL(LSTMCell(5, 4).double())]), data()
    _, state = stack(inputs[0], stack.initial_state(2))
    state = stack.reset(state, torch.tensor([True, False]))
    for tensor in (state.hidden, *state.traces):
        assert not tensor[0].any()
        assert tensor[1].any()


def test_a_detached_stack_has_no_graph_and_new_windows() -> None:
    stack, (inputs, _) = (
        LearnerStack([TruncatedBPTT(GRUCell(3, 5).double(), 4), BPTT(GRUCell(5, 4).double())]),
        data(),
    )
    _, state = stack(inputs[0], stack.initial_state(2))
    assert state.hidden.requires_grad
    state = stack.detach(state)
    assert not state.hidden.requires_grad
    assert len(state.traces[0]) == 0


def test_memory_of_a_stack_can_be_limited() -> None:
    layers = [RTRL(GRUCell(3, 5)), RTRL(GRUCell(5, 4))]
    needed = sum(layer.trace_bytes(2) for layer in layers)
    assert LearnerStack(layers, max_trace_bytes=needed).initial_state(2)
    with pytest.raises(ValueError, match=f"the traces of LearnerStack need {needed:,} bytes"):
        LearnerStack(layers, max_trace_bytes=needed - 1).initial_state(2)


def test_a_layer_keeps_its_own_limit() -> None:
    with pytest.raises(ValueError, match="the traces of RTRL need"):
        LearnerStack([RTRL(GRUCell(3, 5), max_trace_bytes=0)]).initial_state(2)


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"layers\[1\] must have input_size=5, the hidden_size of the layer below, got 6"
    ):
        LearnerStack([RTRL(GRUCell(3, 5)), RTRL(GRUCell(6, 4))])


def test_learners_that_need_different_backward_passes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"or all backpropagate .* \['RTRL', 'BPTT'\]"):
        LearnerStack([RTRL(GRUCell(3, 5)), BPTT(GRUCell(5, 4))])


def test_an_empty_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="layers must hold at least one learner, got none"):
        LearnerStack([])


def test_what_is_no_learner_is_refused() -> None:
    with pytest.raises(TypeError, match=r"layers\[0\] must be a Learner, got GRUCell"):
        LearnerStack([GRUCell(3, 5)])


def test_the_state_of_other_layers_is_refused() -> None:
    small, large = (LearnerStack([RTRL(GRUCell(3, size))]) for size in (4, 5))
    with pytest.raises(ValueError, match="state holds 4 numbers and 1 traces, but these layers need 5 and 1"):
        large(torch.zeros(2, 3), small.initial_state(2))


def test_a_stack_is_rebuilt_from_its_spec() -> None:
    stack = LearnerStack([RTRL(GRUCell(3, 5, sparsity=0.5)), UORO(LSTMCell(5, 4))])
    again = build(stack.spec)
    again.load_state_dict(stack.state_dict())
    assert [type(layer).__name__ for layer in again.layers] == ["RTRL", "UORO"]


def test_the_exact_counterpart_of_a_stack_shares_its_cells() -> None:
    stack = LearnerStack([RTRL(GRUCell(3, 5)), UORO(LSTMCell(5, 4))])
    exact = exact_learner(stack)
    assert not exact.forward_accumulation
    assert all(one is two for one, two in zip(exact.parameters(), stack.parameters(), strict=True))
