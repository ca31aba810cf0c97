"""One step of each cell, and its derivatives, against autograd."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from reference_setting import KINDS, PARTS, Kind
from torch import Tensor, nn

from graves_rnn_training.equations.gru import gru_linearised, gru_state
from graves_rnn_training.equations.lstm import lstm_linearised, lstm_state
from graves_rnn_training.equations.vanilla import vanilla_linearised, vanilla_state

UNITS, BATCH = 5, 3
SLOTS = {"vanilla": 1, "gru": 4, "lstm": 4}
Equation = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Any]
LINEARISED: dict[Kind, Equation] = {
    "vanilla": vanilla_linearised,
    "gru": gru_linearised,
    "lstm": lstm_linearised,
}
STATE: dict[Kind, Equation] = {
    "vanilla": vanilla_state,
    "gru": gru_state,
    "lstm": lstm_state,
}


def drawn(kind: Kind) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pre = torch.randn(SLOTS[kind], UNITS, BATCH, generator=generator, dtype=torch.float64)
    return pre, torch.randn(PARTS[kind], UNITS, BATCH, generator=generator, dtype=torch.float64)


def new_state(kind: Kind, pre: Tensor, state: Tensor) -> Tensor:
    return torch.stack(STATE[kind](pre.unbind(), state.unbind()))


def own_derivatives(jacobian: Tensor) -> Tensor:
    """The derivatives by numbers of the same unit and sequence, of `(out, unit, batch, in, unit, batch)`."""
    return torch.einsum("pubqub->pqub", jacobian)


@pytest.mark.parametrize("kind", KINDS)
def test_factors_are_the_derivatives_by_the_pre_activations(kind: Kind) -> None:
    pre, state = drawn(kind)
    jacobian = torch.autograd.functional.jacobian(lambda a: new_state(kind, a, state), pre)
    found = LINEARISED[kind](pre.unbind(), state.unbind()).factors
    torch.testing.assert_close(found, own_derivatives(jacobian), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_carry_is_the_derivative_by_the_state_itself(kind: Kind) -> None:
    pre, state = drawn(kind)
    jacobian = torch.autograd.functional.jacobian(lambda s: new_state(kind, pre, s), state)
    found = LINEARISED[kind](pre.unbind(), state.unbind()).carry
    torch.testing.assert_close(found, own_derivatives(jacobian), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_depends_on_its_own_pre_activations_alone(kind: Kind) -> None:
    pre, state = drawn(kind)
    jacobian = torch.autograd.functional.jacobian(lambda a: new_state(kind, a, state), pre)
    others = jacobian.clone()
    index = torch.arange(UNITS)
    others[:, index, :, :, index] = 0
    assert not others.any()


@pytest.mark.parametrize("kind", KINDS)
def test_both_functions_give_the_same_state(kind: Kind) -> None:
    pre, state = drawn(kind)
    found = LINEARISED[kind](pre.unbind(), state.unbind()).state
    torch.testing.assert_close(found, new_state(kind, pre, state), rtol=0, atol=1e-15)


def cells() -> list[tuple[Kind, nn.RNNCellBase]]:
    torch.manual_seed(0)
    made = (nn.RNNCell(2, UNITS), nn.GRUCell(2, UNITS), nn.LSTMCell(2, UNITS))
    return list(zip(KINDS, (cell.double() for cell in made), strict=True))


@pytest.mark.parametrize(("kind", "cell"), cells())
def test_states_are_those_of_torch(kind: Kind, cell: nn.RNNCellBase) -> None:
    x = torch.randn(BATCH, 2, dtype=torch.float64)
    state = drawn(kind)[1]
    given = (cell.weight_ih @ x.T + cell.bias_ih[:, None]).unflatten(0, (-1, UNITS))
    kept = (cell.weight_hh @ state[0] + cell.bias_hh[:, None]).unflatten(0, (-1, UNITS))
    pre = torch.cat([given[:2] + kept[:2], given[2:], kept[2:]]) if kind == "gru" else given + kept
    args = (state[0].T, state[1].T) if kind == "lstm" else state[0].T
    expected = cell(x, args)
    expected = torch.stack([part.T for part in expected] if kind == "lstm" else [expected.T])
    torch.testing.assert_close(new_state(kind, pre, state), expected, rtol=0, atol=1e-14)
