"""Diagonal posteriors over weights: their entropies, moments and draws.

Each weight has a mean and a scale, stored as its logarithm: the standard deviation of a Gaussian, the b of a
Laplace distribution. A delta posterior has all its mass on the mean, and no scale.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Posterior = Literal["gaussian", "laplace", "delta"]

Weights = Float[Tensor, "*weights"]


def entropy(posterior: Posterior, log_scale: Weights) -> Weights:
    """The differential entropy of each weight in nats; that of a delta counts as 0, its constant left out.

    Args:
        posterior: the family.
        log_scale: ln of each scale.

    Example:
        >>> entropy("laplace", torch.zeros(1))
        tensor([1.6931])
    """
    if posterior == "gaussian":
        return log_scale + 0.5 * math.log(2 * math.pi * math.e)
    if posterior == "laplace":
        return log_scale + 1 + math.log(2)
    return torch.zeros_like(log_scale)


def variance(posterior: Posterior, log_scale: Weights) -> Weights:
    """The variance of each weight.

    Args:
        posterior: the family.
        log_scale: ln of each scale.

    Example:
        >>> variance("laplace", torch.zeros(1))
        tensor([2.])
    """
    if posterior == "delta":
        return torch.zeros_like(log_scale)
    squared = (2 * log_scale).exp()
    return squared if posterior == "gaussian" else 2 * squared


def mean_distance(posterior: Posterior, difference: Weights, log_scale: Weights) -> Weights:
    """The expected distance of each weight from a point.

    Args:
        posterior: the family.
        difference: the weights' means minus the point.
        log_scale: ln of each scale.

    Example:
        >>> mean_distance("gaussian", torch.zeros(1), torch.zeros(1))
        tensor([0.7979])
    """
    distance = difference.abs()
    if posterior == "delta":
        return distance
    scale = log_scale.exp()
    if posterior == "laplace":
        return distance + scale * (-distance / scale).exp()
    ratio = difference / scale
    return scale * _half_normal(ratio) + difference * torch.erf(ratio / math.sqrt(2))


def mean_distance_gradients(
    posterior: Posterior, difference: Weights, log_scale: Weights
) -> tuple[Weights, Weights]:
    """The gradients of `mean_distance` with respect to the means and to the logarithms of the scales.

    Args:
        posterior: the family.
        difference: the weights' means minus the point.
        log_scale: ln of each scale.
    """
    if posterior == "delta":
        return difference.sign(), torch.zeros_like(difference)
    scale = log_scale.exp()
    ratio = difference / scale
    if posterior == "gaussian":
        return torch.erf(ratio / math.sqrt(2)), scale * _half_normal(ratio)
    tail = (-ratio.abs()).exp()
    return difference.sign() * (1 - tail), scale * tail * (1 + ratio.abs())


def draw_(posterior: Posterior, noise: Weights, generator: torch.Generator | None = None) -> Weights:
    """Fills a tensor with draws of scale 1 around 0.

    Args:
        posterior: the family; draws of a delta are 0.
        noise: the tensor, which is returned.
        generator: source of the draws; by default torch's global one.
    """
    if posterior == "delta":
        return noise.zero_()
    if posterior == "gaussian":
        return noise.normal_(generator=generator)
    noise.uniform_(-1, 1, generator=generator)
    size = noise.abs().clamp_(max=1 - torch.finfo(noise.dtype).eps).neg_().log1p_()
    return noise.sign_().mul_(size.neg_())


def _half_normal(ratio: Weights) -> Weights:
    """Twice the density of the standard normal distribution."""
    return math.sqrt(2 / math.pi) * (-0.5 * ratio.square()).exp()
