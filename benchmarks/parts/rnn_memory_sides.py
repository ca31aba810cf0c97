"""The sides of `rnn_memory.py`: one gradient of an LSTM over a long sequence, computed in several ways."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cost import PlanCost
from graves_rnn_training.layers.scan.scan import checkpointed_scan, plan_cost


@dataclass(frozen=True)
class Sizes:
    """Of the network and its data."""

    steps: int = 1000
    batch: int = 32
    inputs: int = 64
    hidden: int = 256
    outputs: int = 8


class Problem:
    """An LSTM with a linear readout and a squared error at every step.

    Args:
        sizes: of network and data.
    """

    def __init__(self, sizes: Sizes) -> None:
        torch.manual_seed(0)
        self.sizes = sizes
        self.x = torch.randn(sizes.steps, sizes.batch, sizes.inputs)
        self.y = torch.randn(sizes.steps, sizes.batch, sizes.outputs)
        self.zeros = (torch.zeros(sizes.batch, sizes.hidden), torch.zeros(sizes.batch, sizes.hidden))
        self.cell = nn.LSTMCell(sizes.inputs, sizes.hidden)
        self.lstm = nn.LSTM(sizes.inputs, sizes.hidden)
        for name, weight in self.cell.named_parameters():
            getattr(self.lstm, f"{name}_l0").data.copy_(weight.detach())
        self.linear = nn.Linear(sizes.hidden, sizes.outputs)
        self.calls = 0
        self.cell.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def readout(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.linear(h) - y).square().mean()

    def gradients(self) -> list[Tensor]:
        """Those of the last call, of cell or layer and of the readout."""
        weights = [*self.cell.parameters(), *self.lstm.parameters(), *self.linear.parameters()]
        return [weight.grad for weight in weights if weight.grad is not None]

    def trains(self, loss: Callable[[], Tensor]) -> Callable[[], None]:
        """A gradient from scratch."""

        def train() -> None:
            for module in (self.cell, self.lstm, self.linear):
                module.zero_grad(set_to_none=True)
            self.calls = 0
            loss().backward()

        return train

    def loop(self) -> Callable[[], None]:
        """Full backpropagation through time, in a loop over the cell."""
        return self.trains(lambda: self._chunk(self.x, self.y, *self.zeros)[0])

    def ours(self, budget: MemoryBudget) -> Callable[[], None]:
        """A checkpointed scan of the cell."""
        return self.trains(lambda: checkpointed_scan(**self._scan(self.cell, budget))[0])

    def cost(self, budget: MemoryBudget) -> PlanCost:
        """What that is planned to cost."""
        return plan_cost(**self._scan(self.cell, budget))

    def checkpointed(self, chunk: int) -> Callable[[], None]:
        """`torch.utils.checkpoint` around so many steps of the loop at a time, without reentering."""

        def loss() -> Tensor:
            state, total = self.zeros, torch.zeros(())
            for x, y in zip(self.x.split(chunk), self.y.split(chunk), strict=True):
                part, *state = checkpoint(
                    self._chunk, x, y, *state, use_reentrant=False, preserve_rng_state=False
                )
                total = total + part
            return total

        return self.trains(loss)

    def layer(self) -> Callable[[], None]:
        """Full backpropagation through time, by `nn.LSTM`."""

        def loss() -> Tensor:
            outputs, _ = self.lstm(self.x)
            return self._losses(outputs, self.y).sum()

        return self.trains(loss)

    def segments(self, budget: MemoryBudget) -> Callable[[], None]:
        """A checkpointed scan of segments of `nn.LSTM`."""
        arguments = self._scan(self.lstm, budget) | {"state": None, "readout": self._losses}
        return self.trains(lambda: checkpointed_scan(**arguments)[0])

    def segments_cost(self, budget: MemoryBudget) -> PlanCost:
        """What that is planned to cost."""
        return plan_cost(**self._scan(self.lstm, budget) | {"state": None, "readout": self._losses})

    def _scan(self, cell: nn.Module, budget: MemoryBudget) -> dict[str, Any]:
        return {
            "cell": cell,
            "inputs": self.x,
            "state": self.zeros,
            "readout": self.readout,
            "targets": self.y,
            "budget": budget,
            "outputs": "sum",
            "parameters": list(self.linear.parameters()),
        }

    def _losses(self, h: Tensor, y: Tensor) -> Tensor:
        return (self.linear(h) - y).square().mean((1, 2))

    def _chunk(self, x: Tensor, y: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = torch.zeros(())
        for step in range(len(x)):
            h, c = self.cell(x[step], (h, c))
            total = total + self.readout(h, y[step])
        return total, h, c
