"""What the weights cost: divergences of diagonal posteriors from a shared prior, and their gradients.

Costs are given for each weight, in nats. The complexity loss of a network is their sum, never their mean.
A uniform prior costs a constant, which is left out; with a delta posterior so is that of its precision.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bayes.variational.posteriors import (
    Posterior,
    Weights,
    entropy,
    mean_distance,
    mean_distance_gradients,
    variance,
)

Prior = Literal["gaussian", "laplace", "uniform"]

Number = float | Float[Tensor, ""]


def weight_costs(
    posterior: Posterior,
    prior: Prior,
    mean: Weights,
    log_scale: Weights,
    prior_mean: Number,
    prior_scale: Number,
) -> Weights:
    """KL(posterior || prior) of each weight; single ones may be negative where a constant is left out.

    Args:
        posterior: family of the posterior.
        prior: family of the prior.
        mean: mean of each weight.
        log_scale: ln of each weight's scale; not looked at for a delta posterior.
        prior_mean: centre of the prior.
        prior_scale: standard deviation of a Gaussian prior, b of a Laplace prior.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> weight_costs("gaussian", "gaussian", one, zero, 0.0, 1.0)
        tensor([0.5000])

    Source: Graves 2011, eq. 13 for Gaussian posterior and prior.
    """
    difference = mean - prior_mean
    scale = torch.as_tensor(prior_scale, dtype=mean.dtype, device=mean.device)
    cost = -entropy(posterior, log_scale)
    if prior == "gaussian":
        second_moment = variance(posterior, log_scale) + difference.square()
        return cost + second_moment / (2 * scale.square()) + scale.log() + 0.5 * math.log(2 * math.pi)
    if prior == "laplace":
        return cost + mean_distance(posterior, difference, log_scale) / scale + (2 * scale).log()
    return cost


def cost_gradients(
    posterior: Posterior,
    prior: Prior,
    mean: Weights,
    log_scale: Weights,
    prior_mean: Number,
    prior_scale: Number,
) -> tuple[Weights, Weights]:
    """The gradients of `weight_costs` with respect to the means and to the logarithms of the scales.

    The second is 0 for a delta posterior.

    Args:
        posterior: family of the posterior.
        prior: family of the prior.
        mean: mean of each weight.
        log_scale: ln of each weight's scale.
        prior_mean: centre of the prior.
        prior_scale: standard deviation or b of the prior.

    Source: Graves 2011, from eq. 13, with the chain rule from the variance to the logarithm of its root.
    """
    difference = mean - prior_mean
    if prior == "gaussian":
        by_mean, by_log_scale = difference / prior_scale**2, variance(posterior, log_scale) / prior_scale**2
    elif prior == "laplace":
        gradients = mean_distance_gradients(posterior, difference, log_scale)
        by_mean, by_log_scale = (gradient / prior_scale for gradient in gradients)
    else:
        by_mean, by_log_scale = torch.zeros_like(mean), torch.zeros_like(log_scale)
    return by_mean, by_log_scale if posterior == "delta" else by_log_scale - 1
