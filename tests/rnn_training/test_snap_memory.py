"""The influence that SnAp stores: no more than the pattern needs, whatever the length of the sequences."""

import pytest
import torch

from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.snap import SnAp

BATCH = 16


def pruned(cell: UnitCell) -> UnitCell:
    cell.prune(0.9)
    return cell


@pytest.mark.parametrize(
    "cell",
    [
        GRUCell(32, 128, sparsity=0.984, input_sparsity=0.984),
        GRUCell(32, 128, sparsity=0.9375, input_sparsity=0.9375),
        GRUCell(32, 128, sparsity=0.75, input_sparsity=0.75),
        GRUCell(32, 128, sparsity=0.9375, shared_gate_mask=False),
        LSTMCell(32, 128, sparsity=0.9375, input_sparsity=0.9375),
        pruned(GRUCell(32, 64)),
    ],
    ids=["98 %", "94 %", "75 %", "independent", "lstm", "pruned"],
)
@pytest.mark.parametrize("order", [1, 2])
def test_memory_is_within_a_tenth_of_what_the_pattern_needs(cell: UnitCell, order: int) -> None:
    learner = SnAp(cell, order)
    stored = sum(torch.Size(shape).numel() for shape in learner.trace_shapes(BATCH))
    assert learner.trace_bytes(BATCH) == 4 * stored
    assert stored <= 1.1 * BATCH * learner.pattern_size


@pytest.mark.parametrize("order", [1, 2])
def test_memory_does_not_grow_with_the_length_of_sequences(order: int) -> None:
    learner = SnAp(GRUCell(4, 16, sparsity=0.75), order)
    state = learner.initial_state(2)
    sizes = set()
    for x in torch.randn(20, 2, 4):
        output, state = learner(x, state)
        output.sum().backward()
        sizes.add(sum(trace.untyped_storage().nbytes() for trace in state.traces))
    assert sizes == {learner.trace_bytes(2)}


@pytest.mark.parametrize("order", [1, 2])
def test_traces_stay_where_they_are_when_overwritten(order: int) -> None:
    learner = SnAp(GRUCell(4, 16, sparsity=0.75), order)
    state = learner.initial_state(2)
    _, after = learner(torch.randn(2, 4), state)
    assert [trace.data_ptr() for trace in after.traces] == [trace.data_ptr() for trace in state.traces]
