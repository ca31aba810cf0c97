"""The residual perceptron that networks of one tensor and of several share."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.base import BFNNetworkBase
from graves_bfn.nets.blocks import zeroed
from graves_bfn.nets.checks import check_dropout, check_positive
from graves_bfn.nets.embeddings import vdm_time_features

TIME_FEATURES = 64


class ResidualPerceptron(BFNNetworkBase):
    """The layers of `BFNMLP` and `BFNMixedMLP`, kept by the network itself and not by a module inside it.

    Every block normalises, is scaled and shifted by the time, and adds its result to the stream. The last
    layer sees the features beside the stream and starts at zero.
    """

    def _make_layers(self, features: int, outputs: int, width: int, depth: int, dropout: float) -> None:
        check_positive("width", width)
        check_positive("depth", depth)
        check_dropout(dropout)
        self.embed_inputs = nn.Linear(features, width)
        self.embed_time = nn.Sequential(
            nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project_outputs = zeroed(nn.Linear(width + features, outputs))
        self.embed_condition = self.extra_inputs.embed_condition(width)

    def _perceive(
        self,
        features: Float[Tensor, "batch features"],
        t: Float[Tensor, " batch"],
        condition: Shaped[Tensor, "batch *size"] | None,
    ) -> Float[Tensor, "batch outputs"]:
        dtype = self.embed_inputs.weight.dtype
        x = features.to(dtype)
        time = self.embed_time(vdm_time_features(t, TIME_FEATURES).to(dtype))
        time = self.add_condition(time, condition)
        h = self.embed_inputs(x)
        for block in self.blocks:
            h = block(h, time)
        outputs: Tensor = self.project_outputs(torch.cat([self.norm(h), x], dim=-1))
        return outputs


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
