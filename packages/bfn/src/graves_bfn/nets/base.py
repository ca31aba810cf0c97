"""What every network of a Bayesian flow takes and returns."""

import math
from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from graves_bfn.nets.checks import check_positive
from graves_core.spec import Spec


class BFNNetwork(Spec, nn.Module, ABC):
    """Base of all networks: sees the parameters of every variable and the time, speaks about every variable.

    A subclass calls `super().__init__` with the three numbers below and defines `forward(inputs, t)`.

    - `inputs` are the raw parameters of the input distribution. Means (continuous and discretised data) come
      as `(batch, *shape)`. Probabilities (discrete data) come as `(batch, *shape, inputs_per_variable)`:
      all K classes, or for K = 2 the probability of class 0 alone. `features` brings both into one form.
    - `t` is one time in [0, 1] per example.
    - The output is `(batch, *shape, outputs_per_variable)`: one noise estimate (continuous), mean and
      log-deviation of the noise (discretised), K logits (discrete), or for K = 2 the logit of class 1 alone.
      Under autocast it may come in half precision: whoever computes a loss from it casts it up.

    Args:
        shape: shape of one example; images are (height, width, channels).
        inputs_per_variable: 1 for means and for K = 2, else K.
        outputs_per_variable: 1, 2 or K as above.

    Raises:
        ValueError: when a number is below 1 or `shape` is empty.

    Example:
        >>> import torch
        >>> class Affine(BFNNetwork):
        ...     def __init__(self, length: int) -> None:
        ...         super().__init__((length,), inputs_per_variable=1, outputs_per_variable=2)
        ...         self.layer = nn.Linear(2, 2)
        ...
        ...     def forward(self, inputs, t):
        ...         x = self.features(inputs)
        ...         return self.layer(torch.cat([x, t[:, None, None].expand_as(x)], dim=-1))
        >>> Affine(length=3)(torch.randn(5, 3), torch.rand(5)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, shape: tuple[int, ...], inputs_per_variable: int, outputs_per_variable: int) -> None:
        super().__init__()
        if not shape or min(shape) < 1:
            raise ValueError(f"shape must hold at least one number, all of them positive, got {tuple(shape)}")
        check_positive("inputs_per_variable", inputs_per_variable)
        check_positive("outputs_per_variable", outputs_per_variable)
        self.shape = tuple(shape)
        self.inputs_per_variable = inputs_per_variable
        self.outputs_per_variable = outputs_per_variable

    @property
    def variables(self) -> int:
        """Number of variables of one example."""
        return math.prod(self.shape)

    @abstractmethod
    def forward(
        self, inputs: Float[Tensor, "batch *variables"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *outputs"]:
        """Computes the parameters of the output distribution.

        Args:
            inputs: `(batch, *shape)` means or `(batch, *shape, inputs_per_variable)` probabilities.
            t: one time in [0, 1] per example.

        Returns:
            `(batch, *shape, outputs_per_variable)`.
        """

    def features(
        self, inputs: Float[Tensor, "batch *variables"]
    ) -> Float[Tensor, "batch *shape {self.inputs_per_variable}"]:
        """Gives every variable a last axis of features around zero: the mean itself, or 2 p - 1.

        Raises:
            ValueError: when `inputs` has neither of the two shapes that the class describes.
        """
        given = tuple(inputs.shape[1:])
        if given == (*self.shape, self.inputs_per_variable):
            return 2 * inputs - 1
        if given == self.shape and self.inputs_per_variable == 1:
            return inputs.unsqueeze(-1)
        expected = f"(batch, *{(*self.shape, self.inputs_per_variable)}) for probabilities"
        if self.inputs_per_variable == 1:
            expected += f" or (batch, *{self.shape}) for means"
        raise ValueError(f"inputs must have the shape {expected}, got {tuple(inputs.shape)}")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the parameters as an optimizer takes them; a group may overrule `weight_decay`."""
        return [{"params": list(self.parameters())}]
