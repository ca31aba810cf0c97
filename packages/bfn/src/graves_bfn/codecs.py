"""How batches of a DataModule become the data of a flow, and back into something to look at."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from graves_bfn.flows.bins import bin_index, quantise
from graves_core.data.spec import DataSpec
from graves_core.spec import Spec


class Codec(Spec, ABC):
    """Turns the batches that a DataModule yields into data `x` of a flow, on the device, and back.

    Subclass it to bring data of your own.

    Example:
        >>> class Vectors(Codec):
        ...     def __init__(self, scale: float) -> None:
        ...         self.scale = scale
        ...     def encode(self, batch, *, generator=None):
        ...         return batch / self.scale
        ...     def images(self, x):
        ...         return None
        ...     def texts(self, x):
        ...         return None
        ...     def data_shape(self, spec):
        ...         return spec.shape
        >>> Vectors(scale=2.0).encode(torch.ones(1, 3))
        tensor([[0.5000, 0.5000, 0.5000]])
    """

    unit: str = "dim"
    """What one variable is called in logged numbers: bits per dim, bits per char."""

    @abstractmethod
    def encode(self, batch: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Data of the flow, `(batch, *variables)`."""

    @abstractmethod
    def images(self, x: Tensor) -> UInt8[Tensor, "batch channels height width"] | None:
        """The data as pictures, or None where they are not pictures."""

    @abstractmethod
    def texts(self, x: Tensor) -> list[str] | None:
        """The data as lines of text, or None where they are not text."""

    @abstractmethod
    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """The shape of one example of the data that this codec makes of a DataModule's batches.

        Raises:
            ValueError: when it cannot read what the DataModule says it yields.
        """


def _check(name: str, spec: DataSpec, kind: str, levels: int) -> None:
    if spec.kind != kind:
        raise ValueError(f"{name} is made for {kind} data, but the DataModule yields {spec.kind}")
    if spec.levels != levels:
        raise ValueError(
            f"{name} was given levels={levels}, but the DataModule's values have {spec.levels} levels"
        )


class _ImageCodec(Codec):
    """Batches `[images, labels]`, images uint8 with channels first; data have channels last."""

    def __init__(self, levels: int) -> None:
        if not 2 <= levels <= 256:
            raise ValueError(f"levels must lie in 2..256, not {levels}")
        self.levels = levels

    def intensities(self, batch: Any) -> Float[Tensor, "batch height width channels"]:
        """Pixel values in [0, 1], channels last."""
        images: Tensor = batch[0] if isinstance(batch, list | tuple) else batch
        return images.permute(0, 2, 3, 1) / (self.levels - 1)

    def texts(self, x: Tensor) -> None:
        """Pictures are no text."""
        return

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(height, width, channels); wants images with the same number of levels."""
        _check(type(self).__name__, spec, "image", self.levels)
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

    def images(self, x: Tensor) -> UInt8[Tensor, "batch channels height width"]:
        """Classes, or probabilities of class 1, as grey values."""
        return (x * 255).round().to(torch.uint8).permute(0, 3, 1, 2)


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

    def images(self, x: Tensor) -> UInt8[Tensor, "batch channels height width"]:
        """Bins spread over the grey values from 0 to 255."""
        values = bin_index(x, self.num_bins) * (255 / (self.num_bins - 1))
        return values.round().to(torch.uint8).permute(0, 3, 1, 2)


class Tokens(Codec):
    """Token numbers as classes.

    Args:
        symbols: the alphabet; token i stands for `symbols[i]`.

    Example:
        >>> Tokens("ab ").texts(torch.tensor([[0, 1, 2, 1]]))
        ['ab b']
    """

    unit = "char"

    def __init__(self, symbols: str = " abcdefghijklmnopqrstuvwxyz") -> None:
        if len(symbols) < 2 or len(set(symbols)) < len(symbols):
            raise ValueError(f"symbols must be at least 2 different characters, not {symbols!r}")
        self.symbols = symbols

    def encode(self, batch: Any, *, generator: torch.Generator | None = None) -> Int[Tensor, "batch length"]:
        """Classes; nothing is random."""
        tokens: Tensor = batch.long()
        return tokens

    def images(self, x: Tensor) -> None:
        """Text is no picture."""
        return

    def texts(self, x: Tensor) -> list[str]:
        """One line per row."""
        return ["".join(self.symbols[token] for token in row) for row in x.tolist()]

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(length,); wants text over the same alphabet."""
        _check("Tokens", spec, "text", len(self.symbols))
        if spec.symbols != self.symbols:
            raise ValueError(
                f"Tokens was given symbols={self.symbols!r}, but the DataModule's are {spec.symbols!r}"
            )
        return spec.shape
