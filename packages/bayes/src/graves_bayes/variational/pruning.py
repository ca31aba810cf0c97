"""Which weights a network can do without: those whose posterior holds 0 for nearly as likely as its mode."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TYPICAL = math.sqrt(math.log(2))
"""Up to this threshold, 0.8326, the pruned weights are at least as likely as a draw from the posterior is on
average. Source: Graves 2011, eq. 20."""


def signal_to_noise(mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`|mu| / sigma` of each weight.

    Args:
        mean: of the posterior.
        std: its standard deviations, at least 0; a weight that is 0 for certain has no signal.

    Example:
        >>> signal_to_noise(torch.tensor([-3.0, 0.0]), torch.tensor([2.0, 0.0]))
        tensor([1.5000, 0.0000])
    """
    return torch.where(mean == 0, torch.zeros_like(mean), mean.abs() / std)


def threshold_of_density(gamma: float) -> float:
    """The lambda for which a weight goes when its density at 0 exceeds gamma times that of its mode.

    Args:
        gamma: from 0, where all goes, to 1, where nothing does.

    Raises:
        ValueError: when gamma is out of range.

    Source: Graves 2011, on pruning: `lambda = sqrt(-2 ln gamma)`.

    Example:
        >>> threshold_of_density(1.0), threshold_of_density(0.0)
        (0.0, inf)
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be from 0 to 1, not {gamma}")
    return math.sqrt(2 * abs(math.log(gamma))) if gamma else math.inf


def density_of_threshold(threshold: float) -> float:
    """The gamma of a lambda.

    Args:
        threshold: lambda, at least 0.

    Raises:
        ValueError: when it is negative.

    Source: Graves 2011, on pruning: `gamma = exp(-lambda^2 / 2)`.

    Example:
        >>> round(density_of_threshold(TYPICAL) ** 2, 6)
        0.5
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, not {threshold}")
    return math.exp(-(threshold**2) / 2)


def kept_weights(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], threshold: float
) -> Bool[Tensor, "*shape"]:
    """Which weights are left: those with `|mu| / sigma >= lambda`. A lambda of 0 removes nothing.

    Args:
        mean: of the posterior.
        std: its standard deviations.
        threshold: lambda.

    Raises:
        ValueError: when lambda is negative.

    Source: Graves 2011, on pruning.

    Example:
        >>> kept_weights(torch.tensor([0.0, -1.0, 2.0]), torch.ones(3), threshold=1.0)
        tensor([False,  True,  True])
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, not {threshold}")
    return signal_to_noise(mean, std) >= threshold


def fraction_kept(mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """The share of weights that are left.

    Args:
        mask: True for those that are left.
    """
    return mask.to(torch.get_default_dtype()).mean()
