"""Guidance by the gradient of a likelihood."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graves_bfn.flows.arrays import mapped
from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.flows.losses import Params
from graves_bfn.guidance.control import Control, share


class GradientGuidance(Control):
    """Draws data given an observation c, from its likelihood log p(c | beliefs, t) alone.

    After every step the beliefs move up the gradient, by the variance that the step adds to them times it:
    logits by K (beta(t) - beta(s)) times the gradient, means by (beta(t) - beta(s))/rho(t)^2 times it. With
    scale 1 and the exact likelihood that is sampling from the posterior; larger scales exaggerate. The
    gradient is taken after the step and not before it, which meets the observation more often. Where it is
    not finite, as that of the logarithm of a probability that underflowed, it does not pull.

    Args:
        log_likelihood: maps network inputs and times `(batch,)` to ln p(c | beliefs) `(batch,)`,
            differentiable: a classifier of beliefs, say. One that holds a row per example has a method
            `rows`, see `ConditionedNetwork`.
        scale: how strongly.

    Raises:
        ValueError: when `scale` is negative.

    Source: derived from the stochastic equation of the beliefs (Xue et al. 2024); Dhariwal and Nichol 2021.

    Example:
        >>> from graves_bfn import DiscreteFlow, SDESolver
        >>> starts_with_2 = GradientGuidance(lambda theta, t: theta[:, 0, 2].log())
        >>> network = lambda theta, t: theta.log()
        >>> g = torch.Generator().manual_seed(0)
        >>> x = SDESolver().sample(
        ...     DiscreteFlow(3, 3.0), network, (100, 4), 20, controls=[starts_with_2], generator=g)
        >>> bool((x[:, 0] == 2).float().mean() > 0.9)
        True
    """

    def __init__(self, log_likelihood: Callable[[Any, Tensor], Tensor], scale: float = 1.0) -> None:
        if scale < 0:
            raise ValueError(f"scale must be at least 0, not {scale}")
        self.log_likelihood = log_likelihood
        self.scale = scale

    def rows(self, part: slice) -> Any:
        """The same for some of the examples."""
        some = copy.copy(self)
        some.log_likelihood = share(self.log_likelihood, part)
        return some

    def moved(self, flow: Flow, step: GenerationStep, params: Params, t: float) -> Params:
        """The beliefs after the pull of the gradient where the step has led to."""
        # tensors that were made in inference mode, as a Trainer does, record gradients only as copies
        with torch.inference_mode(False), torch.enable_grad():
            beliefs, leaves = flow.leaves(mapped(torch.clone, params))
            clock = leaves[0].new_full((len(leaves[0]),), t)
            total = self.log_likelihood(flow.network_inputs(beliefs), clock).sum()
            gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        pull = [self.scale * torch.nan_to_num(gradient, 0.0, 0.0, 0.0) for gradient in gradients]
        return flow.nudge(params, pull, step.time, t)
