"""The improved-DDPM U-Net, as used for binarised MNIST."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.base import BFNNetwork
from graves_bfn.nets.blocks import ResidualBlock, SpatialAttention, time_mlp, zeroed
from graves_bfn.nets.checks import check_channels, check_dropout, check_image_shape, check_positive
from graves_bfn.nets.embeddings import unet_time_features
from graves_bfn.nets.extra_inputs import ExtraInputs


class BFNUNet(BFNNetwork):
    """U-Net with down-sampling. The defaults are the MNIST network: 24.8 million parameters at (28, 28, 1).

    Each pixel enters with its features and 2 t - 1, projected linearly to `channels`; that projection is also
    what the last layer sees beside the U-Net's result. Features run channels-last in memory; on GPUs convert
    the weights too: `net.to(memory_format=torch.channels_last)`.

    Args:
        shape: (height, width, channels) of an image.
        inputs_per_variable: 1 for means and for two classes, else the number of classes.
        outputs_per_variable: 1 (continuous, two classes), 2 (discretised) or the number of classes.
        channels: features at full resolution, even.
        multipliers: features of each level in units of `channels`; every further level halves the image.
        blocks: residual blocks per level on the way down; one more on the way up.
        heads: attention heads.
        attention_resolutions: down-sampling factors (1, 2, 4, ...) at which every block is followed by
            attention. The middle of the network has attention in any case.
        dropout: probability of dropping a feature inside the residual blocks.
        groups: groups of the normalisations, a divisor of `channels`.
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when a size is not positive, the image cannot be halved often enough, `heads` or `groups`
            do not divide the features, a resolution is never reached, or `dropout` is outside [0, 1).

    Example:
        >>> net = BFNUNet((8, 8, 1), 1, 1, channels=16, multipliers=(1, 2), blocks=1, heads=2, groups=8)
        >>> net(torch.rand(3, 8, 8, 1, 1), torch.rand(3)).shape
        torch.Size([3, 8, 8, 1, 1])

    Source: Graves et al. 2023, section 7.1 and released configuration; Nichol and Dhariwal 2021.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        inputs_per_variable: int,
        outputs_per_variable: int,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 2,
        heads: int = 4,
        attention_resolutions: tuple[int, ...] = (),
        dropout: float = 0.5,
        groups: int = 32,
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        height, width, colours = check_image_shape(shape)
        super().__init__(shape, inputs_per_variable, outputs_per_variable, extra_inputs)
        check_positive("blocks", blocks)
        check_dropout(dropout)
        check_channels(channels, groups)
        multipliers, attention_resolutions = tuple(multipliers), tuple(attention_resolutions)
        _check_levels(multipliers, (height, width), attention_resolutions)
        self.channels = channels
        self.project_inputs = nn.Linear(colours * self.features_per_variable + 1, channels)
        self.embed_time = time_mlp(channels)
        self.first_conv = nn.Conv2d(channels, channels, 3, padding=1)
        stages = _Stages(channels, heads, attention_resolutions, dropout, groups)
        self.down, sizes = stages.down(multipliers, blocks)
        self.middle = stages.middle(multipliers)
        self.up = stages.up(multipliers, blocks, sizes)
        self.last_norm = nn.GroupNorm(groups, channels * multipliers[0])
        self.last_conv = zeroed(nn.Conv2d(channels * multipliers[0], channels, 3, padding=1))
        self.project_outputs = nn.Linear(2 * channels, colours * outputs_per_variable)
        self.embed_condition = self.extra_inputs.embed_condition(4 * channels)

    def forward(
        self,
        inputs: Float[Tensor, "batch *variables"],
        t: Float[Tensor, " batch"],
        *,
        condition: Shaped[Tensor, "batch *size"] | None = None,
        valid: Bool[Tensor, "batch *places"] | None = None,
        known: Bool[Tensor, "batch *places"] | None = None,
        estimate: Float[Tensor, "batch *estimated"] | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Computes the parameters of the output distribution; see `BFNNetwork`."""
        dtype = self.project_inputs.weight.dtype
        pixels = self.features(inputs, valid=valid, known=known, estimate=estimate).flatten(3)
        clock = (2 * t - 1).to(pixels.dtype)[:, None, None, None].expand(-1, *self.shape[:2], 1)
        x = self.project_inputs(torch.cat([pixels, clock], dim=-1).to(dtype))
        time = self.embed_time(unet_time_features(t, self.channels).to(dtype))
        time = self.add_condition(time, condition)
        h = self.first_conv(x.permute(0, 3, 1, 2))
        skips = [h]
        for stage in self.down:
            h = stage(h, time) if isinstance(stage, _Stage) else stage(h)
            skips.append(h)
        for stage in self.middle:
            h = stage(h, time)
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            h = stage(torch.cat([h, skip], dim=1), time)
        h = self.last_conv(functional.silu(self.last_norm(h))).permute(0, 2, 3, 1)
        outputs = self.project_outputs(torch.cat([x, h], dim=-1))
        result: Tensor = outputs.unflatten(-1, (self.shape[-1], self.outputs_per_variable))
        return result


class _Stage(nn.Module):
    """A residual block, then attention if any, then a doubling of the image if any."""

    def __init__(self, block: ResidualBlock, attention: SpatialAttention | None, enlarge: bool) -> None:
        super().__init__()
        self.block = block
        self.attention = attention
        channels = block.second_conv.out_channels
        self.enlarge = nn.Conv2d(channels, channels, 3, padding=1) if enlarge else None

    def forward(
        self, h: Float[Tensor, "batch in_channels height width"], time: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        h = self.block(h, time)
        if self.attention is not None:
            h = self.attention(h)
        if self.enlarge is not None:
            h = self.enlarge(functional.interpolate(h, scale_factor=2.0, mode="nearest"))
        return h


@dataclass(frozen=True)
class _Stages:
    """Builds the three parts of the U-Net."""

    channels: int
    heads: int
    attention_resolutions: tuple[int, ...]
    dropout: float
    groups: int

    def stage(self, size: int, new_size: int, attend: bool, enlarge: bool = False) -> _Stage:
        """Makes one stage from `size` to `new_size` features."""
        time = nn.Linear(4 * self.channels, new_size)
        block = ResidualBlock(size, new_size, time, self.dropout, self.groups)
        return _Stage(block, SpatialAttention(new_size, self.heads, self.groups) if attend else None, enlarge)

    def down(self, multipliers: tuple[int, ...], blocks: int) -> tuple[nn.ModuleList, list[int]]:
        """Makes the way down and lists the features of everything that the way up will see again."""
        layers, sizes = nn.ModuleList(), [self.channels]
        for level, multiplier in enumerate(multipliers):
            if level:
                layers.append(nn.Conv2d(sizes[-1], sizes[-1], 3, stride=2, padding=1))
                sizes.append(sizes[-1])
            for _ in range(blocks):
                attend = 2**level in self.attention_resolutions
                layers.append(self.stage(sizes[-1], self.channels * multiplier, attend))
                sizes.append(self.channels * multiplier)
        return layers, sizes

    def middle(self, multipliers: tuple[int, ...]) -> nn.ModuleList:
        """Makes the part at the lowest resolution: block, attention, block."""
        size = self.channels * multipliers[-1]
        return nn.ModuleList([self.stage(size, size, attend=True), self.stage(size, size, attend=False)])

    def up(self, multipliers: tuple[int, ...], blocks: int, sizes: list[int]) -> nn.ModuleList:
        """Makes the way up; each stage sees beside its input one result of the way down, last one first."""
        layers, size, remaining = nn.ModuleList(), sizes[-1], list(sizes)
        for level in reversed(range(len(multipliers))):
            new_size = self.channels * multipliers[level]
            for index in range(blocks + 1):
                attend = 2**level in self.attention_resolutions
                enlarge = level > 0 and index == blocks
                layers.append(self.stage(size + remaining.pop(), new_size, attend, enlarge))
                size = new_size
        return layers


def _check_levels(
    multipliers: tuple[int, ...], size: tuple[int, int], attention_resolutions: tuple[int, ...]
) -> None:
    """Refuses levels that the image or the list of resolutions does not fit.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if not multipliers or min(multipliers) < 1:
        raise ValueError(f"multipliers must hold at least one number, all positive, got {tuple(multipliers)}")
    factors = [2**level for level in range(len(multipliers))]
    if any(side % factors[-1] for side in size):
        raise ValueError(
            f"shape: {len(factors)} levels need a height and width divisible by {factors[-1]}, got {size}"
        )
    unreached = [factor for factor in attention_resolutions if factor not in factors]
    if unreached:
        raise ValueError(f"attention_resolutions must be among {factors}, got {unreached}, never reached")
