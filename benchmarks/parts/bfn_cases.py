"""What the sides of `bfn_losses.py` are measured on, and what each side must offer."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

STEPS = 1000
"""Messages of a generation, and of the n-step loss."""


@dataclass(frozen=True)
class Case:
    """One kind of data at one size.

    Args:
        kind: the data type.
        batch: examples.
        variables: shape of one example.
        levels: bins or classes; 0 for continuous data.
        accuracy: sigma_1, or beta(1) for discrete data.
        messages: whether the loss is that of `STEPS` messages, without a backward pass, as in evaluation.
    """

    kind: Literal["continuous", "discretised", "discrete"]
    batch: int
    variables: tuple[int, ...]
    levels: int
    accuracy: float
    messages: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, *self.variables)

    def name(self) -> str:
        levels = f" K={self.levels}" if self.levels else ""
        loss = f", {STEPS}-step loss" if self.messages else ""
        return f"{self.kind}{levels}, {'x'.join(map(str, self.variables))}, B={self.batch}{loss}"

    def data(self) -> Tensor:
        """Classes, bin centres, or numbers in [-1, 1]."""
        if self.kind == "continuous":
            return torch.rand(self.shape) * 2 - 1
        index = torch.randint(self.levels, self.shape)
        return index if self.kind == "discrete" else (2 * index + 1) / self.levels - 1

    def outputs(self) -> Tensor:
        """What an untrained network might say: small numbers around 0, which want a gradient."""
        each = {"continuous": 1, "discretised": 2, "discrete": self.levels}[self.kind]
        return (0.1 * torch.randn(*self.shape, each)).requires_grad_()


class Side(Protocol):
    """One implementation, set up for one case with data `x` and a network that always says `outputs`."""

    outputs: Tensor
    variables: int
    """How many variables a loss counts."""

    def __init__(self, case: Case, x: Tensor, outputs: Tensor) -> None: ...

    def loss(self) -> Tensor:
        """The mean loss of so many variables, in nats."""

    def step(self) -> object:
        """The next step of a generation."""

    def final(self) -> Tensor:
        """The data that a generation ends with, from the beliefs after all messages."""


CASES = {
    "continuous": Case("continuous", 32, (32, 32, 3), 0, 1e-3),
    "discretised256": Case("discretised", 8, (32, 32, 3), 256, 1e-3),
    "discretised16": Case("discretised", 8, (32, 32, 3), 16, 1e-3**0.5),
    "discrete27": Case("discrete", 64, (256,), 27, 0.5625),
    "messages256": Case("discretised", 2, (32, 32, 3), 256, 1e-3, messages=True),
    "messages27": Case("discrete", 8, (256,), 27, 0.5625, messages=True),
}

GOALS = {
    ("continuous", "loss", "ms"): 4,
    ("discretised256", "loss", "ms"): 20,
    ("discretised256", "loss", "MB"): 10,
    ("discretised16", "loss", "ms"): 1.5,
    ("discrete27", "loss", "ms"): 2,
    ("discrete27", "sampling step", "ms"): 3,
    ("messages27", "loss", "ms"): 50,
    ("messages27", "loss", "MB"): 15,
}
"""How many times as much the reference should need at least, by case, work and unit."""
