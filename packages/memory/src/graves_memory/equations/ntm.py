"""How the neural Turing machine moves its heads.

Source: Graves, Wayne and Danihelka 2014, equations 5 to 9.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.equations.addressing import Strengths, Weights, sharpened


def interpolated(content: Weights, before: Weights, gates: Strengths) -> Weights:
    """g w_c + (1 - g) w_{t-1}.

    Args:
        content: weights by content, w_c.
        before: weights of the step before.
        gates: g, between 0 and 1.
    """
    return torch.lerp(before, content, gates[..., None])


def shifted(weights: Weights, shifts: Float[Tensor, "batch heads 3"]) -> Weights:
    """The sum over j of w[(i - j) mod N] s(j): +1 moves to the next row, and the rows are a ring.

    Args:
        weights: of each head.
        shifts: a distribution over the shifts -1, 0 and +1, in that order.
    """
    back, stay, on = shifts[..., None].unbind(2)
    return weights.roll(-1, -1) * back + weights * stay + weights.roll(1, -1) * on


def head_weights(
    content: Weights,
    before: Weights,
    gates: Strengths,
    shifts: Float[Tensor, "batch heads 3"],
    powers: Strengths,
) -> Weights:
    """Where the heads stand after interpolation, shift and sharpening.

    Args:
        content: as in `interpolated`.
        before: as in `interpolated`.
        gates: as in `interpolated`.
        shifts: as in `shifted`.
        powers: gamma, at least 1.
    """
    return sharpened(shifted(interpolated(content, before, gates), shifts), powers)
