"""Variational learning by natural gradients: the steps of IVON's mean and curvature.

The loss is a mean over examples. `curvature` is the diagonal of its expected Hessian, `weight_decay` that of
the negative log prior by the number of examples; the posterior's precision is that number times their sum.
"""

import torch
from torch import Tensor


def posterior_precisions(curvature: list[Tensor], weight_decay: float, examples: float) -> list[Tensor]:
    """One by the variance of each weight.

    Args:
        curvature: of the mean loss.
        weight_decay: of the mean loss.
        examples: how many the data set has.

    Example:
        >>> posterior_precisions([torch.tensor([3.0])], weight_decay=1.0, examples=25)
        [tensor([100.])]

    Source: Shen et al. 2024, algorithm 1.
    """
    precision = torch._foreach_add(curvature, weight_decay)
    torch._foreach_mul_(precision, examples)
    return list(precision)


def posterior_stds(curvature: list[Tensor], weight_decay: float, examples: float) -> list[Tensor]:
    """The standard deviation of each weight.

    Args:
        curvature: of the mean loss.
        weight_decay: of the mean loss.
        examples: how many the data set has.

    Example:
        >>> posterior_stds([torch.tensor([3.0])], weight_decay=1.0, examples=25)
        [tensor([0.1000])]
    """
    precision = posterior_precisions(curvature, weight_decay, examples)
    torch._foreach_sqrt_(precision)
    torch._foreach_reciprocal_(precision)
    return precision


def update_curvature_(
    curvature: list[Tensor], estimate: list[Tensor], weight_decay: float, beta: float
) -> None:
    """Moves the curvature towards an estimate, so that its sum with the weight decay stays positive.

    Args:
        curvature: of the mean loss, changed in place.
        estimate: gradient times deviation from the mean, by the posterior's variance.
        weight_decay: of the mean loss.
        beta: how much of the curvature is kept.

    Example:
        >>> curvature = [torch.tensor([1.0])]
        >>> update_curvature_(curvature, [torch.tensor([3.0])], weight_decay=1.0, beta=0.5)
        >>> curvature
        [tensor([2.2500])]

    Source: Shen et al. 2024, algorithm 1: `h <- b h + (1 - b) e + (1 - b)^2 (h - e)^2 / (2 (h + d))`.
    """
    step = torch._foreach_sub(estimate, curvature)
    torch._foreach_mul_(step, 1 - beta)
    precision = torch._foreach_add(curvature, weight_decay)
    torch._foreach_add_(curvature, step)
    torch._foreach_mul_(step, step)
    torch._foreach_addcdiv_(curvature, step, precision, value=0.5)


def update_mean_(
    mean: list[Tensor],
    momentum: list[Tensor],
    curvature: list[Tensor],
    weight_decay: float,
    lr: float,
    debias: float,
    clip: float | None,
) -> None:
    """Makes a step of Newton's method.

    Args:
        mean: of the posterior, changed in place.
        momentum: average of past gradients.
        curvature: of the mean loss.
        weight_decay: of the mean loss.
        lr: length of the step.
        debias: what the momentum is divided by, because it began at 0.
        clip: bound of each weight's step before it is multiplied with `lr`; None for no bound.

    Example:
        >>> mean = [torch.tensor([1.0])]
        >>> update_mean_(mean, [torch.tensor([0.3])], [torch.tensor([2.0])], 1.0, 1.0, 0.1, None)
        >>> mean
        [tensor([-0.3333])]

    Source: Shen et al. 2024, algorithm 1.
    """
    step = torch._foreach_div(momentum, debias)
    torch._foreach_add_(step, mean, alpha=weight_decay)
    torch._foreach_div_(step, torch._foreach_add(curvature, weight_decay))
    if clip is not None:
        torch._foreach_clamp_min_(step, -clip)
        torch._foreach_clamp_max_(step, clip)
    torch._foreach_add_(mean, step, alpha=-lr)
