"""What encoders and decoders of images are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from graves_core.spec import Spec
from graves_memory.layers.network import check_sizes

ImageShape = tuple[int, int, int]


def checked_shape(image_shape: Sequence[int]) -> ImageShape:
    """Reads (channels, height, width).

    Raises:
        ValueError: when these are not three numbers of at least 1.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(
            f"image_shape must be (channels, height, width), each at least 1, not {tuple(image_shape)}"
        )
    channels, height, width = image_shape
    return channels, height, width


class ImageEncoder(Spec, nn.Module, ABC):
    """From images with values in [0, 1] to vectors of features.

    Args:
        image_shape: (channels, height, width).
        size: how many features.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> import torch
        >>> class Pixels(ImageEncoder):
        ...     def __init__(self, side: int) -> None:
        ...         super().__init__((1, side, side), side * side)
        ...     def forward(self, images):
        ...         return images.flatten(1)
        >>> Pixels(side=4)(torch.rand(3, 1, 4, 4)).shape
        torch.Size([3, 16])
    """

    def __init__(self, image_shape: ImageShape, size: int) -> None:
        super().__init__()
        self.image_shape = checked_shape(image_shape)
        check_sizes({"size": size})
        self.size = size

    @abstractmethod
    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch {self.size}"]:
        """The features of each image."""


class ImageDecoder(Spec, nn.Module, ABC):
    """From codes to the parameters of a distribution of each value of an image.

    Args:
        image_shape: (channels, height, width).
        code_size: how many numbers a code has.
        outputs_per_value: parameters of each value: 1 for `BinaryPixels`, 2 for `LogisticPixels`.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> import torch
        >>> class Linear(ImageDecoder):
        ...     def __init__(self, code_size: int) -> None:
        ...         super().__init__((1, 4, 4), code_size, outputs_per_value=1)
        ...         self.layer = nn.Linear(code_size, 16)
        ...     def forward(self, codes):
        ...         return self.layer(codes).view(-1, 1, 1, 4, 4)
        >>> Linear(code_size=2)(torch.randn(3, 2)).shape
        torch.Size([3, 1, 1, 4, 4])
    """

    def __init__(self, image_shape: ImageShape, code_size: int, outputs_per_value: int) -> None:
        super().__init__()
        self.image_shape = checked_shape(image_shape)
        check_sizes({"code_size": code_size, "outputs_per_value": outputs_per_value})
        self.code_size = code_size
        self.outputs_per_value = outputs_per_value

    @abstractmethod
    def forward(
        self, codes: Float[Tensor, "batch {self.code_size}"]
    ) -> Float[Tensor, "batch {self.outputs_per_value} channels height width"]:
        """The parameters of each value."""
