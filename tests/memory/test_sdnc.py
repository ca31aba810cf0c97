"""The sparse DNC against whole matrices and a new memory at every step, and its states."""

import copy

import pytest
import torch
from dense_sdnc import DenseSDNC
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from graves_core.testing import peak_bytes
from graves_memory.layers.sdnc import SDNC

EXACT = {"rtol": 0, "atol": 1e-10}
TIGHT = {"rtol": 0, "atol": 1e-12}


WRITE, FIND, FORWARD, BACKWARD = range(4)
"""Commands of `reader`."""


def network(seed: int = 0, **others: object) -> SDNC:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 6, "rows": 11, "width": 4, "heads": 2, "reads": 2, "links": 3, "delta": 0.02}
    net = SDNC(5, 3, **(sizes | others)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        net.interface.weight.mul_(4)
        net.interface.bias.normal_()
    return net


def sequences(steps: int = 14, batch: int = 2, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, 5, generator=draw, dtype=torch.float64)


def reader(width: int) -> SDNC:
    """A network that does what four commands say: write a word, find it, and read the next or last one."""
    net = SDNC(width + 4, width, hidden_size=width + 4, rows=60, width=width, heads=1, reads=2, links=2)
    unit = torch.eye(width + 4)
    shown = torch.ones(()).tanh().tanh()
    sure = 50 / shown
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        into, forget, _, out = net.controller.bias_ih.view(4, -1)
        into += 50
        forget -= 50
        out += 50
        net.controller.weight_ih.view(4, width + 4, -1)[2, :, : width + 4] = unit
        interface = net.interface.weight
        interface[:width] = interface[width : 2 * width] = unit[:width] / shown
        alpha, gamma, beta, backward, content, forward = range(2 * width, 2 * width + 6)
        interface[alpha, width + WRITE] = 2 * sure
        net.interface.bias[alpha] = -50
        net.interface.bias[gamma] = -50
        net.interface.bias[beta] = 50
        interface[content, [width + WRITE, width + FIND]] = sure
        interface[forward, width + FORWARD] = sure
        interface[backward, width + BACKWARD] = sure
        net.output.weight[:, width + 4 :] = torch.eye(width)
    return net


def filled(net: SDNC, batch: int, seed: int = 2) -> dict[str, Tensor]:
    """The start of an episode in which all rows differ, so that no two weights are the same."""
    tensors = net.export_state(net.initial_state(batch))
    draw = torch.Generator().manual_seed(seed)
    shape = batch, net.memory.rows, net.width
    tensors["memory.memory"] = torch.randn(shape, generator=draw, dtype=torch.float64)
    tensors["memory.ranks"] = torch.zeros(shape[:2], dtype=torch.int64)
    return tensors


def replayed(net: SDNC, inputs: Tensor, start: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Outputs of the network and of whole matrices, whose reads and writes are compared on the way."""
    with net.recording() as record:
        outputs, _ = net(inputs, None if start is None else net.import_state(start))
    expected = []
    for b in range(inputs.shape[1]):
        dense = DenseSDNC(net, None if start is None else start["memory.memory"][b])
        for now, step in zip(inputs[:, b], record.steps, strict=True):
            output, weights, oldest = dense.step(now, step["read_rows"][b])
            expected.append(output)
            assert step["write_rows"][b, :, -1].tolist() == oldest
            found = torch.zeros_like(weights).scatter_add(1, step["read_rows"][b], step["read_weights"][b])
            torch.testing.assert_close(found, weights.detach(), **TIGHT)
    return outputs, torch.stack(expected).view(inputs.shape[1], -1, 3).transpose(0, 1)


def assert_same_gradients(net: SDNC, inputs: Tensor, outputs: Tensor, expected: Tensor) -> None:
    names = ["inputs", *dict(net.named_parameters())]
    factors = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    of_all = [
        torch.autograd.grad((each * factors).sum(), [inputs, *net.parameters()])
        for each in (outputs, expected)
    ]
    for name, found, wanted in zip(names, *of_all, strict=True):
        assert wanted.abs().max() > 1e-4, name
        torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("strengths", [True, False])
@pytest.mark.parametrize("learn_start", [True, False])
def test_outputs_and_all_gradients_are_those_of_whole_matrices(learn_start: bool, strengths: bool) -> None:
    net = network(learn_start=learn_start, strengths=strengths, links=11)
    inputs = sequences().requires_grad_()
    outputs, expected = replayed(net, inputs)
    torch.testing.assert_close(outputs, expected, **TIGHT)
    assert_same_gradients(net, inputs, outputs, expected)


@pytest.mark.parametrize(("seed", "links"), [(3, 1), (4, 3)])
def test_they_are_those_of_matrices_that_are_cut_at_every_step(seed: int, links: int) -> None:
    net = network(seed, links=links)
    inputs = sequences(seed=seed).requires_grad_()
    outputs, expected = replayed(net, inputs, filled(net, 2))
    torch.testing.assert_close(outputs, expected, **TIGHT)
    assert_same_gradients(net, inputs, outputs, expected)


def test_rows_are_read_in_the_order_in_which_they_were_written_and_back() -> None:
    width, length = 16, 8
    net = reader(width)
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(2, (length, width), generator=draw) * 2.0 - 1
    silent = torch.zeros(length - 1, width)
    given = torch.cat((words, words[:1], silent, silent))
    doing = [WRITE] * length + [FIND] + [FORWARD] * (length - 1) + [BACKWARD] * (length - 1)
    commands = torch.nn.functional.one_hot(torch.tensor(doing), 4)
    outputs, _ = net(torch.cat((given, commands), 1)[:, None])
    expected = torch.cat((words, words[:-1].flip(0)))
    torch.testing.assert_close(outputs[length:, 0], expected, rtol=0, atol=1e-2)


def test_outputs_depend_on_links() -> None:
    net = network(7, links=3)
    inputs = sequences(steps=6)
    outputs, _ = net(inputs)
    with torch.no_grad():
        net.interface.bias.view(net.heads, -1)[:, -3:] = torch.tensor([-80.0, 80.0, -80.0])
    by_content, _ = net(inputs)
    assert (outputs - by_content).abs().max() > 1e-3


def test_going_on_from_a_detached_state_is_one_pass() -> None:
    net, inputs = network(), sequences(15)
    expected, _ = net(inputs)
    found, state = [], None
    for piece in inputs.split(5):
        outputs, state = net(piece, state)
        outputs.sum().backward()
        state = net.detach(state)
        found.append(outputs.detach())
    torch.testing.assert_close(torch.cat(found), expected.detach(), **TIGHT)


def test_evaluation_reads_and_writes_as_training_does() -> None:
    net, inputs = network(), sequences()
    expected, _ = net(inputs)
    with torch.no_grad():
        torch.testing.assert_close(net(inputs)[0], expected.detach(), **TIGHT)
    with torch.inference_mode():
        torch.testing.assert_close(net(inputs)[0].clone(), expected.detach().clone(), **TIGHT)
    net(inputs)[0].sum().backward()


def test_an_episode_that_somebody_holds_is_not_disturbed() -> None:
    net, inputs = network(), sequences(10)
    expected, _ = net(inputs)
    first, state = net(inputs[:5])
    net(sequences(7, batch=3, seed=9))
    second, _ = net(inputs[5:], state)
    torch.testing.assert_close(torch.cat((first, second)), expected, **TIGHT)


def test_some_sequences_begin_anew() -> None:
    net, inputs = network(), sequences(10, batch=3)
    _, state = net(inputs[:5])
    outputs, _ = net(inputs[5:], net.reset(net.detach(state), torch.tensor([True, False, True])))
    fresh, _ = net(inputs[5:])
    torch.testing.assert_close(outputs[:, ::2], fresh[:, ::2], **TIGHT)
    torch.testing.assert_close(outputs[:, 1], net(inputs)[0][5:, 1], **TIGHT)


def test_an_exported_state_goes_on_bit_for_bit() -> None:
    net, inputs = network(), sequences(10, batch=3)
    with torch.no_grad():
        _, state = net(inputs[:5])
        tensors = net.export_state(state)
        expected, last = net(inputs[5:], state)
        kept = {name: tensor.clone() for name, tensor in net.export_state(last).items()}
        other = copy.deepcopy(net)
        outputs, again = other(inputs[5:], other.import_state(tensors))
    assert torch.equal(outputs, expected)
    for name, tensor in other.export_state(again).items():
        assert name == "link_starts" or torch.equal(tensor, kept[name]), name
    assert all(len(tensor) == 3 for tensor in tensors.values())


def test_a_state_of_another_network_is_refused() -> None:
    net = network()
    tensors = net.export_state(net.initial_state(1))
    with pytest.raises(ValueError, match=r"links\.fades"):
        net.import_state({name: tensors[name] for name in tensors if name != "links.marks"})


@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences_are_each_sequence_alone(enforce_sorted: bool) -> None:
    net = network()
    lengths = [9, 6, 2] if enforce_sorted else [2, 9, 6]
    pieces = [sequences(length, 1, seed)[:, 0] for seed, length in enumerate(lengths)]
    more = sequences(4, 3, seed=8)
    outputs, state = net(pack_sequence(pieces, enforce_sorted=enforce_sorted))
    padded, _ = pad_packed_sequence(outputs)
    later, _ = net(more, net.detach(state))
    for place, piece in enumerate(pieces):
        alone, own = net(piece[:, None])
        torch.testing.assert_close(padded[: len(piece), place], alone[:, 0], **TIGHT)
        after, _ = net(more[:, place, None], net.detach(own))
        torch.testing.assert_close(later[:, place], after[:, 0], **TIGHT)


def test_batch_first_changes_the_layout_alone() -> None:
    net, inputs = network(), sequences(batch=3)
    other = network(batch_first=True)
    torch.testing.assert_close(other(inputs.transpose(0, 1))[0].transpose(0, 1), net(inputs)[0], **TIGHT)


def test_memory_and_links_are_no_weights() -> None:
    net = network()
    before = set(net.state_dict())
    net(sequences())
    assert set(net.state_dict()) == before == set(dict(net.named_parameters()))
    copied = copy.deepcopy(net)
    torch.testing.assert_close(copied(sequences())[0], net(sequences())[0], **TIGHT)


def test_autocast_leaves_the_memory_in_single_precision() -> None:
    net = network().float()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = net(sequences().float())
        outputs.float().sum().backward()
    kinds = {value.dtype for value in state[:-1] if value.is_floating_point()}
    assert kinds == {torch.float32}
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_training_makes_no_number_infinite() -> None:
    net = network(rows=40, strengths=True).float()
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    for seed in range(12):
        inputs = 10 * sequences(20, seed=seed).float()
        outputs, _ = net(inputs)
        (outputs - inputs[..., :3]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(weight.isfinite().all() for weight in net.parameters())


def test_weights_that_are_read_add_up_to_one_at_most() -> None:
    net = network(links=4)
    with net.recording() as record:
        net(sequences(40))
    totals = torch.stack([step["read_weights"].sum(2) for step in record.steps])
    assert totals.max() <= 1 + 1e-12
    assert totals.min() >= 0


def test_there_is_at_least_one_link() -> None:
    with pytest.raises(ValueError, match="links must be at least 1, not 0"):
        SDNC(5, 3, links=0)


def test_backward_takes_all_writes_back() -> None:
    net = network()
    outputs, state = net(sequences())
    tape = state.memory.lease.tape
    assert tape.memory.any()
    outputs.sum().backward()
    assert not tape.memory.view(tape.batch, tape.rows, tape.width)[:, : tape.used].any()


def test_memory_of_a_step_does_not_depend_on_the_number_of_rows() -> None:
    peaks = []
    for rows in (64, 65_536):
        net = network(rows=rows)
        inputs = sequences(20)
        net(inputs)[0].sum().backward()
        peaks.append(peak_bytes(lambda net=net, inputs=inputs: net(inputs)[0].sum().backward()))
    assert peaks[1] < 1.2 * peaks[0]
