"""What a network believes the data to be."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class OutputDistribution(Protocol):
    """One independent distribution per variable (p_O); of a `MixedFlow` all results are dicts."""

    @property
    def mean(self) -> Any:
        """The expected data; for classes the probabilities, with one more axis."""

    @property
    def mode(self) -> Any:
        """The most probable data, shape `(batch, *variables)`."""

    def sample(self, noise: Any) -> Any:
        """Data drawn with the given random numbers; each distribution says which numbers it wants."""

    def tempered(self, temperature: float) -> "OutputDistribution":
        """p^(1/temperature), normalised: below 1 sharper, above 1 flatter."""


@dataclass(frozen=True)
class Revealed:
    """An output distribution in which some variables are known.

    Args:
        output: what the network says.
        x: data, `(batch, *variables)`.
        x_mean: the same in the form of `mean`.
        known: where the data are known, `(batch, *variables)`.
    """

    output: OutputDistribution
    x: Tensor
    x_mean: Tensor
    known: Tensor

    @property
    def mean(self) -> Tensor:
        """The data where they are known."""
        mean: Tensor = self.output.mean
        known = self.known if mean.ndim == self.known.ndim else self.known.unsqueeze(-1)
        return torch.where(known, self.x_mean.to(mean), mean)

    @property
    def mode(self) -> Tensor:
        """The data where they are known."""
        return torch.where(self.known, self.x, self.output.mode)

    def sample(self, noise: Tensor) -> Tensor:
        """The data where they are known."""
        return torch.where(self.known, self.x, self.output.sample(noise))

    def tempered(self, temperature: float) -> "Revealed":
        """What is known stays certain."""
        return Revealed(self.output.tempered(temperature), self.x, self.x_mean, self.known)
