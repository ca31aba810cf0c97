"""Which variables a network is told in training, so that it learns to complete the rest."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_bfn.flows.arrays import Data, real_dtype
from graves_core.spec import Spec


class KnownMask(Spec, ABC):
    """Draws which variables of each example are known. `draw` is what a subclass defines.

    Args:
        probability: share of the examples of which something may be known, in (0, 1]; the others are learned
            from nothing, as without a mask.

    Raises:
        ValueError: when `probability` is out of range.

    Example:
        >>> mask = RandomKnown(probability=0.5)
        >>> mask(torch.zeros(4, 3), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([4, 3])
    """

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"probability must lie in (0, 1], not {probability}")
        self.probability = probability

    @abstractmethod
    def draw(
        self, shape: tuple[int, ...], share: Float[Tensor, " batch"], generator: torch.Generator | None
    ) -> Bool[Tensor, "batch *variables"]:
        """Which variables of data of this shape are known.

        Args:
            shape: the shape of the data, batch first.
            share: a uniform number per example: about how much of it should be known.
            generator: the source of the rest.
        """

    def __call__(self, x: Data, generator: torch.Generator | None = None) -> Data:
        """Booleans like x; the fields of one example have the same share of known variables."""
        parts = x if isinstance(x, dict) else {"": x}
        one = next(iter(parts.values()))
        kind = real_dtype()
        share, chosen = torch.rand(len(one), 2, generator=generator, device=one.device, dtype=kind).unbind(-1)
        share = share.masked_fill(chosen >= self.probability, 0.0)
        masks = {name: self.draw(tuple(part.shape), share, generator) for name, part in parts.items()}
        return masks if isinstance(x, dict) else masks[""]


class RandomKnown(KnownMask):
    """Every variable is known with the same probability, which is drawn uniformly for each example.

    Args:
        probability: share of the examples of which something may be known, in (0, 1].

    Raises:
        ValueError: when `probability` is out of range.

    Source: Tao and Abe 2025, ChemBFN (mask training).

    Example:
        >>> bool(RandomKnown(probability=1.0)(torch.zeros(9, 99)).any())
        True
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__(probability)

    def draw(
        self, shape: tuple[int, ...], share: Float[Tensor, " batch"], generator: torch.Generator | None
    ) -> Bool[Tensor, "batch *variables"]:
        """Independent draws."""
        level = share.reshape(-1, *[1] * (len(shape) - 1))
        return torch.rand(shape, generator=generator, device=share.device, dtype=share.dtype) < level


class BoxUnknown(KnownMask):
    """All of an image is known but a rectangle of random size and place.

    Data are `(batch, height, width, channels)`.

    Args:
        probability: share of the examples of which something may be known, in (0, 1].

    Raises:
        ValueError: when `probability` is out of range, or data are not images.

    Example:
        >>> known = BoxUnknown(probability=1.0)(torch.zeros(9, 8, 8, 1))
        >>> bool(known.any()), bool(known.all())
        (True, False)
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__(probability)

    def draw(
        self, shape: tuple[int, ...], share: Float[Tensor, " batch"], generator: torch.Generator | None
    ) -> Bool[Tensor, "batch *variables"]:
        """Rectangles with sides of a random ratio, that leave about `share` of the area known.

        Raises:
            ValueError: when data are not images.
        """
        if len(shape) != 4:
            raise ValueError(f"BoxUnknown is for images (batch, height, width, channels), not {shape}")
        drawn = torch.rand(shape[0], 3, generator=generator, device=share.device, dtype=share.dtype)
        ratio, top, left = drawn.unbind(-1)
        area = 1 - share
        height = area**ratio
        width = area / height
        rows = _outside(shape[1], height, top).reshape(-1, shape[1], 1, 1)
        columns = _outside(shape[2], width, left).reshape(-1, 1, shape[2], 1)
        return (rows | columns).expand(shape)


def _outside(
    count: int, length: Float[Tensor, " batch"], place: Float[Tensor, " batch"]
) -> Bool[Tensor, "batch {count}"]:
    """Which of `count` places lie outside an interval of that share, at least one place long."""
    size = (length * count).round().clamp(min=1)
    start = torch.minimum(((count - size + 1) * place).floor(), count - size).unsqueeze(-1)
    index = torch.arange(count, device=length.device)
    return (index < start) | (index >= start + size.unsqueeze(-1))
