"""Perceptrons for small images."""

import math

from jaxtyping import Float
from torch import Tensor, nn

from graves_memory.layers.images.base import ImageDecoder, ImageEncoder, ImageShape
from graves_memory.layers.network import check_sizes


class MLPImageEncoder(ImageEncoder):
    """A perceptron whose last layer, like all others, ends in a rectifier.

    Args:
        image_shape: (channels, height, width).
        size: how many features.
        depth: layers, all of the same size.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> import torch
        >>> MLPImageEncoder((1, 8, 8), size=32)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 32])
    """

    def __init__(self, image_shape: ImageShape, size: int = 128, depth: int = 1) -> None:
        super().__init__(image_shape, size)
        check_sizes({"depth": depth})
        self.layers = _rectified(math.prod(self.image_shape), size, depth)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch {self.size}"]:
        """The features of each image."""
        features: Tensor = self.layers(2 * images.flatten(1) - 1)
        return features


class MLPImageDecoder(ImageDecoder):
    """A perceptron.

    Args:
        image_shape: (channels, height, width).
        code_size: how many numbers a code has.
        outputs_per_value: parameters of each value: 1 for `BinaryPixels`, 2 for `LogisticPixels`.
        size: units of each hidden layer.
        depth: hidden layers.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> import torch
        >>> MLPImageDecoder((1, 8, 8), code_size=16)(torch.randn(5, 16)).shape
        torch.Size([5, 1, 1, 8, 8])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        code_size: int,
        outputs_per_value: int = 1,
        size: int = 128,
        depth: int = 1,
    ) -> None:
        super().__init__(image_shape, code_size, outputs_per_value)
        check_sizes({"size": size, "depth": depth})
        self.layers = _rectified(code_size, size, depth)
        self.output = nn.Linear(size, outputs_per_value * math.prod(self.image_shape))

    def forward(
        self, codes: Float[Tensor, "batch {self.code_size}"]
    ) -> Float[Tensor, "batch {self.outputs_per_value} channels height width"]:
        """The parameters of each value."""
        outputs: Tensor = self.output(self.layers(codes))
        return outputs.view(-1, self.outputs_per_value, *self.image_shape)


def _rectified(inputs: int, size: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(size if number else inputs, size), nn.ReLU()]
    return nn.Sequential(*layers)
