"""Normal distributions with independent numbers, for addresses and codes."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.kanerva.precision import full_precision


class DiagonalNormal(NamedTuple):
    """N(mean, diag exp(log_variance)) for each leading index.

    Attributes:
        mean: `(*batch, size)`.
        log_variance: of a shape that broadcasts to that.

    Example:
        >>> DiagonalNormal(torch.zeros(4, 2), torch.zeros(4, 1)).sample().shape
        torch.Size([4, 2])
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draws with a gradient for mean and variance.

        Args:
            noise: standard normal numbers like the mean, instead of a draw.
            generator: the source of the draw.
        """
        if noise is None:
            mean = self.mean
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return self.mean + (self.log_variance / 2).exp() * noise


@full_precision
def kl_gaussian(new: DiagonalNormal, old: DiagonalNormal) -> Float[Tensor, "*batch"]:
    """KL(new || old) in nats, summed over the last axis.

    1/2 sum [s^2/s0^2 + (m - m0)^2/s0^2 - 1 - ln(s^2/s0^2)].

    Args:
        new: the first argument of the divergence.
        old: the second.
    """
    gap = new.log_variance - old.log_variance
    shift = (new.mean - old.mean).square() * (-old.log_variance).exp()
    return (gap.exp() - 1 - gap + shift).sum(-1) / 2


@full_precision
def kl_standard(new: DiagonalNormal) -> Float[Tensor, "*batch"]:
    """KL(new || N(0, I)) in nats, summed over the last axis.

    Args:
        new: the first argument of the divergence.
    """
    return (new.log_variance.exp() - 1 - new.log_variance + new.mean.square()).sum(-1) / 2
