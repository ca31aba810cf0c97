"""The U-Net of variational diffusion models, as used for CIFAR-10."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.base import BFNNetwork
from graves_bfn.nets.blocks import ResidualBlock, SpatialAttention, time_mlp, zeroed
from graves_bfn.nets.checks import check_channels, check_dropout, check_image_shape, check_positive
from graves_bfn.nets.embeddings import fourier_features, vdm_time_features
from graves_bfn.nets.extra_inputs import ExtraInputs


class BFNVDMUNet(BFNNetwork):
    """U-Net that never down-samples. The defaults are the CIFAR-10 network: 30.7 million parameters.

    Made for fine detail: the values enter beside their Fourier features, and the only attention stands in the
    middle. Memory grows with `blocks` at full resolution.

    Args:
        shape: (height, width, channels) of an image.
        inputs_per_variable: 1 for means and for two classes, else the number of classes.
        outputs_per_variable: 1 (continuous, two classes), 2 (discretised) or the number of classes.
        channels: features per pixel, even.
        blocks: residual blocks on the way in; one more on the way out.
        heads: attention heads, a divisor of `channels`.
        dropout: probability of dropping a feature inside the residual blocks.
        groups: groups of the normalisations, a divisor of `channels`.
        fourier_exponents: sines and cosines of 2 pi 2^n times the value enter for each of these n.
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when a size is not positive, `heads` or `groups` do not divide `channels`, `channels` is
            odd or `dropout` is outside [0, 1).

    Example:
        >>> net = BFNVDMUNet((8, 8, 3), 1, 2, channels=16, blocks=2, groups=8)
        >>> net(torch.randn(2, 8, 8, 3), torch.rand(2)).shape
        torch.Size([2, 8, 8, 3, 2])

    Source: Graves et al. 2023, section 7.2 and released configuration; Kingma et al. 2021.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        inputs_per_variable: int,
        outputs_per_variable: int,
        channels: int = 128,
        blocks: int = 32,
        heads: int = 1,
        dropout: float = 0.1,
        groups: int = 32,
        fourier_exponents: tuple[int, ...] = (5, 6),
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        colours = check_image_shape(shape)[2]
        super().__init__(shape, inputs_per_variable, outputs_per_variable, extra_inputs)
        check_positive("blocks", blocks)
        check_dropout(dropout)
        check_channels(channels, groups)
        self.channels = channels
        self.fourier_exponents = tuple(fourier_exponents)
        features = colours * self.features_per_variable
        waves = 2 * len(fourier_exponents) * colours * inputs_per_variable

        def block(size: int) -> ResidualBlock:
            time = zeroed(nn.Linear(4 * channels, channels, bias=False))
            return ResidualBlock(size, channels, time, dropout, groups)

        self.embed_time = time_mlp(channels)
        self.first_conv = nn.Conv2d(features + waves, channels, 3, padding=1)
        self.down = nn.ModuleList(block(channels) for _ in range(blocks))
        self.middle_in = block(channels)
        self.attention = SpatialAttention(channels, heads, groups)
        self.middle_out = block(channels)
        self.up = nn.ModuleList(block(2 * channels) for _ in range(blocks + 1))
        self.last_norm = nn.GroupNorm(groups, channels)
        self.last_conv = zeroed(nn.Conv2d(channels, channels, 3, padding=1))
        self.project_outputs = nn.Linear(features + channels, colours * outputs_per_variable)
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
        dtype = self.first_conv.weight.dtype
        features = self.features(inputs, valid=valid, known=known, estimate=estimate)
        x, values = features.flatten(3), features[..., : self.inputs_per_variable].flatten(3)
        waves = fourier_features(values, self.fourier_exponents) if self.fourier_exponents else x[..., :0]
        time = self.embed_time(vdm_time_features(t, self.channels).to(dtype))
        time = self.add_condition(time, condition)
        h = self.first_conv(torch.cat([x, waves], dim=-1).to(dtype).permute(0, 3, 1, 2))
        skips = [h]
        for block in self.down:
            h = block(h, time)
            skips.append(h)
        h = self.middle_out(self.attention(self.middle_in(h, time)), time)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            h = block(torch.cat([h, skip], dim=1), time)
        h = self.last_conv(functional.silu(self.last_norm(h))).permute(0, 2, 3, 1)
        outputs = self.project_outputs(torch.cat([x.to(dtype), h], dim=-1))
        result: Tensor = outputs.unflatten(-1, (self.shape[-1], self.outputs_per_variable))
        return result
