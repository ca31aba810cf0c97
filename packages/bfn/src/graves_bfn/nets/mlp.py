"""A residual perceptron for small data."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.base import BFNNetwork
from graves_bfn.nets.blocks import zeroed
from graves_bfn.nets.checks import check_dropout, check_positive
from graves_bfn.nets.embeddings import vdm_time_features

TIME_FEATURES = 64


class BFNMLP(BFNNetwork):
    """Residual perceptron over all variables at once, for vectors, tiny images and short sequences.

    Every block normalises, is scaled and shifted by the time, and adds its result to the stream. The last
    layer sees the input features beside the stream and starts at zero, so an untrained network predicts no
    noise, or equal probabilities.

    Args:
        shape: shape of one example.
        inputs_per_variable: 1 for means and for two classes, else the number of classes.
        outputs_per_variable: 1 (continuous, two classes), 2 (discretised) or the number of classes.
        width: size of the residual stream; the blocks are twice as wide inside.
        depth: number of blocks.
        dropout: probability of dropping a unit inside the blocks.

    Raises:
        ValueError: when a size is below 1 or `dropout` outside [0, 1).

    Example:
        >>> net = BFNMLP(shape=(2,), inputs_per_variable=1, outputs_per_variable=1, width=32, depth=2)
        >>> net(torch.randn(5, 2), torch.rand(5)).shape
        torch.Size([5, 2, 1])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs_per_variable: int,
        outputs_per_variable: int,
        width: int = 256,
        depth: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(shape, inputs_per_variable, outputs_per_variable)
        check_positive("width", width)
        check_positive("depth", depth)
        check_dropout(dropout)
        size = self.variables * inputs_per_variable
        self.embed_inputs = nn.Linear(size, width)
        self.embed_time = nn.Sequential(
            nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project_outputs = zeroed(nn.Linear(width + size, self.variables * outputs_per_variable))

    def forward(
        self, inputs: Float[Tensor, "batch *variables"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *outputs"]:
        """Computes the parameters of the output distribution; see `BFNNetwork`."""
        dtype = self.embed_inputs.weight.dtype
        x = self.features(inputs).flatten(1).to(dtype)
        time = self.embed_time(vdm_time_features(t, TIME_FEATURES).to(dtype))
        h = self.embed_inputs(x)
        for block in self.blocks:
            h = block(h, time)
        outputs = self.project_outputs(torch.cat([self.norm(h), x], dim=-1))
        result: Tensor = outputs.unflatten(-1, (*self.shape, self.outputs_per_variable))
        return result


class _Block(nn.Module):
    """Normalise, scale and shift by the time, two layers, add."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.up = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(2 * width, width)

    def forward(
        self, h: Float[Tensor, "batch width"], time: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch width"]:
        scale, shift = self.modulation(time).chunk(2, dim=-1)
        inner = functional.silu(self.up(self.norm(h) * (1 + scale) + shift))
        result: Tensor = h + self.down(self.dropout(inner))
        return result
