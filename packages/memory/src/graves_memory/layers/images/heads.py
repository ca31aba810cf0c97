"""From features to normal distributions over addresses and codes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_memory.kanerva.gaussian import DiagonalNormal
from graves_memory.kanerva.precision import at_least_float32
from graves_memory.layers.network import check_sizes

MOST = 12.0
"""Logarithms of variances stay within this of zero, so that no exponential overflows."""


class GaussianHead(nn.Module):
    """A linear layer, or a perceptron with one hidden layer, that gives a mean and a variance of each number.

    Args:
        inputs: how many features it sees.
        size: numbers of what is distributed.
        hidden_size: hidden units; None for a linear layer alone.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> GaussianHead(8, 3)(torch.randn(5, 8)).mean.shape
        torch.Size([5, 3])
    """

    def __init__(self, inputs: int, size: int, hidden_size: int | None = None) -> None:
        super().__init__()
        check_sizes(
            {"inputs": inputs, "size": size, "hidden_size": 1 if hidden_size is None else hidden_size}
        )
        self.size = size
        last = nn.Linear(inputs if hidden_size is None else hidden_size, 2 * size)
        self.layers = (
            nn.Sequential(last)
            if hidden_size is None
            else nn.Sequential(nn.Linear(inputs, hidden_size), nn.ReLU(), last)
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def forward(self, features: Float[Tensor, "*batch features"]) -> DiagonalNormal:
        """The distribution of each row of features.

        Args:
            features: what is known.
        """
        mean, raw = at_least_float32(self.layers(features.to(self.dtype))).chunk(2, -1)
        return DiagonalNormal(mean, MOST * (raw / MOST).tanh())
