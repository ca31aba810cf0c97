"""Predictions of many networks as one: their mean, its entropy, and how far they disagree."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor

Sampler = Callable[[], AbstractContextManager[None]]
"""Makes a block in which a network computes with one sample of its weights."""


def sampled_predictions(sampler: Sampler, predict: Callable[[], Tensor], samples: int) -> Tensor:
    """What a network predicts under several samples of its weights, stacked in front.

    Args:
        sampler: such as `optimizer.sampled` of `IVON`, or `partial(sampled_weights, posterior)`.
        predict: computes the prediction with the weights of the moment.
        samples: how many.

    Raises:
        ValueError: when samples is less than 1.

    Example:
        >>> from contextlib import nullcontext
        >>> sampled_predictions(nullcontext, lambda: torch.zeros(2, 3), samples=5).shape
        torch.Size([5, 2, 3])
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    told = []
    for _ in range(samples):
        with sampler():
            told.append(predict())
    return torch.stack(told)


def posterior_predictive(
    log_probs: Float[Tensor, "samples *batch classes"],
) -> Float[Tensor, "*batch classes"]:
    """Log-probabilities of the mean of the networks' predictive distributions.

    Args:
        log_probs: of each network.

    Example:
        >>> posterior_predictive(torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()).exp()
        tensor([0.7000, 0.3000])

    Source: Graves 2011: the prediction of the whole posterior.
    """
    return torch.logsumexp(log_probs, 0) - math.log(len(log_probs))


def entropy_of(log_probs: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """The entropy of predictive distributions, in nats.

    Args:
        log_probs: log-probabilities, of which some may be -inf.

    Example:
        >>> entropy_of(torch.tensor([0.5, 0.5, 0.0]).log())
        tensor(0.6931)
    """
    entropy: Tensor = torch.special.entr(log_probs.exp()).sum(-1)
    return entropy


def mutual_information(log_probs: Float[Tensor, "samples *batch classes"]) -> Float[Tensor, "*batch"]:
    """How much a label would tell about the weights, in nats: what the networks do not agree on.

    The entropy of their mean minus the mean of their entropies: 0 when all say the same, at most the
    logarithm of their number.

    Args:
        log_probs: of each network.

    Example:
        >>> mutual_information(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log())
        tensor(0.6931)

    Source: Houlsby et al. 2011, "Bayesian active learning for classification and preference learning".
    """
    return entropy_of(posterior_predictive(log_probs)) - entropy_of(log_probs).mean(0)
