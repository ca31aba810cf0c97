"""Reading and writing by rows, beside a memory that is a new tensor at every step."""

import pytest
import torch
from sparse_traces import Given, content, dense_start, dense_step, loss_of, opened, sparse_step

from graves_memory.layers.sparse.memory import SparseMemory

ROWS, EXACT = 5, {"rtol": 0, "atol": 1e-10}


def forward(state, given, steps=range(8)):
    losses, read = [], []
    for step in steps:
        words, state = sparse_step(state, given, step)
        losses.append(loss_of(words, given, step))
        read.append(words)
    return torch.stack(losses), torch.stack(read), state


def dense_forward(memory, given, steps=range(8)):
    losses, read = [], []
    for step in steps:
        words, memory = dense_step(memory, given, step)
        losses.append(loss_of(words, given, step))
        read.append(words)
    return torch.stack(losses), torch.stack(read), memory


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_words_and_gradients_are_those_of_new_tensors(seed, trained):
    given = Given(seed=seed)
    losses, read, state = forward(opened(SparseMemory(ROWS, 3), given, trained), given)
    expected, dense_read, memory = dense_forward(dense_start(given, ROWS, trained), given)
    torch.testing.assert_close(read, dense_read, **EXACT)
    torch.testing.assert_close(content(state), memory, **EXACT)
    for found, right in zip(given.gradients(losses.sum()), given.gradients(expected.sum()), strict=True):
        torch.testing.assert_close(found, right, **EXACT)


def test_backward_leaves_the_memory_as_it_was_at_the_start():
    given = Given()
    state = opened(SparseMemory(ROWS, 3), given)
    before = content(state)
    losses, _, state = forward(state, given)
    assert not torch.equal(content(state), before)
    losses.sum().backward()
    assert torch.equal(content(state), before)


@pytest.mark.parametrize("last", [1, 5])
def test_writes_that_no_loss_depends_on_are_taken_back_as_well(last):
    given = Given()
    state = opened(SparseMemory(ROWS, 3), given)
    before = content(state)
    losses, _, state = forward(state, given)
    expected, _, _ = dense_forward(dense_start(given, ROWS), given)
    found = given.gradients(losses[:last].sum())
    for gradient, right in zip(found, given.gradients(expected[:last].sum()), strict=True):
        torch.testing.assert_close(gradient, right, **EXACT)
    assert torch.equal(content(state), before)


def test_a_write_after_the_last_read_is_taken_back():
    given = Given()
    state = opened(SparseMemory(ROWS, 3), given)
    before = content(state)
    losses, _, state = forward(state, given)
    state = state.write(given.rows[0], given.weights[0], given.words[0], given.erase[0])
    losses.sum().backward()
    assert torch.equal(content(state), before)


def test_a_detached_state_goes_on_from_the_end_and_cuts_the_gradient():
    given = Given(steps=12)
    state, memory = opened(SparseMemory(ROWS, 3), given, True), dense_start(given, ROWS, True)
    for steps in (range(4), range(4, 8), range(8, 12)):
        losses, read, state = forward(state, given, steps)
        expected, dense_read, memory = dense_forward(memory, given, steps)
        torch.testing.assert_close(read, dense_read, **EXACT)
        torch.testing.assert_close(content(state), memory, **EXACT)
        found, right = given.gradients(losses.sum()), given.gradients(expected.sum())
        for gradient, other in zip(found, right, strict=True):
            torch.testing.assert_close(gradient, other, **EXACT)
        state, memory = state.detach(), memory.detach()


def test_a_graph_can_reach_over_several_calls():
    given = Given()
    state = opened(SparseMemory(ROWS, 3), given)
    first, _, state = forward(state, given, range(3))
    second, _, state = forward(state, given, range(3, 8))
    expected, _, _ = dense_forward(dense_start(given, ROWS), given)
    found = given.gradients(first.sum() + second.sum())
    for gradient, right in zip(found, given.gradients(expected.sum()), strict=True):
        torch.testing.assert_close(gradient, right, **EXACT)


@pytest.mark.parametrize("trained", [False, True])
def test_sequences_that_begin_anew_get_no_gradient_from_before(trained):
    given = Given(batch=3)
    done = torch.tensor([False, True, False])
    start = given.start if trained else torch.zeros(3, dtype=torch.float64)
    state, memory = opened(SparseMemory(ROWS, 3), given, trained), dense_start(given, ROWS, trained)
    before = content(state)
    first, _, state = forward(state, given, range(4))
    second, read, state = forward(state.reset(done, start), given, range(4, 8))
    expected, _, memory = dense_forward(memory, given, range(4))
    memory = torch.where(done[:, None, None], start, memory)
    other, dense_read, memory = dense_forward(memory, given, range(4, 8))
    torch.testing.assert_close(read, dense_read, **EXACT)
    torch.testing.assert_close(content(state), memory, **EXACT)
    found = given.gradients(first.sum() + second.sum())
    for gradient, right in zip(found, given.gradients(expected.sum() + other.sum()), strict=True):
        torch.testing.assert_close(gradient, right, **EXACT)
    assert torch.equal(content(state), before)


def test_sequences_change_places_with_their_gradients():
    given = Given(batch=3)
    order = torch.tensor([2, 0, 1])
    state, memory = opened(SparseMemory(ROWS, 3), given, True), dense_start(given, ROWS, True)
    first, _, state = forward(state, given, range(4))
    second, read, state = forward(state.reorder(order), given, range(4, 8))
    expected, _, memory = dense_forward(memory, given, range(4))
    other, dense_read, memory = dense_forward(memory[order], given, range(4, 8))
    torch.testing.assert_close(read, dense_read, **EXACT)
    found = given.gradients(first.sum() + second.sum())
    for gradient, right in zip(found, given.gradients(expected.sum() + other.sum()), strict=True):
        torch.testing.assert_close(gradient, right, **EXACT)


def test_without_gradients_the_memory_changes_all_the_same():
    given = Given()
    with torch.no_grad():
        state = opened(SparseMemory(ROWS, 3), given)
        _, read, state = forward(state, given)
        _, dense_read, memory = dense_forward(dense_start(given, ROWS), given)
    torch.testing.assert_close(read, dense_read, **EXACT)
    torch.testing.assert_close(content(state), memory, **EXACT)
    assert not state.lease.tape.log


def test_weights_alone_can_have_a_gradient():
    given = Given()
    losses, _, _ = forward(opened(SparseMemory(ROWS, 3), given), given)
    expected, _, _ = dense_forward(dense_start(given, ROWS), given)
    (found,) = torch.autograd.grad(losses.sum(), given.weights)
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), given.weights)[0], **EXACT)


def test_lengths_of_rows_follow_the_memory():
    given = Given()
    losses, _, state = forward(opened(SparseMemory(ROWS, 3), given), given)
    lengths = (content(state).square().sum(2) + 1e-6).rsqrt()
    torch.testing.assert_close(state.lease.tape.lengths.view(2, ROWS), lengths, **EXACT)
    losses.sum().backward()
    torch.testing.assert_close(state.lease.tape.lengths.view(2, ROWS), lengths, **EXACT)
