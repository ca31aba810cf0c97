"""The pieces that both U-Nets are made of."""

from typing import TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.checks import check_divides

Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """Sets all parameters of a layer to zero and returns the layer."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def time_mlp(width: int) -> nn.Sequential:
    """Makes the perceptron from `width` time features to the `4 * width` that condition every block."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width), nn.SiLU())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with the time added in between; starts as the identity where channels agree.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        time: layer from the embedded time to `out_channels`.
        dropout: probability of dropping a feature before the second convolution.
        groups: number of groups of the normalisations.
    """

    def __init__(
        self, in_channels: int, out_channels: int, time: nn.Linear, dropout: float, groups: int
    ) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(groups, in_channels)
        self.first_conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = time
        self.second_norm = nn.GroupNorm(groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.second_conv = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(
        self, h: Float[Tensor, "batch in_channels height width"], time: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Adds to `h` (brought to the right number of channels) what the convolutions make of it."""
        inner = self.first_conv(functional.silu(self.first_norm(h))) + self.time(time)[:, :, None, None]
        inner = self.second_conv(self.dropout(functional.silu(self.second_norm(inner))))
        result: Tensor = self.skip(h) + inner
        return result


class SpatialAttention(nn.Module):
    """Self-attention between the pixels; starts as the identity.

    The rows of `qkv` are ordered head by head, and within a head queries, keys, values.

    Args:
        channels: channels of input and output.
        heads: number of heads, a divisor of `channels`.
        groups: number of groups of the normalisation.

    Raises:
        ValueError: when `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        check_divides("heads", heads, "the attended features", channels)
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(
        self, h: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Adds to every pixel what it reads from all others."""
        batch, channels, height, width = h.shape
        pixels = self.norm(h).permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        qkv = self.qkv(pixels).view(batch, height * width, self.heads, 3, channels // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        read = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape_as(pixels)
        result: Tensor = h + self.out(read).view(batch, height, width, channels).permute(0, 3, 1, 2)
        return result
