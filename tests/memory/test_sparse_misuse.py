"""What cannot be done with a sparse memory raises and says what to do; numbers are never wrong."""

import copy
import pickle

import pytest
import torch
from sparse_traces import Given, content, dense_start, dense_step, loss_of, opened, sparse_step

from graves_memory.layers.sam import SAM
from graves_memory.layers.sparse.memory import SparseMemory


def episode(memory: SparseMemory | None = None, steps: int = 3):
    given = Given()
    state = opened(memory or SparseMemory(5, 3), given)
    loss = torch.zeros((), dtype=torch.float64)
    for step in range(steps):
        words, state = sparse_step(state, given, step)
        loss = loss + loss_of(words, given, step)
    return given, state, loss


def small() -> SAM:
    torch.manual_seed(0)
    return SAM(3, 2, hidden_size=4, rows=8, width=3, heads=2, reads=2)


def test_a_second_backward_raises():
    _, _, loss = episode()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"only once.*run forward again"):
        loss.backward()


def test_a_second_backward_of_the_network_raises():
    loss = small()(torch.randn(4, 2, 3))[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"only once.*run forward again"):
        loss.backward()


def test_two_losses_one_after_the_other_raise():
    outputs, _ = small()(torch.randn(4, 2, 3))
    outputs[1].sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"run forward again|another order"):
        outputs[3].sum().backward()


def test_second_derivatives_raise():
    given, _, loss = episode()
    with pytest.raises(RuntimeError, match=r"second derivatives.*create_graph"):
        torch.autograd.grad(loss, given.words, create_graph=True)


def test_second_derivatives_of_the_network_raise():
    net = small()
    outputs, _ = net(torch.randn(4, 2, 3))
    with pytest.raises(RuntimeError, match=r"second derivatives.*create_graph"):
        torch.autograd.grad(outputs.sum(), list(net.parameters()), create_graph=True)


def test_an_expired_state_raises():
    given, state, _ = episode()
    state.read(given.reads[0])
    for use in (
        lambda: state.read(given.reads[0]),
        lambda: sparse_step(state, given, 0),
        lambda: state.search(given.words[0], 2),
        lambda: state.oldest(1),
        lambda: state.export(),
        lambda: state.detach().read(given.reads[0]),
        lambda: state.narrow(1).read(given.reads[0][:1]),
    ):
        with pytest.raises(RuntimeError, match=r"expired.*export_state"):
            use()


def test_a_state_that_the_network_has_gone_on_from_raises():
    net = small()
    _, state = net(torch.randn(2, 1, 3))
    net(torch.randn(2, 1, 3), state)
    with pytest.raises(RuntimeError, match="expired"):
        net(torch.randn(2, 1, 3), state)


def test_backward_after_a_forward_on_the_detached_state_raises():
    given, state, loss = episode()
    sparse_step(state.detach(), given, 3)
    with pytest.raises(RuntimeError, match=r"moved on.*backward before"):
        loss.backward()


def test_backward_after_a_forward_without_gradients_on_the_state_raises():
    given, state, loss = episode()
    with torch.no_grad():
        sparse_step(state, given, 3)
    with pytest.raises(RuntimeError, match=r"moved on.*backward before"):
        loss.backward()


def test_going_on_from_a_graph_that_has_gone_backward_raises():
    given, state, loss = episode()
    loss.backward()
    words, state = sparse_step(state, given, 3)
    with pytest.raises(RuntimeError, match=r"only once.*detach"):
        words.sum().backward()


def test_a_backward_pass_that_failed_leaves_nothing_behind():
    memory = SparseMemory(5, 3)
    given, state, loss = episode(memory)
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(loss, given.words, create_graph=True)
    del state, loss
    given, _, loss = episode(memory)
    dense = dense_start(given, 5)
    expected = torch.zeros((), dtype=torch.float64)
    for step in range(3):
        words, dense = dense_step(dense, given, step)
        expected = expected + loss_of(words, given, step)
    for found, right in zip(given.gradients(loss), given.gradients(expected), strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


def test_an_episode_that_broke_off_leaves_nothing_behind():
    memory = SparseMemory(5, 3)
    given, state, loss = episode(memory)
    del state, loss
    fresh = opened(memory, given)
    assert not content(fresh).any()
    assert len(memory._tapes) == 1


def test_losses_of_two_episodes_can_be_added_up():
    net = small()
    x, y = torch.randn(2, 4, 2, 3)

    def gradients(loss):
        net.zero_grad()
        loss.backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    together = gradients(net(x)[0].sum() + net(y)[0].sum())
    apart = zip(gradients(net(x)[0].sum()), gradients(net(y)[0].sum()), strict=True)
    for found, (one, other) in zip(together, apart, strict=True):
        torch.testing.assert_close(found, one + other)


def test_a_state_is_not_disturbed_by_an_episode_in_between():
    net = small()
    x = torch.randn(6, 2, 3)
    whole, _ = net(x)
    _, state = net(x[:3])
    with torch.no_grad():
        net(torch.randn(5, 2, 3))
    torch.testing.assert_close(net(x[3:], state)[0], whole[3:])


def test_states_cannot_be_copied_or_pickled():
    _, state, _ = episode()
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="export_state"):
            call(state)
