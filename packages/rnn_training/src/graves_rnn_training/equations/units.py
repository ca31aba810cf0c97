"""Cells whose parameters each touch one unit in one step: which derivatives there are, and their values."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

Units = tuple[Float[Tensor, "*units"], ...]
"""Several tensors of one shape: the slots of all units, or their parts."""


class UnitStructure(NamedTuple):
    """Which numbers a unit has, which weights feed it, and which derivatives can be other than zero.

    Args:
        gates: blocks of rows of the weight matrices, as torch orders them.
        slots: pre-activations of a unit.
        input_slots: the slot that each block of the input weights feeds.
        hidden_slots: the slot that each block of the recurrent weights feeds.
        factors: for every part of a unit, whether it depends on each slot.
        carry: for every part of a unit, whether it depends on each part before, other than through weights.
    """

    gates: int
    slots: int
    input_slots: tuple[int, ...]
    hidden_slots: tuple[int, ...]
    factors: tuple[tuple[bool, ...], ...]
    carry: tuple[tuple[bool, ...], ...]

    @property
    def parts(self) -> int:
        """How many numbers a unit has: its output, and what else it remembers."""
        return len(self.factors)


class Linearised(NamedTuple):
    """The state after a step, and all that is needed to know its derivatives.

    A unit has `parts` numbers (one, or for an LSTM its output h and its cell c) and `slots`
    pre-activations. A parameter multiplies one source v (an input, an output of the step before, or 1) in one
    slot of one unit. The derivatives of unit i, with W_k and V_k the recurrent and input weights of slot k:

    - by a parameter of slot k with source v: `factors[:, k, i] * v`, and none by parameters of other units;
    - by output j of the step before: sum over k of `factors[:, k, i] * W_k[i, j]`, for j = i also
      `carry[:, 0, i]`;
    - by part q of its own state before, other than the output: `carry[:, q, i]`;
    - by input j: sum over k of `factors[:, k, i] * V_k[i, j]`.

    Args:
        state: the new state.
        factors: derivative of each part by each slot.
        carry: derivative of each part by each part of the same unit before that does not go through weights.

    Example:
        >>> import torch
        >>> from graves_rnn_training.equations.vanilla import vanilla_linearised
        >>> step = vanilla_linearised((torch.zeros(4, 2),), (torch.zeros(4, 2),))
        >>> step.factors.shape, step.factors.unique()
        (torch.Size([1, 1, 4, 2]), tensor([1.]))
    """

    state: Float[Tensor, "parts units batch"]
    factors: Float[Tensor, "parts slots units batch"]
    carry: Float[Tensor, "parts parts units batch"]


class Columns(NamedTuple):
    """What each parameter does, one after another.

    Args:
        slot: the pre-activation that it feeds.
        unit: the unit whose.
        source: what it multiplies, as an index into inputs, then outputs of the step before, then 1.
    """

    slot: Int[Tensor, " parameters"]
    unit: Int[Tensor, " parameters"]
    source: Int[Tensor, " parameters"]


def pre_activations(
    structure: UnitStructure,
    given: Float[Tensor, "gates *units"],
    kept: Float[Tensor, "gates *units"],
) -> Units:
    """The pre-activation of each slot.

    Args:
        structure: of the cell.
        given: what comes from the inputs, W_ih x + b_ih.
        kept: what comes from the step before, W_hh h + b_hh.
    """
    found: dict[int, Tensor] = {}
    for slots, values in ((structure.input_slots, given), (structure.hidden_slots, kept)):
        for slot, value in zip(slots, values.unbind(0), strict=True):
            found[slot] = found[slot] + value if slot in found else value
    return tuple(found[slot] for slot in range(structure.slots))
