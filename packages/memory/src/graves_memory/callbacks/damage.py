"""Damage to images that a memory is to undo."""

from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

Images = UInt8[Tensor, "*batch channels height width"]


class Damaged(NamedTuple):
    """Images, and what is known about the damage.

    Attributes:
        images: with the damage.
        reliability: how probable it is that a pixel is right, if the image were black and white: one number,
            or one for each pixel.
    """

    images: Tensor
    reliability: float | Tensor


def salt_and_pepper(images: Images, share: float, generator: torch.Generator) -> Damaged:
    """Makes a share of the pixels, in all their channels, as bright or as dark as any, with equal chances.

    Args:
        images: any number of them; the brightest and the darkest value are taken from all of them.
        share: chance of each pixel, in [0, 1].
        generator: source of the draws, on the device of the images.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> images = torch.randint(17, (1, 100, 100), generator=draw, dtype=torch.uint8)
        >>> salt_and_pepper(images, 0.3, draw).reliability
        0.85
    """
    shape = (*images.shape[:-3], 1, *images.shape[-2:])
    chance = torch.rand(shape, generator=generator, device=images.device)
    salted = torch.where(chance < share / 2, images.amax(), images)
    dark = (chance >= share / 2) & (chance < share)
    return Damaged(torch.where(dark, images.amin(), salted), 1 - share / 2)


def occlude(images: Images, share: float, generator: torch.Generator) -> Damaged:
    """Paints a square over each image, at a random place, in the median value of the image's channels.

    What is seen is sure, and what is hidden says nothing.

    Args:
        images: any number of them.
        share: side of the square as a share of that of the image, in [0, 1]; rounded to pixels.
        generator: source of the draws, on the device of the images.

    Example:
        >>> drawing = torch.zeros(1, 4, 4, dtype=torch.uint8)
        >>> drawing[:, :, 0] = 9
        >>> occlude(drawing, 1.0, torch.Generator()).images.unique()
        tensor([0], dtype=torch.uint8)
    """
    rows = _span(images, images.shape[-2], share, generator)[..., None, :, None]
    columns = _span(images, images.shape[-1], share, generator)[..., None, None, :]
    median = images.flatten(-2).median(-1).values[..., None, None]
    hidden = rows & columns
    return Damaged(torch.where(hidden, median, images), torch.where(hidden, 0.5, 1.0))


def _span(images: Tensor, size: int, share: float, generator: torch.Generator) -> Tensor:
    """Which of `size` places the square of each image covers along an axis."""
    side = round(share * size)
    draws = torch.rand(images.shape[:-3], generator=generator, device=images.device)
    first = (draws * (size - side + 1)).long()[..., None]
    places = torch.arange(size, device=images.device)
    return (first <= places) & (places < first + side)
