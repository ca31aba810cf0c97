"""The sides of `rnn_memory.py`: one gradient of an LSTM over a long sequence, computed in several ways."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graves_rnn_training import MemoryBudget, checkpointed_scan, plan_cost
from graves_rnn_training.layers.scan.cost import PlanCost

Side = Callable[[], Tensor]


class Setting:
    """A cell, a readout and data.

    Args:
        steps: length of the sequence.
        batch: sequences.
        inputs: numbers read at a step.
        hidden: units of the cell.
    """

    def __init__(self, steps: int, batch: int = 32, inputs: int = 64, hidden: int = 256) -> None:
        torch.manual_seed(0)
        self.cell, self.readout = nn.LSTMCell(inputs, hidden), nn.Linear(hidden, 8)
        self.whole = nn.LSTM(inputs, hidden)
        self.x, self.y = torch.randn(steps, batch, inputs), torch.randn(steps, batch, 8)
        self.start = torch.zeros(batch, hidden), torch.zeros(batch, hidden)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return (self.readout(output) - target).square().mean()

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """One for each step."""
        return (self.readout(output) - target).square().mean((1, 2))

    def piece(self, x: Tensor, y: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loop: sum of the losses of some steps, and the state after them."""
        total = torch.zeros(())
        for now, target in zip(x, y, strict=True):
            h, c = self.cell(now, (h, c))
            total = total + self.loss(h, target)
        return total, h, c

    def full(self) -> Tensor:
        return self.piece(self.x, self.y, *self.start)[0] / len(self.x)

    def chunked(self, size: int) -> Tensor:
        """The loop in chunks, each of which runs again for its gradient."""
        total, (h, c) = torch.zeros(()), self.start
        for x, y in zip(self.x.split(size), self.y.split(size), strict=True):
            part, h, c = checkpoint(self.piece, x, y, h, c, use_reentrant=False, preserve_rng_state=False)
            total = total + part
        return total / len(self.x)

    def ours(self, budget: MemoryBudget) -> Tensor:
        return checkpointed_scan(self.cell, self.x, self.start, **self.scanned(self.loss, budget))[0]

    def cost(self, budget: MemoryBudget) -> PlanCost:
        """What `ours` is planned to cost."""
        return plan_cost(self.cell, self.x, self.start, **self.scanned(self.loss, budget))

    def scanned(self, readout: Callable[[Tensor, Tensor], Tensor], budget: MemoryBudget) -> dict[str, Any]:
        """What a scan is told besides the cell and what it reads."""
        told = {"readout": readout, "targets": self.y, "budget": budget, "outputs": "mean"}
        return {**told, "parameters": self.readout.parameters()}

    def forwards(self, budget: MemoryBudget) -> int:
        """How often the cell runs in one gradient, which is exactly as often as the plan says."""
        calls: list[None] = []
        hook = self.cell.register_forward_hook(lambda *_: calls.append(None))
        expected = self.cost(budget).forwards
        calls.clear()
        self.train(lambda: self.ours(budget))()
        hook.remove()
        if len(calls) != expected:
            raise RuntimeError(f"the cell ran {len(calls)} times, not {expected}")
        return expected

    def fused(self) -> Tensor:
        """The fused kernel over the whole sequence."""
        return self.losses(self.whole(self.x)[0], self.y).mean()

    def segments(self, budget: MemoryBudget) -> Tensor:
        """The fused kernel over segments of many steps, each of them a step of the plan."""
        return checkpointed_scan(self.whole, self.x, **self.scanned(self.losses, budget))[0]

    def within(self, kind: str, budget: MemoryBudget) -> Side:
        """Ours, of the cell or of the layer."""
        return lambda: self.segments(budget) if kind == "nn.LSTM" else self.ours(budget)

    def train(self, side: Side) -> Callable[[], object]:
        """A gradient from scratch."""
        modules = nn.ModuleList([self.cell, self.readout, self.whole])

        def run() -> None:
            modules.zero_grad()
            side().backward()

        return run

    def gradient_megabytes(self) -> float:
        """Gradients of the parameters: those of a step, the sum so far, and the one that it becomes."""
        weights = [*self.cell.parameters(), *self.readout.parameters()]
        return 3 * sum(4 * weight.numel() for weight in weights) / 1e6
