"""Influence as an outer product of two vectors, right on average: unbiased online recurrent optimisation.

A sequence keeps one vector s~ as long as its state and one vector theta~ as long as the parameters, such that
the mean of s~ theta~^T over random signs is the influence J.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.equations.units import Linearised, UnitStructure

EPSILON = 1e-5
"""Added to norms before they are divided."""


class Scales(NamedTuple):
    """How old and new share the noise between the two vectors, for each sequence.

    Args:
        old: rho_0, by which D s~ is multiplied and theta~ divided.
        new: rho_1, by which the signs are multiplied and nu^T I divided.
    """

    old: Float[Tensor, " batch"]
    new: Float[Tensor, " batch"]


def balance(
    parameters: Float[Tensor, " batch"],
    moved: Float[Tensor, " batch"],
    immediate: Float[Tensor, " batch"],
    signs: Float[Tensor, " batch"],
) -> Scales:
    """Scales that make the two vectors equally long: rho_0^2 = |theta~| / |D s~|, rho_1^2 = |nu^T I| / |nu|.

    Args:
        parameters: the norm of theta~.
        moved: of D s~.
        immediate: of nu^T I.
        signs: of nu.

    Source: Tallec and Ollivier 2017, section 3.3.
    """
    old = (parameters + EPSILON) / (moved + EPSILON)
    new = (immediate + EPSILON) / (signs + EPSILON)
    return Scales(old.sqrt(), new.sqrt())


def rank_one_step(
    parameters: Float[Tensor, "batch parameters"],
    moved: Float[Tensor, "batch state"],
    immediate: Float[Tensor, "batch parameters"],
    signs: Float[Tensor, "batch state"],
    in_place: bool,
) -> tuple[Float[Tensor, "batch state"], Float[Tensor, "batch parameters"]]:
    """s~' = rho_0 D s~ + rho_1 nu and theta~' = theta~ / rho_0 + nu^T I / rho_1.

    Args:
        parameters: theta~.
        moved: D s~.
        immediate: nu^T I.
        signs: nu.
        in_place: overwrite theta~.

    Source: Tallec and Ollivier 2017, algorithm 1.
    """
    old, new = (
        scale[:, None] for scale in balance(*(x.norm(dim=1) for x in (parameters, moved, immediate, signs)))
    )
    parameters = parameters if in_place else parameters.clone()
    return old * moved + new * signs, parameters.div_(old).addcdiv_(immediate, new)


def moved_by_units(
    direction: Float[Tensor, "parts units batch"],
    step: Linearised,
    weight: Float[Tensor, "rows units"],
    structure: UnitStructure,
) -> Float[Tensor, "parts units batch"]:
    """D s~ of a cell whose parameters each touch one unit.

    Args:
        direction: s~.
        step: with its derivatives.
        weight: the recurrent weights, blocks of gates one under the other.
        structure: of the cell.
    """
    through = (weight @ direction[0]).view(structure.gates, *direction.shape[1:])
    by_gate = step.factors[:, list(structure.hidden_slots)]
    return (by_gate * through).sum(1) + (step.carry * direction).sum(1)


def signed_factors(
    step: Linearised, signs: Float[Tensor, "parts units batch"]
) -> Float[Tensor, "slots units batch"]:
    """nu^T I of a cell whose parameters each touch one unit: what a source v is multiplied by in each slot.

    Args:
        step: with its derivatives.
        signs: nu.
    """
    return (step.factors * signs[:, None]).sum(0)
