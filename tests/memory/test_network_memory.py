"""What the networks with a dense memory do with it, and that their numbers stay finite."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graves_core.spec import build
from graves_memory.layers.dam import DAM
from graves_memory.layers.dense import DenseMemoryNetwork
from graves_memory.layers.dnc import DNC
from graves_memory.layers.lstm import LSTMNetwork
from graves_memory.layers.ntm import NTM

Net = DenseMemoryNetwork[Any]
SMALL = {"hidden_size": 8, "rows": 10, "width": 4, "heads": 2}
FIXES = {"masked_keys": True, "erase_freed": True, "sharpen_links": True}
MAKERS: dict[str, Callable[[], Net]] = {
    "ntm": lambda: NTM(3, 2, **SMALL),
    "dnc": lambda: DNC(3, 2, **SMALL),
    "dnc-released": lambda: DNC(3, 2, **SMALL, write_heads=2, variant="released"),
    "dnc-fixed": lambda: DNC(3, 2, **SMALL, **FIXES),
    "dam": lambda: DAM(3, 2, **SMALL),
}


@pytest.fixture(params=list(MAKERS))
def net(request: pytest.FixtureRequest) -> Net:
    torch.manual_seed(0)
    return MAKERS[request.param]()


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_what_was_read_reaches_the_controller_of_the_next_step(net: Net) -> None:
    given = []
    net.controller.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    words, state = [], net.initial_state(2)
    for inputs in drawn(6, 2, 3):
        words.append(state.words.flatten(1))
        _, state = net.step(inputs, state)
    for seen, before in zip(given, words, strict=True):
        assert torch.equal(seen[:, 3:], before)
    assert words[-1].abs().max() > 0


def test_what_was_read_changes_the_next_hidden_state(net: Net) -> None:
    state = net.initial_state(1)
    changed = state._replace(words=torch.ones_like(state.words))
    one, other = (net.step(torch.zeros(1, 3), s)[1].hidden for s in (state, changed))
    assert (one - other).abs().max() > 1e-3


def test_what_was_read_are_the_rows_by_their_weights(net: Net) -> None:
    with net.recording() as record:
        _, before = net(drawn(5, 2, 3))
        _, after = net(drawn(1, 2, 3), before)
    memory = before.memory if isinstance(net, NTM) else after.memory
    expected = torch.einsum("bhn,bnw->bhw", record.steps[-1]["read_weights"], memory)
    torch.testing.assert_close(after.words, expected)


def test_large_inputs_over_a_long_run_leave_all_numbers_finite(net: Net) -> None:
    x = (1000 * drawn(300, 2, 3)).requires_grad_()
    outputs, state = net(x)
    outputs.square().mean().backward()
    assert outputs.isfinite().all()
    assert all(value.isfinite().all() for value in state)
    assert all(value.grad.isfinite().all() for value in [x, *net.parameters()])


def test_zeros_everywhere_leave_all_gradients_finite(net: Net) -> None:
    for value in net.parameters():
        torch.nn.init.zeros_(value)
    outputs, _ = net(torch.zeros(20, 2, 3))
    outputs.sub(1).square().sum().backward()
    assert all(value.grad.isfinite().all() for value in net.parameters())


def test_training_with_large_weights_leaves_all_numbers_finite(net: Net) -> None:
    for value in net.parameters():
        torch.nn.init.normal_(value, std=5.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(10):
        loss = net(drawn(20, 2, 3))[0].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(value.isfinite().all() for value in net.parameters())


def test_the_clip_limits_cell_and_interface(net: Net) -> None:
    net.clip = 0.25
    for value in net.parameters():
        torch.nn.init.constant_(value, 3.0)
    _, state = net(drawn(8, 2, 3))
    control = net.control(drawn(2, 3), state.words, state.hidden, state.cell)
    assert state.cell.abs().max() <= 0.25
    assert control.interface.abs().max() == 0.25


def test_all_parameters_get_a_gradient(net: Net) -> None:
    net(drawn(6, 2, 3))[0].square().sum().backward()
    assert all(value.grad.abs().max() > 0 for value in net.parameters())


def test_each_step_is_recorded_without_a_graph(net: Net) -> None:
    with net.recording() as record:
        net(drawn(6, 2, 3))
    net(drawn(4, 2, 3))
    assert len(record.steps) == 6
    for step in record.steps:
        assert step["read_weights"].shape == (2, 2, 10)
        assert step["write_weights"].shape[::2] == (2, 10)
        assert not step["read_weights"].requires_grad


def test_the_memory_stays_in_float32_under_autocast(net: Net) -> None:
    x = drawn(6, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = net(x)
        outputs.float().square().mean().backward()
    assert {value.dtype for value in state} == {torch.float32}
    torch.testing.assert_close(outputs.float(), net(x)[0], rtol=0.1, atol=0.05)


def test_a_network_is_built_again_from_its_spec(net: Net) -> None:
    other = build(net.spec)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(drawn(5, 2, 3))[0], net(drawn(5, 2, 3))[0])


@pytest.mark.parametrize("name", ["input_size", "output_size", "hidden_size", "rows", "width", "heads"])
@pytest.mark.parametrize("kind", [NTM, DNC, DAM])
def test_sizes_less_than_one_are_refused(kind: type[Net], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        kind(**{"input_size": 3, "output_size": 2} | {name: 0})


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("kind", [NTM, DNC, DAM])
def test_a_clip_that_is_not_positive_is_refused(kind: type[Net], clip: float) -> None:
    with pytest.raises(ValueError, match=f"clip must be positive or None, not {clip}"):
        kind(3, 2, clip=clip)


def test_layers_less_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match="num_layers must be at least 1, not 0"):
        LSTMNetwork(3, 2, num_layers=0)


def test_the_network_without_memory_is_torchs_lstm() -> None:
    net, x = LSTMNetwork(3, 2, hidden_size=5, num_layers=2), drawn(7, 4, 3)
    expected, (h, c) = net.lstm(x)
    outputs, state = net(x)
    torch.testing.assert_close(outputs, net.output(expected))
    torch.testing.assert_close(state.hidden, h.transpose(0, 1))
    torch.testing.assert_close(state.cell, c.transpose(0, 1))
