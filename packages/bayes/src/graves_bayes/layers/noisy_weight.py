"""The matrix of a layer with factorised noise, formed and differentiated without a matrix of noise."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bayes.noise.draws import FactorisedNoise
from graves_bayes.noise.forms import NoisyWeights, sampled_weight

BLOCK = 400_000
"""Numbers that are worked on at a time, few enough to stay in the processor's cache."""
SMALL = 65_536
"""Matrices up to this size are left to autograd."""


def factorised_weight(weights: NoisyWeights, noise: FactorisedNoise) -> Float[Tensor, "outputs inputs"]:
    """W = mu + sigma * (F E^T), as `sampled_weight`, with less memory traffic for large matrices.

    Gradients of the means are those of the matrix; those of sigma are their products with the noise, which
    is made again. Under `torch.compile` and in transforms of `torch.func` it is `sampled_weight` itself.

    Args:
        weights: of the layer.
        noise: one for all rows.

    Example:
        >>> weights = NoisyWeights(torch.zeros(2, 2), torch.ones(2, 2, requires_grad=True))
        >>> factorised_weight(weights, FactorisedNoise(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])))
        tensor([[3., 6.],
                [4., 8.]], grad_fn=<AddcmulBackward0>)
    """
    mean, sigma = weights.weight, weights.weight_sigma
    if sigma.numel() <= SMALL or is_traced(mean, sigma, *noise):
        return sampled_weight(weights, noise)
    result: Tensor = _FactorisedWeight.apply(mean, sigma, *noise)  # type: ignore[no-untyped-call]
    return result


class _FactorisedWeight(torch.autograd.Function):
    """mu + sigma * (F E^T), some rows at a time."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, sigma: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, outputs)
        weight = torch.empty_like(mean)
        parts = _blocks(weight, mean, sigma, outputs[:, None])
        for part, some_mean, some_sigma, some_outputs in parts:
            torch.addcmul(some_mean, some_sigma, some_outputs * inputs, out=part)
        return weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        inputs, outputs = ctx.saved_tensors
        by_mean = gradient if ctx.needs_input_grad[0] else None
        by_sigma = _times_noise(gradient, inputs, outputs) if ctx.needs_input_grad[1] else None
        return by_mean, by_sigma, None, None


def _times_noise(matrix: Tensor, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Matrix * (F E^T), in a way that autograd can follow where it has to."""
    if torch.is_grad_enabled():
        return matrix * inputs * outputs[:, None]
    result = torch.empty_like(matrix)
    for part, some, some_outputs in _blocks(result, matrix, outputs[:, None]):
        torch.mul(some, inputs, out=part).mul_(some_outputs)
    return result


def _blocks(*matrices: Tensor) -> Any:
    rows = max(1, BLOCK // matrices[0].shape[1])
    return zip(*(torch.split(matrix, rows) for matrix in matrices), strict=True)


def is_traced(*tensors: Tensor) -> bool:
    """Whether `torch.compile` follows, or `torch.func` one of the tensors, so that tricks are out of place.

    Args:
        tensors: that are worked with.

    Example:
        >>> is_traced(torch.ones(1))
        False
    """
    if torch.compiler.is_compiling():
        return True
    return any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors)
