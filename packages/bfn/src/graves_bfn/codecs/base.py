"""What all codecs do."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from graves_bfn.flows.arrays import Data, Shape
from graves_core.data.spec import DataSpec
from graves_core.spec import Spec


class Codec(Spec, ABC):
    """Turns the batches that a DataModule yields into data `x` of a flow, on the device, and back.

    Subclass it to bring data of your own. The methods that take `x` are given what `encode` makes: a tensor,
    or a dict of them; or beliefs about it, real numbers of the same shape.

    Example:
        >>> class Vectors(Codec):
        ...     def __init__(self, scale: float) -> None:
        ...         self.scale = scale
        ...     def encode(self, batch, *, generator=None):
        ...         return batch / self.scale
        ...     def decode(self, x):
        ...         return x * self.scale
        ...     def data_shape(self, spec):
        ...         return spec.shape
        >>> Vectors(scale=2.0).encode(torch.ones(1, 3))
        tensor([[0.5000, 0.5000, 0.5000]])
    """

    unit: str = "dim"
    """What one variable is called in logged numbers: bits per dim, bits per char."""

    @abstractmethod
    def encode(self, batch: Any, *, generator: torch.Generator | None = None) -> Data:
        """Data of the flow, `(batch, *variables)`."""

    @abstractmethod
    def data_shape(self, spec: DataSpec) -> Shape:
        """The shape of one example of the data that this codec makes of a DataModule's batches.

        Raises:
            ValueError: when it cannot read what the DataModule says it yields.
        """

    def decode(self, x: Any) -> Data:
        """The data in the DataModule's own units; as they are unless a subclass says otherwise."""
        data: Data = x
        return data

    def condition(self, batch: Any) -> Tensor | None:
        """What the network is told about each example, classes or vectors; None for nothing."""
        return None

    def valid(self, batch: Any) -> Data | None:
        """Booleans in the shape of the data, False for padding; None when there is no padding.

        Of data in fields a dict, which may leave out fields without padding.
        """
        return None

    def images(self, x: Any) -> UInt8[Tensor, "batch channels height width"] | None:
        """The data as pictures, or None where they are not pictures."""
        return None

    def texts(self, x: Any) -> list[str] | None:
        """The data as lines of text, or None where they are not text."""
        return None


def check_kind(codec: Codec, spec: DataSpec, kind: str) -> None:
    """Refuses data of another kind.

    Raises:
        ValueError: naming the codec and both kinds.
    """
    if spec.kind != kind:
        name = type(codec).__name__
        raise ValueError(f"{name} is made for {kind} data, but the DataModule yields {spec.kind}")


def check_levels(codec: Codec, spec: DataSpec, levels: int) -> None:
    """Refuses data with another number of levels.

    Raises:
        ValueError: naming the codec and both numbers.
    """
    if spec.levels != levels:
        name = type(codec).__name__
        raise ValueError(
            f"{name} was given levels={levels}, but the DataModule's values have {spec.levels} levels"
        )
