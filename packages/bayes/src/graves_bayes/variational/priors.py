"""The prior that makes a given posterior cheapest, which is fitted after every update of the weights."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bayes.variational.posteriors import (
    Posterior,
    Weights,
    mean_distance,
    mean_distance_gradients,
    variance,
)

HALVINGS = 40
"""Steps that find the centre of a Laplace prior to the last digit of float32."""


def gaussian_prior(
    posterior: Posterior,
    mean: Weights,
    log_scale: Weights,
    prior_mean: Float[Tensor, ""] | float | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Centre and standard deviation of the best Gaussian prior.

    Args:
        posterior: family of the posterior.
        mean: mean of each weight.
        log_scale: ln of each weight's scale.
        prior_mean: a centre that stays as it is; by default the best one.

    Example:
        >>> gaussian_prior("delta", torch.tensor([1.0, 3.0]), torch.zeros(2))
        (tensor(2.), tensor(1.))

    Source: Graves 2011, the minimum of eq. 13.
    """
    centre = mean.mean() if prior_mean is None else torch.as_tensor(prior_mean).to(mean)
    second_moment = variance(posterior, log_scale) + (mean - centre).square()
    return centre, second_moment.mean().sqrt()


def laplace_prior(
    posterior: Posterior,
    mean: Weights,
    log_scale: Weights,
    prior_mean: Float[Tensor, ""] | float | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Centre and b of the best Laplace prior.

    The centre of a delta posterior is the median of the weights. That of the others is the median of all that
    the posteriors draw, which is found by halving an interval.

    Args:
        posterior: family of the posterior.
        mean: mean of each weight.
        log_scale: ln of each weight's scale.
        prior_mean: a centre that stays as it is; by default the best one.

    Example:
        >>> laplace_prior("delta", torch.tensor([1.0, 2.0, 6.0]), torch.zeros(3))
        (tensor(2.), tensor(1.6667))

    Source: Graves 2011, on delta posteriors; the other posteriors by the same argument.
    """
    if prior_mean is not None:
        centre = torch.as_tensor(prior_mean).to(mean)
    elif posterior == "delta":
        centre = mean.median()
    else:
        centre = _median(posterior, mean, log_scale)
    return centre, mean_distance(posterior, mean - centre, log_scale).mean()


def joined(parts: Sequence[Tensor]) -> Float[Tensor, " all_weights"]:
    """All weights of several tensors in one vector.

    Args:
        parts: the tensors.
    """
    return torch.cat([part.reshape(-1) for part in parts])


def _median(posterior: Posterior, mean: Weights, log_scale: Weights) -> Float[Tensor, ""]:
    """Where half of the mixture of all posteriors lies to the left."""
    low, high = mean.min(), mean.max()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = mean_distance_gradients(posterior, mean - middle, log_scale)[0].sum()
        low, high = torch.where(slope > 0, middle, low), torch.where(slope > 0, high, middle)
    return (low + high) / 2
