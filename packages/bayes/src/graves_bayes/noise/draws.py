"""Draws of the two kinds of noise: factorised and independent."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

NoiseKind = Literal["factorised", "independent"]
NARROW = (torch.float16, torch.bfloat16)


class FactorisedNoise(NamedTuple):
    """A number for each input and for each output of a layer; their products are the noise of its weights.

    Attributes:
        inputs: f(eps) of the inputs, `(inputs)`, or `(rows, inputs)` for noise of its own in each row of a
            batch.
        outputs: f(eps) of the outputs, likewise; also the noise of the biases.

    Example:
        >>> noise = FactorisedNoise(inputs=torch.zeros(3), outputs=torch.ones(2))
        >>> noise.outputs
        tensor([1., 1.])
    """

    inputs: Tensor
    outputs: Tensor


class IndependentNoise(NamedTuple):
    """A number for each weight and for each bias of a layer.

    Attributes:
        weight: `(outputs, inputs)`, or `(rows, outputs, inputs)` for noise of its own in each row of a batch.
        bias: `(outputs)` or `(rows, outputs)`.

    Example:
        >>> noise = IndependentNoise(weight=torch.zeros(2, 3), bias=torch.ones(2))
        >>> noise.weight.shape
        torch.Size([2, 3])
    """

    weight: Tensor
    bias: Tensor


Noise = FactorisedNoise | IndependentNoise


def signed_sqrt(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """f(x) = sgn(x) sqrt(|x|), which makes products of two normal numbers less peaked.

    Of a standard normal x, the variance of f(x) is sqrt(2 / pi); of f(x) f(y) it is 2 / pi.

    Args:
        values: of any shape.

    Source: Fortunato et al. 2018.

    Example:
        >>> signed_sqrt(torch.tensor([4.0, -9.0, 0.0]))
        tensor([ 2., -3., 0.])
    """
    return values.abs().sqrt().copysign(values)


def draw_noise(
    kind: NoiseKind,
    in_features: int,
    out_features: int,
    count: int | None = None,
    like: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Noise:
    """Draws the noise of a layer: for factorised noise p + q numbers, for independent noise pq + q.

    Args:
        kind: which of the two.
        in_features: p, number of inputs.
        out_features: q, number of outputs.
        count: draw as many times, once for each row of a batch; by default one noise is for all rows.
        like: has the wanted type and device; by default those that torch makes.
        generator: source of the draws, which happen on its device; by default torch's global one.

    Source: Fortunato et al. 2018.

    Example:
        >>> noise = draw_noise("factorised", 3, 2, generator=torch.Generator().manual_seed(0))
        >>> [tuple(part.shape) for part in noise]
        [(3,), (2,)]
    """
    rows = () if count is None else (count,)
    if kind == "factorised":
        drawn = signed_sqrt(_normal((*rows, in_features + out_features), like, generator))
        return FactorisedNoise(*torch.split(drawn, [in_features, out_features], dim=-1))
    weight = _normal((*rows, out_features, in_features), like, generator)
    return IndependentNoise(weight, _normal((*rows, out_features), like, generator))


def _normal(shape: tuple[int, ...], like: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers, drawn in single precision at least."""
    if like is None:
        return torch.randn(shape, generator=generator, device=generator.device if generator else None)
    dtype = torch.float32 if like.dtype in NARROW else like.dtype
    device = generator.device if generator else like.device
    return torch.randn(shape, generator=generator, dtype=dtype, device=device).to(like)
