"""A residual perceptron for small data."""

from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from graves_bfn.nets.base import BFNNetwork
from graves_bfn.nets.extra_inputs import ExtraInputs
from graves_bfn.nets.perceptron import ResidualPerceptron


class BFNMLP(ResidualPerceptron, BFNNetwork):
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
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when a size is below 1 or `dropout` outside [0, 1).

    Example:
        >>> import torch
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
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        super().__init__(shape, inputs_per_variable, outputs_per_variable, extra_inputs)
        features = self.variables * self.features_per_variable
        self._make_layers(features, self.variables * outputs_per_variable, width, depth, dropout)

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
        features = self.features(inputs, valid=valid, known=known, estimate=estimate)
        outputs = self._perceive(features.flatten(1), t, condition)
        return outputs.view(-1, *self.shape, self.outputs_per_variable)
