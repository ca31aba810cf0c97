"""What every network does with sequences, packed batches and states."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, unpack_sequence

from graves_memory.layers.dam import DAM
from graves_memory.layers.dnc import DNC
from graves_memory.layers.lstm import LSTMNetwork
from graves_memory.layers.network import MemoryNetwork
from graves_memory.layers.ntm import NTM

Net = MemoryNetwork[Any]
SMALL = {"hidden_size": 5, "rows": 6, "width": 4, "heads": 2}
MAKERS: dict[str, Callable[..., Net]] = {
    "ntm": lambda **given: NTM(3, 2, **SMALL, **given),
    "dnc": lambda **given: DNC(3, 2, **SMALL, **given),
    "dnc-all": lambda **given: DNC(
        3, 2, **SMALL, write_heads=2, masked_keys=True, erase_freed=True, sharpen_links=True, **given
    ),
    "dam": lambda **given: DAM(3, 2, **SMALL, **given),
    "lstm": lambda **given: LSTMNetwork(3, 2, hidden_size=5, num_layers=2, **given),
}
LENGTHS = [4, 7, 1, 7, 5]
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[..., Net]:
    def made(**given: bool) -> Net:
        torch.manual_seed(0)
        return MAKERS[request.param](**given).double()

    return made


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def sequences() -> list[Tensor]:
    return [x[:length] for x, length in zip(drawn(5, 7, 3), LENGTHS, strict=True)]


def assert_same(found: Any, expected: Any) -> None:
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(found, name), value, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def test_packed_sequences_give_what_each_gives_alone(make: Callable[..., Net]) -> None:
    net, xs = make(), sequences()
    packed, state = net(pack_sequence(xs, enforce_sorted=False))
    assert isinstance(packed, PackedSequence)
    for place, (x, found) in enumerate(zip(xs, unpack_sequence(packed), strict=True)):
        expected, final = net(x[:, None])
        torch.testing.assert_close(found, expected[:, 0], **CLOSE)
        assert_same(net.narrow(state, 1, start=place), final)


def test_packed_sequences_go_on_from_states_in_the_users_order(make: Callable[..., Net]) -> None:
    net, xs = make(), sequences()
    _, before = net(drawn(6, 5, 3))
    packed, state = net(pack_sequence(xs, enforce_sorted=False), before)
    for place, (x, found) in enumerate(zip(xs, unpack_sequence(packed), strict=True)):
        expected, final = net(x[:, None], net.narrow(before, 1, start=place))
        torch.testing.assert_close(found, expected[:, 0], **CLOSE)
        assert_same(net.narrow(state, 1, start=place), final)


def test_packed_sequences_that_are_sorted_need_no_indices(make: Callable[..., Net]) -> None:
    net, xs = make(), sorted(sequences(), key=len, reverse=True)
    packed, state = net(pack_sequence(xs))
    assert packed.unsorted_indices is None
    for place, x in enumerate(xs):
        assert_same(net.narrow(state, 1, start=place), net(x[:, None])[1])


def test_gradients_of_packed_sequences_are_those_of_each_alone(make: Callable[..., Net]) -> None:
    net, xs = make(), sequences()
    packed, _ = net(pack_sequence(xs, enforce_sorted=False))
    packed.data.square().sum().backward()
    found = [value.grad for value in net.parameters()]
    net.zero_grad()
    sum(net(x[:, None])[0].square().sum() for x in xs).backward()
    for gradient, value in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(gradient, value.grad, rtol=1e-8, atol=1e-10)


def test_batch_first_is_a_matter_of_layout_alone(make: Callable[..., Net]) -> None:
    x = drawn(7, 4, 3)
    (outputs, state), (other, other_state) = make()(x), make(batch_first=True)(x.transpose(0, 1))
    assert other.shape == (4, 7, 2)
    torch.testing.assert_close(other.transpose(0, 1), outputs, **CLOSE)
    assert_same(other_state, state)


def test_batch_first_packs_as_torch_does(make: Callable[..., Net]) -> None:
    x = drawn(7, 5, 3)
    given = pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)
    torch.testing.assert_close(make(batch_first=True)(given)[0].data, make()(given)[0].data)


def test_outputs_do_not_depend_on_the_rest_of_the_batch(make: Callable[..., Net]) -> None:
    net, x = make(), drawn(7, 4, 3)
    outputs, _ = net(x)
    for b in range(4):
        torch.testing.assert_close(net(x[:, b : b + 1])[0][:, 0], outputs[:, b], **CLOSE)


def test_the_same_input_gives_the_same_output_each_time(make: Callable[..., Net]) -> None:
    net, x = make(), drawn(7, 4, 3)
    assert torch.equal(net(x)[0], net(x)[0])


def test_a_sequence_in_two_parts_gives_the_same(make: Callable[..., Net]) -> None:
    net, x = make(), drawn(8, 4, 3)
    outputs, state = net(x)
    first, middle = net(x[:5])
    second, end = net(x[5:], middle)
    torch.testing.assert_close(torch.cat([first, second]), outputs, **CLOSE)
    assert_same(end, state)


def test_steps_one_by_one_give_the_same(make: Callable[..., Net]) -> None:
    net, x = make(), drawn(6, 4, 3)
    state, outputs = net.initial_state(4), []
    for inputs in net.prepare(x):
        features, state = net.step(inputs, state)
        outputs.append(net.readout(features))
    expected, final = net(x)
    torch.testing.assert_close(torch.stack(outputs), expected, **CLOSE)
    assert_same(state, final)


def test_an_exported_state_goes_on_exactly(make: Callable[..., Net], tmp_path: Any) -> None:
    net, x = make(), drawn(8, 4, 3)
    _, state = net(x[:5])
    torch.save(net.export_state(state), tmp_path / "state.pt")
    loaded = net.import_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(net(x[5:], loaded)[0], net(x[5:], state)[0])


def test_a_reset_sequence_begins_anew_and_the_others_go_on(make: Callable[..., Net]) -> None:
    net, x = make(), drawn(8, 4, 3)
    _, state = net(x[:5])
    outputs, _ = net(x[5:], net.reset(state, torch.tensor([True, False, True, False])))
    fresh, on = net(x[5:])[0], net(x[5:], state)[0]
    torch.testing.assert_close(outputs, torch.stack([fresh[:, 0], on[:, 1], fresh[:, 2], on[:, 3]], dim=1))


def test_no_gradient_passes_a_reset(make: Callable[..., Net]) -> None:
    net, x = make(), drawn(8, 2, 3).requires_grad_()
    _, state = net(x[:5])
    outputs, _ = net(x[5:], net.reset(state, torch.tensor([True, False])))
    outputs.square().sum().backward()
    assert x.grad[:5, 0].abs().max() == 0
    assert x.grad[:5, 1].abs().max() > 0


def test_a_detached_state_has_the_values_without_the_history(make: Callable[..., Net]) -> None:
    net = make()
    _, state = net(drawn(5, 2, 3))
    detached = net.detach(state)
    assert_same(detached, state)
    assert not any(value.requires_grad for value in detached)


def test_a_reordered_state_has_its_sequences_in_that_order(make: Callable[..., Net]) -> None:
    net, x, order = make(), drawn(5, 3, 3), torch.tensor([2, 0, 1])
    assert_same(net.reorder(net(x)[1], order), net(x[:, order])[1])


def test_narrow_states_join_to_the_whole(make: Callable[..., Net]) -> None:
    net = make()
    _, state = net(drawn(5, 3, 3))
    assert_same(net.join([net.narrow(state, 1), net.narrow(state, 2, start=1)]), state)


def test_inputs_of_another_size_are_refused(make: Callable[..., Net]) -> None:
    with pytest.raises(ValueError, match=r"inputs must be \(time, batch, 3\) or packed, not \(5, 2, 4\)"):
        make()(drawn(5, 2, 4))


def test_no_time_step_is_refused(make: Callable[..., Net]) -> None:
    with pytest.raises(ValueError, match="inputs must have at least 1 time step, not 0"):
        make(batch_first=True)(drawn(5, 0, 3))


def test_a_state_of_another_batch_is_refused(make: Callable[..., Net]) -> None:
    net = make()
    with pytest.raises(ValueError, match="state must be of 4 sequences like inputs, not of 3"):
        net(drawn(5, 4, 3), net.initial_state(3))


def test_tensors_of_another_state_are_refused(make: Callable[..., Net]) -> None:
    with pytest.raises(ValueError, match=r"tensors must be named .*'hidden'.*, not \['h'\]"):
        make().import_state({"h": torch.zeros(1)})
