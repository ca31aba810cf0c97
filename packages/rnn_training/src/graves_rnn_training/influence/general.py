"""Influence of any cell as full matrices, of which a pattern says what is kept."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_dense_step(
    influence: Float[Tensor, "batch state parameters"],
    dynamics: Float[Tensor, "batch state state"],
    immediate: Float[Tensor, "batch state parameters"],
    mask: Bool[Tensor, "state parameters"] | None = None,
) -> Float[Tensor, "batch state parameters"]:
    """J' = D J + I, and zero where the mask says so.

    Args:
        influence: J.
        dynamics: D, of the state by the state before.
        immediate: I, of the state by the parameters with the state before held fixed.
        mask: what is kept; everything by default.

    Source: Williams and Zipser 1989; with a mask, Menick et al. 2020, section 3.
    """
    new = torch.baddbmm(immediate, dynamics, influence)
    return new if mask is None else new.masked_fill_(~mask, 0)


def reached_within(
    dynamics: Bool[Tensor, "state state"], immediate: Bool[Tensor, "state parameters"], order: int
) -> Bool[Tensor, "state parameters"]:
    """S_n, the numbers of the state that each parameter reaches within `order` steps.

    S_1 is the pattern of I, and S_n = S_(n-1) or nz(D) S_(n-1). Stops early when nothing is added any more.

    Args:
        dynamics: where D can be other than zero.
        immediate: where I can be other than zero.
        order: n, at least 1.

    Source: Menick et al. 2020, section 3.
    """
    edges, reached = dynamics.float(), immediate
    for _ in range(order - 1):
        more = reached | (edges @ reached.float() > 0)
        if more.equal(reached):
            break
        reached = more
    return reached
