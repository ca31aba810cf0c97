"""The vanilla cell: one tanh layer."""

import torch

from graves_rnn_training.equations.units import Linearised, Units, UnitStructure

VANILLA = UnitStructure(
    gates=1, slots=1, input_slots=(0,), hidden_slots=(0,), factors=((True,),), carry=((False,),)
)
"""One slot, and no way past the weights."""


def vanilla_state(pre: Units, state: Units) -> Units:
    """h' = tanh(a).

    Args:
        pre: the pre-activation a = W_ih x + b_ih + W_hh h + b_hh.
        state: h, which enters through `pre` alone.
    """
    return (pre[0].tanh(),)


def vanilla_linearised(pre: Units, state: Units) -> Linearised:
    """The step with dh'/da = 1 - h'^2.

    Args:
        pre: as in `vanilla_state`, `(units, batch)`.
        state: as in `vanilla_state`.
    """
    new = pre[0].tanh()
    return Linearised(new[None], (1 - new**2)[None, None], torch.zeros_like(new)[None, None])
