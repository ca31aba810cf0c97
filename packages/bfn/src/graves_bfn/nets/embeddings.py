"""Fixed features of times, positions and values; no parameters and no state.

Angles reach thousands, so everything here is computed in float32 or better whatever the dtype of the input.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def widen(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Casts half precision up to float32 and leaves the rest."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unet_time_features(t: Float[Tensor, " batch"], width: int) -> Float[Tensor, "batch {width}"]:
    """Cosines, then sines, of 4000 t at `width / 2` frequencies from 1 down to just above 1e-4.

    Args:
        t: times in [0, 1].
        width: number of features, even.

    Source: Graves et al. 2023, released MNIST network (improved-DDPM U-Net).
    """
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = (widen(t) * 4000)[:, None] * torch.exp(-math.log(10_000) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def vdm_time_features(t: Float[Tensor, " batch"], width: int) -> Float[Tensor, "batch {width}"]:
    """Sines, then cosines, of 1000 (t + 0.001) at `width / 2` frequencies from 1 down to 1e-4.

    Args:
        t: times in [0, 1].
        width: number of features, even.

    Source: Graves et al. 2023, released CIFAR-10 network (variational diffusion U-Net).
    """
    frequencies = torch.logspace(0, -4, width // 2, device=t.device)
    angles = (1000 * (widen(t) + 0.001))[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sequence_positions(
    length: int, width: int, device: torch.device | None = None
) -> Float[Tensor, "{length} {width}"]:
    """Sines in the even columns, cosines in the odd ones: column j turns with 1000^(-j / width) per position.

    Two things differ from the usual table: the base is 1000, not 10000, and each odd column has an exponent
    of its own instead of that of the sine before it.

    Args:
        length: number of positions.
        width: number of columns.
        device: where to make the table.

    Source: Graves et al. 2023, released text8 network.
    """
    columns = torch.arange(width, dtype=torch.float32, device=device)
    angles = torch.arange(length, device=device)[:, None] / torch.pow(1000, columns / width)
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos())


def fourier_features(
    x: Float[Tensor, "*batch channels"], exponents: tuple[int, ...]
) -> Float[Tensor, "*batch features"]:
    """Sines of 2 pi 2^n x for every n and channel (n outermost), then the cosines in the same order.

    Args:
        x: values of the order of 1, channels last.
        exponents: the n; fine structure of the values below 2^-n is made visible.

    Returns:
        `2 * len(exponents) * channels` features in the place of the channels.

    Source: Graves et al. 2023, released CIFAR-10 network with n = 5, 6.
    """
    wide = widen(x)
    angles = torch.cat([2 * math.pi * 2.0**n * wide for n in exponents], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
