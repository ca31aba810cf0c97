"""Normal distributions over matrices whose columns are independent: what a Kanerva memory is.

`MN(R, U)` with R of shape K x C stands for vec(M) ~ N(vec R, I_C kron U): each of the C columns of M is
normal around that of R with the K x K covariance U.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.kanerva.precision import full_precision, log_determinant, safe_cholesky


class MatrixNormal(NamedTuple):
    """Memories, one for each leading index.

    Attributes:
        mean: R, `(*batch, rows, code)`.
        covariance: U, `(*batch, rows, rows)`, that of every column.

    Example:
        >>> memory = MatrixNormal(torch.zeros(8, 3), torch.eye(8))
        >>> memory.rows, memory.code_size
        (8, 3)
    """

    mean: Tensor
    covariance: Tensor

    @property
    def rows(self) -> int:
        """K, the number of rows."""
        return self.mean.shape[-2]

    @property
    def code_size(self) -> int:
        """C, the number of columns."""
        return self.mean.shape[-1]


@full_precision
def kl_matrix_normal(new: MatrixNormal, old: MatrixNormal) -> Float[Tensor, "*batch"]:
    """KL(new || old) in nats, with the whole covariances.

    Source: Wu et al. 2018, "The Kanerva Machine", for V = I:
    1/2 [C (tr(U0^-1 U1) - K + ln|U0| - ln|U1|) + tr((R1 - R0)^T U0^-1 (R1 - R0))].

    Args:
        new: the first argument of the divergence.
        old: the second; leading axes broadcast.
    """
    factor, before = safe_cholesky(new.covariance), safe_cholesky(old.covariance)
    spread = _solve_lower(before, factor).square().sum((-2, -1))
    shift = _solve_lower(before, new.mean - old.mean).square().sum((-2, -1))
    volume = log_determinant(before) - log_determinant(factor)
    return (new.code_size * (spread - new.rows + volume) + shift) / 2


@full_precision
def sample_matrix_normal(
    memory: MatrixNormal,
    noise: Float[Tensor, "*batch rows code"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch rows code"]:
    """Draws a memory: R + L E with U = L L^T.

    Args:
        memory: the distribution.
        noise: standard normal numbers E to use instead of a draw.
        generator: the source of the draw.
    """
    if noise is None:
        mean = memory.mean
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return memory.mean + safe_cholesky(memory.covariance) @ noise


def _solve_lower(factor: Tensor, right: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(factor, right, upper=False)
    return solved
