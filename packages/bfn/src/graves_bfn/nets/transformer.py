"""The bidirectional transformer, as used for text8."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from graves_bfn.nets.base import BFNNetwork
from graves_bfn.nets.checks import check_divides, check_dropout, check_positive
from graves_bfn.nets.embeddings import sequence_positions
from graves_bfn.nets.extra_inputs import ExtraInputs


class BFNTransformer(BFNNetwork):
    """Transformer in which every variable sees all others. The defaults are the text8 network.

    With 256 variables of 27 classes it has 170.2 million parameters. A `shape` of more than one axis is read
    as one sequence in row-major order. Values, fixed positions and the time are summed at the entrance; the
    last layer sees that sum beside the result. Nothing looks at padding.

    Args:
        shape: shape of one example, (length,) for text.
        inputs_per_variable: 1 for means and for two classes, else the number of classes.
        outputs_per_variable: 1 (continuous, two classes), 2 (discretised) or the number of classes.
        width: size of the residual stream.
        depth: number of blocks.
        heads: attention heads, a divisor of `width`.
        dropout: probability of dropping at the entrance, in attention and after each half of a block.
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when a size is not positive, `heads` does not divide `width` or `dropout` is outside
            [0, 1).

    Example:
        >>> net = BFNTransformer((12,), 27, 27, width=32, depth=1, heads=2)
        >>> net(torch.full((4, 12, 27), 1 / 27), torch.rand(4)).shape
        torch.Size([4, 12, 27])

    Source: Graves et al. 2023, section 7.3 and released configuration; Radford et al. 2019.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs_per_variable: int,
        outputs_per_variable: int,
        width: int = 768,
        depth: int = 24,
        heads: int = 12,
        dropout: float = 0.0,
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        super().__init__(shape, inputs_per_variable, outputs_per_variable, extra_inputs)
        check_positive("width", width)
        check_positive("depth", depth)
        check_divides("heads", heads, "width", width)
        check_dropout(dropout)
        self.width = width
        self.embed_inputs = nn.Linear(self.features_per_variable, width)
        self.embed_time = nn.Linear(1, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project_outputs = nn.Linear(2 * width, outputs_per_variable)
        self._initialise(depth)
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
        tokens = self.features(inputs, valid=valid, known=known, estimate=estimate).flatten(1, -2)
        positions = sequence_positions(self.variables, self.width, t.device).to(dtype)
        time = self.add_condition(self.embed_time((2 * t - 1).to(dtype)[:, None]), condition)
        x = self.embed_inputs(tokens.to(dtype)) + positions + time.unsqueeze(1)
        h = self.dropout(x)
        mask = None if valid is None else _attention_mask(valid.flatten(1))
        for block in self.blocks:
            h = block(h, mask)
        outputs = self.project_outputs(torch.cat([self.norm(h), x], dim=-1))
        result: Tensor = outputs.unflatten(1, self.shape)
        return result

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the weights of the linear layers, and all else with a `weight_decay` of 0."""
        decayed = [m.weight for m in self.modules() if isinstance(m, nn.Linear)]
        chosen = {id(weight) for weight in decayed}
        rest = [p for p in self.parameters() if id(p) not in chosen]
        return [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]

    def _initialise(self, depth: int) -> None:
        """Draws weights at 0.02; the 2 depth layers that add to the stream at 0.02 / sqrt(2 depth)."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        for block in self.modules():
            if isinstance(block, _Block):
                nn.init.normal_(block.attention_out.weight, std=0.02 / math.sqrt(2 * depth))
                nn.init.normal_(block.mlp_out.weight, std=0.02 / math.sqrt(2 * depth))


def _attention_mask(valid: Bool[Tensor, "batch length"]) -> Bool[Tensor, "batch 1 1 length"]:
    """Lets all look at the valid places, or at all in an example without any: nothing has no mean."""
    return (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]


class _Block(nn.Module):
    """Attention, then a perceptron four times as wide; each normalises first and adds its result."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch 1 1 length"] | None
    ) -> Float[Tensor, "batch length width"]:
        h = h + self.dropout(self.attention_out(self._attend(self.attention_norm(h), mask)))
        inner = functional.gelu(self.mlp_in(self.mlp_norm(h)), approximate="tanh")
        result: Tensor = h + self.dropout(self.mlp_out(inner))
        return result

    def _attend(
        self, h: Float[Tensor, "batch length width"], mask: Bool[Tensor, "batch 1 1 length"] | None
    ) -> Float[Tensor, "batch length width"]:
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout.p if self.training else 0.0
        read = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return read.transpose(1, 2).reshape_as(h)
