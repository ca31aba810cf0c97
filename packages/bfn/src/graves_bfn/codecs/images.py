"""Pictures: batches `[images, labels]`, images uint8 with channels first, become data with channels last."""

from typing import Any

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from graves_bfn.codecs.base import Codec, check_kind, check_levels
from graves_bfn.flows.bins import bin_index, quantise
from graves_core.data.spec import DataSpec

Pixels = Shaped[Tensor, "batch height width channels"]
Images = UInt8[Tensor, "batch channels height width"]


class _ImageCodec(Codec):
    def __init__(self, levels: int) -> None:
        if not 2 <= levels <= 256:
            raise ValueError(f"levels must lie in 2..256, not {levels}")
        self.levels = levels

    def intensities(self, batch: Any) -> Float[Tensor, "batch height width channels"]:
        """Pixel values in [0, 1], channels last."""
        images: Tensor = batch[0] if isinstance(batch, list | tuple) else batch
        # in the default dtype, which half-precision training changes, 256 levels would run together
        return images.permute(0, 2, 3, 1).float() / (self.levels - 1)

    def condition(self, batch: Any) -> Shaped[Tensor, "batch *size"] | None:
        """The labels, where the batch has some."""
        labels: Tensor | None = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
        return labels

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(height, width, channels); wants images with the same number of levels."""
        check_kind(self, spec, "image")
        check_levels(self, spec, self.levels)
        channels, height, width = spec.shape
        return height, width, channels


class BinaryImages(_ImageCodec):
    """Dynamic binarisation: each pixel becomes 1 with its intensity as probability, anew at every access.

    Args:
        levels: number of values a pixel of the DataModule can take, 256 for bytes.

    Example:
        >>> BinaryImages().encode([torch.full((2, 1, 4, 4), 255, dtype=torch.uint8), None]).unique()
        tensor([1])
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__(levels)

    def encode(
        self, batch: Any, *, generator: torch.Generator | None = None
    ) -> Int[Tensor, "batch height width channels"]:
        """Classes 0 and 1."""
        return torch.bernoulli(self.intensities(batch), generator=generator).long()

    def decode(self, x: Pixels) -> Images:
        """Classes, or probabilities of class 1, as pixels of the DataModule."""
        return _pixels(x * (self.levels - 1))

    def images(self, x: Pixels) -> Images:
        """Classes, or probabilities of class 1, as grey values."""
        return _pixels(x * 255)


class QuantisedImages(_ImageCodec):
    """Pixels as the centres of K equal bins on [-1, 1].

    Args:
        num_bins: K.
        levels: number of values a pixel of the DataModule can take, 256 for bytes.

    Example:
        >>> QuantisedImages(num_bins=2).encode([torch.zeros(1, 1, 1, 1, dtype=torch.uint8), None]).item()
        -0.5
    """

    def __init__(self, num_bins: int = 256, levels: int = 256) -> None:
        super().__init__(levels)
        if num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, not {num_bins}")
        self.num_bins = num_bins

    def encode(
        self, batch: Any, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch height width channels"]:
        """Bin centres; nothing is random."""
        return quantise(2 * self.intensities(batch) - 1, self.num_bins)

    def decode(self, x: Pixels) -> Images:
        """Bins spread over the pixel values of the DataModule."""
        return _pixels(bin_index(x, self.num_bins) * ((self.levels - 1) / (self.num_bins - 1)))

    def images(self, x: Pixels) -> Images:
        """Bins spread over the grey values from 0 to 255."""
        return _pixels(bin_index(x, self.num_bins) * (255 / (self.num_bins - 1)))


def _pixels(values: Pixels) -> Images:
    return values.round().to(torch.uint8).permute(0, 3, 1, 2)
