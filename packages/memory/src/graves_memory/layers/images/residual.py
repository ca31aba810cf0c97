"""Convolutions with residual blocks, for images of any size."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from graves_memory.layers.images.base import ImageDecoder, ImageEncoder, ImageShape
from graves_memory.layers.network import check_sizes


class ResidualImageEncoder(ImageEncoder):
    """Convolutions of stride 2, each with a residual block behind it, and a linear layer.

    Args:
        image_shape: (channels, height, width).
        size: how many features.
        channels: of each stage; a stage halves height and width, rounded up.

    Raises:
        ValueError: when a size is less than 1.

    Source: Wu et al. 2018, "The Kanerva Machine", for the three stages of 16, 32 and 64 channels.

    Example:
        >>> import torch
        >>> ResidualImageEncoder((1, 28, 28), size=32)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self, image_shape: ImageShape, size: int = 256, channels: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__(image_shape, size)
        check_sizes({"channels": min(channels, default=0)})
        sizes = _stage_sizes(self.image_shape[1:], len(channels))
        stages: list[nn.Module] = []
        for before, after in zip([self.image_shape[0], *channels], channels, strict=False):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), _ResidualBlock(after)]
        self.stages = nn.Sequential(*stages)
        self.output = nn.Linear(channels[-1] * sizes[-1][0] * sizes[-1][1], size)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch {self.size}"]:
        """The features of each image."""
        features: Tensor = self.output(functional.relu(self.stages(2 * images - 1)).flatten(1))
        return functional.relu(features)


class ResidualImageDecoder(ImageDecoder):
    """A linear layer, then residual blocks, each with a transposed convolution of stride 2 behind it.

    Args:
        image_shape: (channels, height, width).
        code_size: how many numbers a code has.
        outputs_per_value: parameters of each value: 1 for `BinaryPixels`, 2 for `LogisticPixels`.
        channels: of each stage, in the order of the encoder, so that the last is where decoding begins.

    Raises:
        ValueError: when a size is less than 1.

    Source: Wu et al. 2018, "The Kanerva Machine", for the three stages of 16, 32 and 64 channels.

    Example:
        >>> import torch
        >>> ResidualImageDecoder((3, 32, 32), code_size=16, outputs_per_value=2)(torch.randn(5, 16)).shape
        torch.Size([5, 2, 3, 32, 32])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        code_size: int,
        outputs_per_value: int = 1,
        channels: Sequence[int] = (16, 32, 64),
    ) -> None:
        super().__init__(image_shape, code_size, outputs_per_value)
        check_sizes({"channels": min(channels, default=0)})
        sizes = _stage_sizes(self.image_shape[1:], len(channels))
        self.start = (channels[-1], *sizes[-1])
        self.input = nn.Linear(code_size, channels[-1] * sizes[-1][0] * sizes[-1][1])
        widths = [outputs_per_value * self.image_shape[0], *channels]
        self.stages = nn.Sequential(
            *(
                _Upsampling(widths[stage + 1], widths[stage], sizes[stage + 1], sizes[stage])
                for stage in reversed(range(len(channels)))
            )
        )

    def forward(
        self, codes: Float[Tensor, "batch {self.code_size}"]
    ) -> Float[Tensor, "batch {self.outputs_per_value} channels height width"]:
        """The parameters of each value."""
        outputs: Tensor = self.stages(self.input(codes).view(-1, *self.start))
        return outputs.view(-1, self.outputs_per_value, *self.image_shape)


class _ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch width rows columns"]
    ) -> Float[Tensor, "batch width rows columns"]:
        inner: Tensor = self.second(functional.relu(self.first(functional.relu(x))))
        return x + inner


class _Upsampling(nn.Module):
    """A residual block, then a transposed convolution to exactly the size that the encoder had there."""

    def __init__(self, before: int, after: int, small: tuple[int, int], large: tuple[int, int]) -> None:
        super().__init__()
        self.block = _ResidualBlock(before)
        extra = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
        self.grow = nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=extra)

    def forward(
        self, x: Float[Tensor, "batch width rows columns"]
    ) -> Float[Tensor, "batch after higher wider"]:
        result: Tensor = self.grow(functional.relu(self.block(x)))
        return result


def _stage_sizes(size: tuple[int, int], stages: int) -> list[tuple[int, int]]:
    """Height and width before the first stage and after each."""
    sizes = [size]
    for _ in range(stages):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes
