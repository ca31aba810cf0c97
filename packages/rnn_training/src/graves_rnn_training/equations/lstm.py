"""The long short-term memory: input, forget, cell and output gate."""

import torch
from torch import Tensor

from graves_rnn_training.equations.units import Linearised, Units, UnitStructure

LSTM = UnitStructure(
    gates=4,
    slots=4,
    input_slots=(0, 1, 2, 3),
    hidden_slots=(0, 1, 2, 3),
    factors=((True, True, True, True), (True, True, True, False)),
    carry=((False, True), (False, True)),
)
"""Slots i, f, g, o; parts h and c. The output gate does not touch c."""


def lstm_state(pre: Units, state: Units) -> Units:
    """c' = f c + i g; h' = o tanh(c').

    Args:
        pre: the pre-activations of i, f, g, o.
        state: h and c.
    """
    into, forget, new, out = _gates(pre)
    cell = forget * state[1] + into * new
    return out * cell.tanh(), cell


def lstm_linearised(pre: Units, state: Units) -> Linearised:
    """The step, and its derivatives by the four pre-activations and by c.

    Args:
        pre: as in `lstm_state`, each `(units, batch)`.
        state: as in `lstm_state`.
    """
    into, forget, new, out = _gates(pre)
    cell = forget * state[1] + into * new
    squashed = cell.tanh()
    by_cell = out * (1 - squashed**2)
    none = torch.zeros_like(cell)
    of_cell = (new * into * (1 - into), state[1] * forget * (1 - forget), into * (1 - new**2))
    of_output = (*[by_cell * factor for factor in of_cell], squashed * out * (1 - out))
    factors = torch.stack((*of_output, *of_cell, none)).view(2, 4, *cell.shape)
    carry = torch.stack((none, by_cell * forget, none, forget)).view(2, 2, *cell.shape)
    return Linearised(torch.stack((out * squashed, cell)), factors, carry)


def _gates(pre: Units) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """i, f, g and o."""
    return pre[0].sigmoid(), pre[1].sigmoid(), pre[2].tanh(), pre[3].sigmoid()
