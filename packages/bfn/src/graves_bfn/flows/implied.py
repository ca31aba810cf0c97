"""The data that normal beliefs and the predicted noise in them imply, with derivatives worked out by hand.

x = mu/gamma - sqrt((1 - gamma)/gamma) eps; with the scale s = sqrt((1 - gamma)/gamma), 1/gamma is 1 + s^2.
Where the scale is 0 the noise is not used, whatever it is, and x is 0. Scales and weights are functions of
the time alone, which is not learned: they get no gradient.

Source: Graves et al. 2023, section 4.4.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_bfn.flows.arrays import first_derivatives_only, over_variables

UNBOUNDED = (-math.inf, math.inf)
"""Bounds of data that have none."""


def implied_data(
    mean: Float[Tensor, "batch *variables"],
    noise: Float[Tensor, "batch *variables"],
    scale: Tensor,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Float[Tensor, "batch *variables"]:
    """x, clipped to the bounds.

    Args:
        mean: mu, of the beliefs.
        noise: eps, what the network says.
        scale: s, which broadcasts over the variables.
        bounds: low and high.
    """
    x: Tensor = _Implied.apply(mean, noise, scale, bounds)  # type: ignore[no-untyped-call]
    return x


def implied_error(
    mean: Float[Tensor, "batch *variables"],
    noise: Float[Tensor, "batch *variables"],
    scale: Tensor,
    bounds: tuple[float, float],
    x: Float[Tensor, "batch *variables"],
    weight: Tensor,
    where: Bool[Tensor, "batch *variables"] | None = None,
) -> Float[Tensor, " batch"]:
    """Per example half the weighted squared distance of x from the implied data, where that counts.

    Args:
        mean: as in `implied_data`.
        noise: as in `implied_data`.
        scale: as in `implied_data`.
        bounds: as in `implied_data`.
        x: the data.
        weight: not negative; broadcasts over the variables.
        where: which variables count; None for all.
    """
    cost: Tensor = _Error.apply(mean, noise, scale, bounds, x, weight.sqrt(), where)  # type: ignore[no-untyped-call]
    return cost


def _clipped(mean: Tensor, noise: Tensor, scale: Tensor, bounds: tuple[float, float]) -> Tensor:
    x = torch.addcmul(noise, mean, scale, value=-1)
    torch.addcmul(mean, x, scale, value=-1, out=x)
    # 0 times NaN is NaN, but as an integer 0; five times as fast as masks
    bits = x.view(torch.int64 if x.dtype == torch.float64 else torch.int32)
    bits.mul_(scale.bool())
    return x.clamp_(*bounds)


def _sources(ctx: Any, inside: Tensor, factor: Tensor | float, scale: Tensor) -> tuple[Tensor | None, Tensor]:
    """The gradients of mean and noise from that of x, which is `inside` times a factor."""
    used = factor * (1 + scale.square()) * (scale != 0) if ctx.needs_input_grad[0] else None
    return None if used is None else inside * used, inside * (-factor * scale)


class _Implied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, noise: Tensor, scale: Tensor, bounds: tuple[float, float]) -> Tensor:
        x = _clipped(mean, noise, scale, bounds)
        ctx.bounds = bounds
        ctx.save_for_backward(x, scale)
        return x

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        inside = torch.ops.aten.hardtanh_backward(grads[0], x, *ctx.bounds)
        return *_sources(ctx, inside, 1.0, scale), None, None


class _Error(torch.autograd.Function):
    """What the backward pass needs is one tensor per variable, made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        noise: Tensor,
        scale: Tensor,
        bounds: tuple[float, float],
        x: Tensor,
        root: Tensor,
        where: Tensor | None,
    ) -> Tensor:
        implied = _clipped(mean, noise, scale, bounds)
        error = (implied - x).mul_(root)
        if where is not None:
            error.masked_fill_(~where, 0.0)
        norm: Tensor = torch.linalg.vector_norm(error.unsqueeze(-1).flatten(1), dim=1)
        inside = torch.ops.aten.hardtanh_backward.grad_input(error, implied, *bounds, grad_input=error)
        ctx.save_for_backward(inside, scale, root)
        return norm.square() / 2

    @staticmethod
    @first_derivatives_only
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inside, scale, root = ctx.saved_tensors
        factor = root * over_variables(grads[0], inside.ndim)
        return *_sources(ctx, inside, factor, scale), None, None, None, None, None
