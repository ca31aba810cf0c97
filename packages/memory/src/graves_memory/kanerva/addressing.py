"""Where to look: weights over the rows of a memory."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from graves_memory.kanerva.precision import full_precision, safe_cholesky


@full_precision
def project_address(
    keys: Float[Tensor, "*batch key"], locations: Float[Tensor, "rows key"]
) -> Float[Tensor, "*batch rows"]:
    """w = A b, with every row of A scaled to length one, which bounds w by the length of the key.

    Source: Wu et al. 2018, "The Kanerva Machine"; the scaling of the rows is this package's choice.

    Args:
        keys: b.
        locations: A, the hard locations, of any length but zero.
    """
    return keys @ functional.normalize(locations, dim=-1).mT


@full_precision
def solve_address(
    mean: Float[Tensor, "*#batch rows code"],
    codes: Float[Tensor, "*#batch items code"],
    ridge: float | Float[Tensor, ""],
) -> Float[Tensor, "*batch items rows"]:
    """The most probable address of each code: (R R^T + ridge I)^-1 R z, ridge regression of z on R^T.

    Solved in whichever of the two spaces is smaller, rows or code.

    Source: Wu et al. 2018, "Learning Attractor Dynamics for Generative Memory"; with ridge = sigma^2 /
        sigma_w^2 it
    maximises p(z | w, M) p(w).

    Args:
        mean: R.
        codes: z, one in each row.
        ridge: positive.

    Example:
        >>> solve_address(2 * torch.eye(3), torch.tensor([[4.0, 0, 0]]), ridge=4.0).round(decimals=4)
        tensor([[1., 0., 0.]])
    """
    rows, size = mean.shape[-2:]
    if rows <= size:
        factor = safe_cholesky(mean @ mean.mT + ridge * _unit(rows, mean))
        return torch.cholesky_solve(mean @ codes.mT, factor).mT
    factor = safe_cholesky(mean.mT @ mean + ridge * _unit(size, mean))
    return (mean @ torch.cholesky_solve(codes.mT, factor)).mT


def _unit(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
