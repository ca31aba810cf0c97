"""Cells of any kind: Jacobians and patterns by torch.func, wrapped modules, the GRU that resets before."""

import warnings

import pytest
import torch
from general_cells import LeakyCell, data
from torch import Tensor, nn

from graves_core.spec import build
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.reset_before import ResetBeforeGRUCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell

SLOW = "ignore:.*torch.func computes them"


def by_autograd(cell: OnlineCell, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """D and I of each sequence, one derivative at a time."""
    parameters = [value for _, value in cell.learned()]
    dynamics, immediate = [], []
    for x, before in zip(inputs, state, strict=True):
        leaf = before[None].clone().requires_grad_()
        rows = [
            torch.autograd.grad(s, [leaf, *parameters], retain_graph=True) for s in cell(x[None], leaf)[0]
        ]
        dynamics.append(torch.stack([row[0][0] for row in rows]))
        immediate.append(torch.stack([torch.cat([g.flatten() for g in row[1:]]) for row in rows]))
    return torch.stack(dynamics), torch.stack(immediate)


def point(cell: OnlineCell, batch: int = 3) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(batch, cell.input_size, generator=draw, dtype=torch.float64)
    return x, torch.randn(batch, cell.state_size, generator=draw, dtype=torch.float64)


@pytest.mark.filterwarnings(SLOW)
@pytest.mark.parametrize(
    "make",
    [
        LeakyCell,
        lambda: wrap_cell(nn.GRUCell(3, 4)),
        lambda: wrap_cell(nn.LSTMCell(3, 4)),
        lambda: ResetBeforeGRUCell(3, 4),
    ],
)
def test_jacobians_are_those_of_autograd(make) -> None:
    cell = make().double()
    inputs, state = point(cell)
    maps = cell.linear_maps(inputs, state)
    dynamics, immediate = by_autograd(cell, inputs, state)
    torch.testing.assert_close(maps.state, cell(inputs, state).detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(maps.dynamics, dynamics, rtol=0, atol=1e-12)
    torch.testing.assert_close(maps.immediate, immediate, rtol=0, atol=1e-12)
    assert not maps.immediate.requires_grad


@pytest.mark.filterwarnings(SLOW)
@pytest.mark.parametrize("make", [LeakyCell, lambda: ResetBeforeGRUCell(3, 4)])
def test_frozen_parameters_have_no_columns(make) -> None:
    cell = make().double()
    next(iter(cell.parameters())).requires_grad_(False)
    inputs, state = point(cell)
    torch.testing.assert_close(cell.linear_maps(inputs, state).immediate, by_autograd(cell, inputs, state)[1])
    assert cell.patterns()[1].shape[1] == sum(value.numel() for _, value in cell.learned())


def test_a_wholly_frozen_cell_has_no_columns_at_all() -> None:
    for cell in (wrap_cell(nn.GRUCell(3, 4)), ResetBeforeGRUCell(3, 4)):
        cell.requires_grad_(False)
        assert cell.patterns()[1].shape == (4, 0)


def test_that_torch_func_is_slower_is_said_once() -> None:
    cell = LeakyCell().double()
    with pytest.warns(UserWarning, match="LeakyCell has no Jacobians of its own"):
        cell.linear_maps(*point(cell))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell.linear_maps(*point(cell))


def test_a_cell_with_jacobians_of_its_own_says_nothing() -> None:
    cell = ResetBeforeGRUCell(3, 4).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell.linear_maps(*point(cell))


@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        ResetBeforeGRUCell(**({"input_size": 3, "hidden_size": 4} | {name: 0}))


def test_a_state_smaller_than_the_output_is_refused() -> None:
    with pytest.raises(ValueError, match="state_size must be at least hidden_size=6, got 5"):
        LeakyCell(units=5, seen=6)


def test_patterns_follow_masks_and_not_values() -> None:
    cell = LeakyCell()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    dynamics, immediate = cell.patterns()
    kept = cell.mask.bool() | torch.eye(5, dtype=torch.bool)
    assert torch.equal(dynamics, kept)
    own = torch.eye(5, dtype=torch.bool)
    recurrent = (own[:, :, None] & cell.mask.bool()).flatten(1)
    names = {"weight": recurrent, "mix.weight": own.repeat_interleave(3, 1), "mix.bias": own}
    assert torch.equal(immediate, torch.cat([names[name] for name, _ in cell.learned()], 1))


def test_patterns_of_a_wrapped_gru_are_those_of_the_built_in_one() -> None:
    expected, found = GRUCell(2, 4).patterns(), wrap_cell(nn.GRUCell(2, 4)).patterns()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_units_that_read_much_do_not_saturate_while_patterns_are_sought() -> None:
    _, immediate = wrap_cell(nn.RNNCell(40_000, 2)).patterns()
    assert (immediate.sum(0) == 1).all()


def test_patterns_leave_the_random_state_and_the_weights_alone() -> None:
    cell, before = LeakyCell(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in cell.state_dict().items()}
    cell.patterns()
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(cell.state_dict(), weights, rtol=0, atol=0)


def test_everything_in_the_reset_gates_reaches_every_unit_in_the_old_gru() -> None:
    cell = ResetBeforeGRUCell(3, 4)
    written, probed = cell.patterns(), OnlineCell.patterns(cell)
    assert all(torch.equal(a, b) for a, b in zip(written, probed, strict=True))
    assert written[1][:, : 4 * 3].all()


def test_the_old_gru_resets_before_the_product() -> None:
    cell = ResetBeforeGRUCell(3, 4).double()
    (x, h), w = point(cell), {name: value.detach() for name, value in cell.named_parameters()}
    (w_ir, w_iz, w_in), (w_hr, w_hz, w_hn) = w["weight_ih"].chunk(3), w["weight_hh"].chunk(3)
    (b_ir, b_iz, b_in), (b_hr, b_hz, b_hn) = w["bias_ih"].chunk(3), w["bias_hh"].chunk(3)
    r = torch.sigmoid(x @ w_ir.T + b_ir + h @ w_hr.T + b_hr)
    z = torch.sigmoid(x @ w_iz.T + b_iz + h @ w_hz.T + b_hz)
    c = torch.tanh(x @ w_in.T + b_in + b_hn + (r * h) @ w_hn.T)
    torch.testing.assert_close(cell(x, h).detach(), (1 - z) * c + z * h)


class Projected(nn.Module):
    """Returns an output of its own beside its state, a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 5)
        self.project = nn.Linear(5, 2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = self.cell(x, state)
        return self.project(h), (h, c)


class Seen(nn.Module):
    """Returns its state as the output, too."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 5)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, state)
        return h, h


def test_a_wrapped_lstm_has_the_state_h_and_then_c() -> None:
    module = nn.LSTMCell(3, 4)
    cell, x, state = wrap_cell(module), torch.randn(2, 3), torch.randn(2, 8)
    assert (cell.hidden_size, cell.state_size) == (4, 8)
    torch.testing.assert_close(cell(x, state), torch.cat(module(x, state.chunk(2, 1)), 1))


def test_an_output_of_its_own_stands_before_the_state() -> None:
    module = Projected()
    cell, x, state = wrap_cell(module, 3, [5, 5]), torch.randn(2, 3), torch.randn(2, 12)
    assert (cell.hidden_size, cell.state_size) == (2, 12)
    output, after = module(x, tuple(state[:, 2:].chunk(2, 1)))
    torch.testing.assert_close(cell(x, state), torch.cat([output, *after], 1))
    torch.testing.assert_close(cell.output(cell(x, state)), output)


def test_an_output_that_is_the_state_is_not_carried_twice() -> None:
    cell = wrap_cell(Seen(), 3, 5)
    assert (cell.hidden_size, cell.state_size) == (5, 5)
    x, state = torch.randn(2, 3), torch.randn(2, 5)
    torch.testing.assert_close(cell(x, state), cell.module.cell(x, state))


def test_what_wrap_cell_cannot_know_must_be_said() -> None:
    with pytest.raises(TypeError, match="wrap_cell needs input_size for a Projected"):
        wrap_cell(Projected())
    with pytest.raises(TypeError, match="wrap_cell needs state_sizes for a Projected"):
        wrap_cell(Projected(), 3)


def test_a_module_that_returns_another_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a state of the sizes \[6\]"):
        wrap_cell(nn.Bilinear(3, 6, 7), 3, 6)


def test_a_module_that_returns_no_state_is_refused() -> None:
    with pytest.raises(TypeError, match="must return its new state, a tuple of tensors"):
        wrap_cell(Broken(), 3, (5, 5))


class Broken(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 5)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return super().forward(x)


def test_a_rebuilt_wrapped_cell_says_why_it_cannot_be_loaded() -> None:
    cell = wrap_cell(nn.GRUCell(3, 4))
    again = build(cell.spec)
    with pytest.raises(RuntimeError, match="made by wrap_cell, from a module that a checkpoint cannot hold"):
        again.load_state_dict(cell.state_dict())


def test_weights_of_a_wrapped_cell_can_be_loaded_into_another() -> None:
    one, two = wrap_cell(nn.GRUCell(3, 4)), wrap_cell(nn.GRUCell(3, 4))
    two.load_state_dict(one.state_dict())
    x, state = data(1)[0][0].float(), torch.randn(2, 4)
    assert torch.equal(one(x, state), two(x, state))
