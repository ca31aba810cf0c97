"""A dilated convolutional network for sequences, for text on small machines."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.base import BFNNetwork
from graves_bfn.nets.blocks import zeroed
from graves_bfn.nets.checks import check_dropout, check_positive
from graves_bfn.nets.embeddings import vdm_time_features
from graves_bfn.nets.extra_inputs import ExtraInputs

TIME_FEATURES = 64


class BFNConvNet(BFNNetwork):
    """Residual convolutions over a sequence; learns what neighbours say long before attention finds them.

    Not a network of the paper. A `shape` of more than one axis is read as one sequence in row-major order.
    Every block normalises, is scaled and shifted by the time, mixes neighbours within each feature and then
    features within each place. The last layer sees the inputs as well and starts at zero, so an untrained
    network predicts equal probabilities. Padding looks like the end of the sequence.

    Args:
        shape: shape of one example, (length,) for text.
        inputs_per_variable: 1 for means and for two classes, else the number of classes.
        outputs_per_variable: 1 (continuous, two classes), 2 (discretised) or the number of classes.
        width: features of each place; twice as many inside the blocks.
        dilations: one block for each number, the distance between the neighbours that it looks at.
        kernel: how many neighbours a block looks at, itself included; odd.
        dropout: probability of dropping a feature inside the blocks.
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when a size is below 1, `kernel` is even or `dropout` is outside [0, 1).

    Example:
        >>> net = BFNConvNet((12,), 27, 27, width=32, dilations=(1, 2))
        >>> net(torch.full((4, 12, 27), 1 / 27), torch.rand(4)).shape
        torch.Size([4, 12, 27])
    """

    scaling = "prior"

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs_per_variable: int,
        outputs_per_variable: int,
        width: int = 192,
        dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4, 8, 8),
        kernel: int = 7,
        dropout: float = 0.0,
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        super().__init__(shape, inputs_per_variable, outputs_per_variable, extra_inputs)
        check_positive("width", width)
        check_positive("dilations", min(dilations, default=0))
        check_positive("kernel", kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        check_dropout(dropout)
        self.embed_inputs = nn.Linear(self.features_per_variable, width)
        self.embed_time = nn.Sequential(
            nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(_Block(width, kernel, dilation, dropout) for dilation in dilations)
        self.norm = nn.LayerNorm(width)
        self.project_outputs = zeroed(nn.Linear(width + self.features_per_variable, outputs_per_variable))
        self.embed_condition = self.extra_inputs.embed_condition(width)

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
        dtype = self.embed_inputs.weight.dtype
        features = self.features(inputs, valid=valid, known=known, estimate=estimate)
        x = features.flatten(1, -2).to(dtype)
        time = self.embed_time(vdm_time_features(t, TIME_FEATURES).to(dtype))
        time = self.add_condition(time, condition)
        padding = None if valid is None else ~valid.reshape(-1, self.variables, 1)
        h = self.embed_inputs(x)
        for block in self.blocks:
            h = block(h, time, padding)
        outputs: Tensor = self.project_outputs(torch.cat([self.norm(h), x], dim=-1))
        return outputs.view(-1, *self.shape, self.outputs_per_variable)


class _Block(nn.Module):
    """Normalise, scale and shift by the time, convolve each feature, two layers, add."""

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        padding = dilation * (kernel // 2)
        self.mix = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation, groups=width)
        self.up = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(2 * width, width)

    def forward(
        self,
        h: Float[Tensor, "batch length width"],
        time: Float[Tensor, "batch width"],
        padding: Bool[Tensor, "batch length 1"] | None,
    ) -> Float[Tensor, "batch length width"]:
        scale, shift = self.modulation(time).unsqueeze(1).chunk(2, dim=-1)
        x = self.norm(h) * (1 + scale) + shift
        if padding is not None:
            x = x.masked_fill(padding, 0.0)
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        inner = functional.gelu(self.up(x), approximate="tanh")
        result: Tensor = h + self.down(self.dropout(inner))
        return result
