"""Influence as a Kronecker product of a vector and a matrix that is right on average.

A sequence keeps a vector u over what a row of weights multiplies and a matrix A over units, such that the
mean of u_j A_ki over random signs is the influence of the weight of source j in unit i on unit k.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.influence.rank_one import EPSILON


def kronecker_step(
    row: Float[Tensor, "batch sources"],
    moved: Float[Tensor, "batch units units"],
    source: Float[Tensor, "batch sources"],
    factors: Float[Tensor, "batch units"],
    signs: Float[Tensor, "batch two"],
) -> tuple[Float[Tensor, "batch sources"], Float[Tensor, "batch units units"]]:
    """u' = c_1 p_1 u + c_2 p_2 v and A' = c_1 / p_1 D A + c_2 / p_2 diag(d).

    The scales p_1^2 = |D A| / |u| and p_2^2 = |d| / |v| make both factors equally long.

    Args:
        row: u.
        moved: D A.
        source: v, what the weights of a unit multiply.
        factors: d, the derivative of each unit by its pre-activation.
        signs: c_1 and c_2.

    Source: Mujika et al. 2018, algorithm 1.
    """
    lengths = (moved.flatten(1), row, factors, source)
    by_moved, by_row, by_factors, by_source = (x.norm(dim=1, keepdim=True) + EPSILON for x in lengths)
    old, new = signs[:, :1] * (by_moved / by_row).sqrt(), signs[:, 1:] * (by_factors / by_source).sqrt()
    matrix = moved / old[..., None] + torch.diag_embed(factors / new)
    return old * row + new * source, matrix
