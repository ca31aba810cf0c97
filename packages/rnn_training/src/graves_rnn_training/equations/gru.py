"""The gated recurrent unit that resets after the matrix product, as torch computes it."""

import torch
from torch import Tensor

from graves_rnn_training.equations.units import Linearised, Units, UnitStructure

GRU = UnitStructure(
    gates=3,
    slots=4,
    input_slots=(0, 1, 2),
    hidden_slots=(0, 1, 3),
    factors=((True, True, True, True),),
    carry=((True,),),
)
"""Slots r, z, n, u; the parts of the candidate are slots of their own, because r is multiplied in between."""


def gru_state(pre: Units, state: Units) -> Units:
    """h' = (1 - z) c + z h with c = tanh(n + r u).

    Args:
        pre: four pre-activations: of the reset gate r, of the update gate z, and of the candidate the part n
            from the inputs (W_in x + b_in) and the part u from the state (W_hn h + b_hn).
        state: h.
    """
    _, update, candidate = _gates(pre)
    return (update * state[0] + (1 - update) * candidate,)


def gru_linearised(pre: Units, state: Units) -> Linearised:
    """The step, and its derivatives by the four pre-activations; z of the state is carried along.

    Args:
        pre: as in `gru_state`, each `(units, batch)`.
        state: as in `gru_state`.
    """
    reset, update, candidate = _gates(pre)
    (hidden,), recurrent = state, pre[3]
    by_new = (1 - update) * (1 - candidate**2)
    by_update = (hidden - candidate) * update * (1 - update)
    by_reset = by_new * recurrent * reset * (1 - reset)
    new = update * hidden + (1 - update) * candidate
    factors = torch.stack((by_reset, by_update, by_new, by_new * reset))
    return Linearised(new[None], factors[None], update[None, None])


def _gates(pre: Units) -> tuple[Tensor, Tensor, Tensor]:
    """r, z and c."""
    reset, update = pre[0].sigmoid(), pre[1].sigmoid()
    return reset, update, (pre[2] + reset * pre[3]).tanh()
