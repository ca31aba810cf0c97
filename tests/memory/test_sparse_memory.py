"""What a sparse memory costs, and what it does with its room."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from graves_core.testing import peak_bytes
from graves_memory.layers.sam import SAM
from graves_memory.layers.sparse.memory import SparseMemory

MIB = 2**20


def sam(rows: int, **others) -> SAM:
    torch.manual_seed(0)
    return SAM(10, 8, rows=rows, **others)


def backward(net: SAM, steps: int, batch: int = 1) -> None:
    net(torch.randn(steps, batch, 10))[0].square().mean().backward()


def peak(net: SAM, steps: int) -> int:
    """Of an episode after a short one, which leaves little behind that could be given back."""
    backward(net, 2)
    return peak_bytes(lambda: backward(net, steps))


@pytest.mark.parametrize("rows", [2**10, 2**20])
def test_a_hundred_steps_need_less_than_16_mib_whatever_the_number_of_rows(rows):
    net = sam(rows)
    backward(net, 100)
    assert peak(net, 100) < 16 * MIB


def test_memory_grows_by_the_same_amount_with_every_step():
    net = sam(2**16, hidden_size=16)
    backward(net, 250)
    sizes = [peak(net, steps) for steps in (150, 200, 250)]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=0.1)


def test_a_memory_of_a_million_rows_is_no_longer_at_work_than_one_of_few():
    """By operations: neither initial values nor a search go over all rows."""
    net = sam(2**20)
    backward(net, 3)
    tape = net.memory._tapes[0][0]
    assert tape.filled < 200
    assert tape.search._scratch.numel() < 4000


def test_room_is_used_again_by_the_next_episode():
    net = sam(2**10)
    places = set()
    for batch in (4, 2, 4, 3):
        backward(net, 2, batch)
        ((tape, lease),) = net.memory._tapes
        assert lease() is None
        places.add(tape.memory.data_ptr())
    assert len(places) == 1


def test_an_episode_that_is_held_keeps_its_room():
    net = sam(2**10)
    outputs, state = net(torch.randn(2, 1, 10))
    _, second = net(torch.randn(2, 1, 10))
    assert state.memory.lease.tape is not second.memory.lease.tape
    del outputs, state
    third = net.initial_state(1)
    assert len(net.memory._tapes) == 2
    assert third.memory.lease.tape is not second.memory.lease.tape


def test_a_memory_is_no_part_of_the_state_dict_and_has_no_buffers():
    net = sam(2**10)
    backward(net, 2)
    assert not list(net.buffers())
    assert set(net.state_dict()) == {
        *(f"controller.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        *("interface.weight", "interface.bias", "output.weight", "output.bias"),
    }


def test_networks_can_be_copied_and_pickled_in_the_middle_of_an_episode():
    net = sam(2**20)
    outputs, _ = net(torch.randn(3, 1, 10))
    x = torch.randn(5, 2, 10)
    stored = pickle.dumps(net)
    assert len(stored) < MIB
    for other in (copy.deepcopy(net), pickle.loads(stored)):
        assert not other.memory._tapes
        torch.testing.assert_close(other(x)[0], net(x)[0])
    outputs.sum().backward()


def test_a_whole_network_can_be_saved():
    net, file = sam(2**10), io.BytesIO()
    backward(net, 2)
    torch.save(net, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    x = torch.randn(2, 1, 10)
    torch.testing.assert_close(other(x)[0], net(x)[0])


def test_parameters_can_change_their_type_between_episodes():
    net = sam(2**10)
    backward(net, 2)
    net.double()
    outputs, state = net(torch.randn(2, 1, 10, dtype=torch.float64))
    assert outputs.dtype == state.memory.lease.tape.dtype == torch.float64
    net.float()
    backward(net, 2)
    assert {tape.dtype for tape, _ in net.memory._tapes} == {torch.float64, torch.float32}


def test_under_autocast_the_memory_is_of_single_precision():
    net, x = sam(2**10), torch.randn(5, 2, 10)
    expected, _ = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = net(x)
    assert state.words.dtype == state.hidden.dtype == state.memory.lease.tape.dtype == torch.float32
    torch.testing.assert_close(outputs.float(), expected, rtol=0.05, atol=0.05)
    outputs.float().square().mean().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in net.parameters())


def test_parameters_of_half_precision_get_gradients():
    net = sam(2**10).bfloat16()
    outputs, state = net(torch.randn(5, 2, 10, dtype=torch.bfloat16))
    assert outputs.dtype == torch.bfloat16
    assert state.words.dtype == torch.float32
    outputs.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_a_memory_first_used_in_inference_mode_can_be_trained_with():
    net, x = sam(2**10), torch.randn(3, 2, 10)
    with torch.inference_mode():
        net(x)
    expected = sam(2**10)(x)[0]
    outputs = net(x)[0]
    torch.testing.assert_close(outputs, expected)
    outputs.sum().backward()


def test_a_trained_start_can_change_between_episodes():
    net, x = sam(64, learn_start=True), torch.randn(4, 2, 10)
    backward(net, 4)
    with torch.no_grad():
        net.start.normal_()
    other = copy.deepcopy(net)
    torch.testing.assert_close(net(x)[0], other(x)[0])


def test_deterministic_algorithms_give_the_same_gradients():
    net, x = sam(12), torch.randn(20, 3, 10)
    gradients = []
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        try:
            net.zero_grad()
            net(x)[0].square().mean().backward()
        finally:
            torch.use_deterministic_algorithms(False)
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_nothing_is_nan_when_training_starts_from_an_empty_memory():
    net = SAM(4, 3, hidden_size=8, rows=12, width=4, heads=2, reads=3)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(60):
        optimizer.zero_grad()
        x = torch.randn(8, 2, 4) * (step % 3)
        loss = net(x)[0].square().mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        assert loss.isfinite()
        assert norm.isfinite()
        optimizer.step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0}, "rows must be at least 1, not 0"),
        ({"reads": 0}, "reads must be at least 1, not 0"),
        ({"rows": 3}, "rows must be at least 4 for heads=4 and reads=4, not 3"),
        ({"delta": 1.0}, "delta must be at least 0 and less than 1, not 1.0"),
        ({"clip": 0.0}, "clip must be positive or None, not 0.0"),
        ({"search": "lsh"}, "search must be one of"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SAM(3, 2, **arguments)


def test_an_episode_needs_a_sequence():
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        SparseMemory(8, 2).begin(0, torch.zeros(()))
