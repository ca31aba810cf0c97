"""States of the sparse access memory: carried, exported, begun anew, of sequences of different lengths."""

import pytest
import torch
from sparse_replay import (
    dense_replay,
    dense_start,
    gradients,
    largest_difference,
    similarities,
    small_sam,
)
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from graves_memory.layers.sparse import tape
from graves_memory.layers.sparse.usage import AccessStamps

EXACT = {"rtol": 0, "atol": 1e-10}


def inputs(steps: int = 12, batch: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(steps, batch, 3, dtype=torch.float64)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("window", [1, 5])
def test_carried_windows_are_one_long_sequence(grad, window):
    net, x = small_sam(), inputs()
    with torch.set_grad_enabled(grad):
        expected, last = net(x)
        outputs, state = [], None
        for part in x.split(window):
            found, state = net(part, state if state is None else net.detach(state))
            outputs.append(found)
            if grad:
                found.square().sum().backward()
    torch.testing.assert_close(torch.cat(outputs), expected, **EXACT)
    torch.testing.assert_close(
        net.export_state(state)["memory.memory"], net.export_state(last)["memory.memory"]
    )


def test_truncated_gradients_are_those_of_a_dense_replay_with_detach():
    net, x = small_sam(learn_start=True), inputs()
    state, dense = None, dense_start(net, 3, net.start)
    for part in x.split(4):
        with net.recording() as record:
            outputs, state = net(part, state)
        found = gradients(net, outputs.square().sum())
        state = net.detach(state)
        expected, dense = dense_replay(net, part, record, dense)
        assert largest_difference(found, gradients(net, expected.square().sum())) < 1e-10
        dense = type(dense)(*(value.detach() for value in dense))


def test_a_state_goes_on_exactly_after_export_and_import():
    net, x = small_sam(), inputs()
    expected, _ = net(x)
    _, state = net(x[:7])
    tensors = {name: value.clone() for name, value in net.export_state(state).items()}
    assert all(len(value) == 3 for value in tensors.values())
    other = small_sam(seed=5)
    other.load_state_dict(net.state_dict())
    found, _ = other(x[7:], other.import_state(tensors))
    torch.testing.assert_close(found, expected[7:], **EXACT)


def test_an_exported_state_holds_only_rows_that_were_used():
    net = small_sam(rows=100_000)
    tensors = net.export_state(net(inputs())[1])
    assert tensors["memory.memory"].shape[1] < 100


def test_a_state_can_be_exported_after_backward():
    net, x = small_sam(), inputs()
    expected, _ = net(x)
    outputs, state = net(x[:7])
    outputs.sum().backward()
    tensors = net.export_state(state)
    torch.testing.assert_close(net(x[7:], net.import_state(tensors))[0], expected[7:], **EXACT)


def test_import_refuses_other_tensors():
    net = small_sam()
    tensors = net.export_state(net.initial_state(2))
    del tensors["memory.ranks"]
    with pytest.raises(ValueError, match=r"tensors must be named .*memory.ranks"):
        net.import_state(tensors)


def test_sequences_that_begin_anew_are_as_in_a_new_episode():
    net, x = small_sam(), inputs()
    _, state = net(x[:6])
    state = net.reset(net.detach(state), torch.tensor([True, False, True]))
    outputs, _ = net(x[6:], state)
    whole, fresh = net(x)[0][6:], net(x[6:])[0]
    torch.testing.assert_close(outputs, torch.stack([fresh[:, 0], whole[:, 1], fresh[:, 2]], 1), **EXACT)


@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences_are_each_as_alone(enforce_sorted):
    net, x = small_sam(), inputs(9, 4)
    lengths = [9, 7, 7, 2] if enforce_sorted else [2, 7, 9, 7]
    sequences = [x[:length, b] for b, length in enumerate(lengths)]
    goals = [torch.randn(length, 4, dtype=torch.float64) for length in lengths]
    outputs, state = net(pack_sequence(sequences, enforce_sorted=enforce_sorted))
    found = unpack_sequence(outputs)
    more = inputs(3, 4)
    after, _ = net(more, state)
    loss = sum((goal * out).sum() for goal, out in zip(goals, found, strict=True)) + after.sum()
    together = gradients(net, loss)
    alone = [torch.zeros_like(gradient) for gradient in together]
    for b, (sequence, goal) in enumerate(zip(sequences, goals, strict=True)):
        expected, last = net(sequence[:, None])
        torch.testing.assert_close(found[b], expected[:, 0], **EXACT)
        following, _ = net(more[:, b : b + 1], last)
        torch.testing.assert_close(after[:, b], following[:, 0], **EXACT)
        part = gradients(net, (goal * expected[:, 0]).sum() + following.sum())
        alone = [one + other for one, other in zip(alone, part, strict=True)]
    assert largest_difference(together, alone) < 1e-10


def test_packed_windows_are_one_long_sequence():
    net, x = small_sam(), inputs(10, 3)
    expected = [net(x[:, b : b + 1])[0][:, 0] for b in range(3)]
    lengths = ([3, 5, 4], [5, 2, 3], [2, 3, 3])
    begins, state = [0, 0, 0], None
    for counts in lengths:
        parts = [
            x[start : start + count, b] for b, (start, count) in enumerate(zip(begins, counts, strict=True))
        ]
        outputs, state = net(pack_sequence(parts, enforce_sorted=False), state)
        state = net.detach(state)
        for b, found in enumerate(unpack_sequence(outputs)):
            torch.testing.assert_close(found, expected[b][begins[b] : begins[b] + counts[b]], **EXACT)
        begins = [start + count for start, count in zip(begins, counts, strict=True)]


@pytest.mark.parametrize("learn_start", [False, True])
def test_a_sequence_does_not_depend_on_the_others_of_its_batch(learn_start):
    net, x = small_sam(rows=1000, learn_start=learn_start), inputs(20, 5)
    together, _ = net(x)
    alone = torch.cat([net(x[:, b : b + 1])[0] for b in range(5)], 1)
    torch.testing.assert_close(together, alone, **EXACT)


def test_single_steps_are_the_sequence():
    net, x = small_sam(), inputs()
    expected, _ = net(x)
    state, features = net.initial_state(3), []
    for now in x:
        feature, state = net.step(net.prepare(now), state)
        features.append(feature)
    outputs = net.readout(torch.stack(features))
    torch.testing.assert_close(outputs, expected, **EXACT)
    goal = torch.randn_like(expected)
    found = gradients(net, (outputs * goal).sum())
    assert largest_difference(found, gradients(net, (expected * goal).sum())) < 1e-10


@pytest.mark.parametrize("rows", [12, 1000])
def test_heads_read_the_most_similar_rows_and_erase_the_oldest_ones(rows):
    net, x = small_sam(rows=rows, delta=0.1), inputs(30)
    with net.recording() as record, torch.no_grad():
        net(x)
    state = dense_start(net, 3)
    orders = [list(range(rows)) for _ in range(3)]
    with torch.no_grad():
        for now, step in zip(x, record.steps, strict=True):
            _, state = dense_replay(net, now[None], type(record)([step]), state)
            interface = net.interface(state.hidden).clamp(-20, 20).unflatten(1, (net.heads, -1))
            cosines = similarities(state.memory, interface[..., : net.width])
            found = cosines.gather(2, step["read_rows"])
            torch.testing.assert_close(found, cosines.topk(net.reads).values, **EXACT)
            for b, order in enumerate(orders):
                oldest = step["write_rows"][b, :, -1].tolist()
                assert oldest == order[: net.heads]
                note(order, oldest, [1.0] * net.heads)
                again = step["write_rows"][b, :, :-1].flatten().tolist()
                note(order, again, step["write_weights"][b, :, :-1].flatten().tolist())
                note(
                    order, step["read_rows"][b].flatten().tolist(), step["read_weights"][b].flatten().tolist()
                )


def note(order: list[int], rows: list[int], weights: list[float]) -> None:
    for weight, row in sorted(zip(weights, rows, strict=True), key=lambda pair: pair[0]):
        if weight > 0.1:
            order.remove(row)
            order.append(row)


def test_layouts_are_those_of_torch():
    net, x = small_sam(batch_first=True), inputs()
    other = small_sam()
    outputs, state = net(x.transpose(0, 1))
    torch.testing.assert_close(outputs.transpose(0, 1), other(x)[0], **EXACT)
    with pytest.raises(ValueError, match="state must be of 2 sequences like inputs, not of 3"):
        net(x[:, :2].transpose(0, 1), state)


def test_it_makes_no_difference_where_nobody_looks_at_the_numbers(monkeypatch):
    """As on devices that are not waited for, with usage and search that do not know which rows are used."""
    net, x = small_sam(rows=40, learn_start=True), inputs(20)
    expected, state = net(x)
    right = gradients(net, expected.square().sum()), net.export_state(state)
    monkeypatch.setattr(tape, "new_usage", lambda *where: AccessStamps(*where))
    net.memory._tapes.clear()
    outputs, state = net(x)
    assert isinstance(state.memory.lease.tape.usage, AccessStamps)
    torch.testing.assert_close(outputs, expected, **EXACT)
    found = gradients(net, outputs.square().sum()), net.export_state(state)
    assert largest_difference(found[0], right[0]) < 1e-10
    used = right[1]["memory.ranks"].shape[1]
    assert torch.equal(found[1]["memory.ranks"][:, :used], right[1]["memory.ranks"])
