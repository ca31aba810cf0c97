"""Kronecker-factored real-time recurrent learning of the vanilla cell."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.influence.dense import sources
from graves_rnn_training.influence.kronecker import kronecker_step
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.learners.base import OnlineState
from graves_rnn_training.layers.learners.influences import restarted
from graves_rnn_training.layers.learners.signed import SignedLearner


class KFRTRL(SignedLearner):
    """Carries a vector and a matrix whose Kronecker product is the influence on average.

    Like `UORO` it has no bias, but less noise, for a product of square matrices at every step. It needs cells
    in which a unit has one pre-activation. Every step draws two signs, from torch's global generator unless
    `forward` is given another or the signs themselves. Nothing is overwritten: `backward` may come later.

    Args:
        cell: a `VanillaCell`, dense or sparse.
        max_trace_bytes: the most memory that the traces of a batch may take; no limit by default.

    Raises:
        TypeError: when the cell is another one.

    Example:
        >>> learner = KFRTRL(VanillaCell(input_size=3, hidden_size=8))
        >>> output, state = learner(torch.randn(2, 3), learner.initial_state(batch_size=2))
        >>> output.sum().backward()

    Source: Mujika et al. 2018.
    """

    cell: VanillaCell

    def __init__(self, cell: VanillaCell, max_trace_bytes: int | None = None) -> None:
        super().__init__(cell, in_place=False, max_trace_bytes=max_trace_bytes)
        if not isinstance(cell, VanillaCell):
            raise TypeError(f"KFRTRL needs a VanillaCell, got {type(cell).__name__}; UORO takes any cell")

    @property
    def signs_per_step(self) -> int:
        """One for what was there and one for what is new."""
        return 2

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of u, `(batch, input + hidden + 1)`, and A, `(batch, hidden, hidden)`."""
        sizes = self.input_size + self.hidden_size + 1
        return [(batch_size, sizes), (batch_size, self.hidden_size, self.hidden_size)]

    def signed_step(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState, signs: Float[Tensor, "batch signs"]
    ) -> OnlineState:
        """One step of the state, of u and of A."""
        row, matrix = state.traces
        step = self.cell.linearise(inputs, state.hidden)
        factors = step.factors[0, 0].T
        moved = factors[..., None] * (self.cell.matrix("weight_hh") @ matrix)
        traces = kronecker_step(row, moved, sources(inputs, state.hidden), factors, signs)
        return OnlineState(step.state[0].T, traces)

    def gradients(self, delta: Float[Tensor, "batch hidden"], saved: tuple[Tensor, ...]) -> list[Tensor]:
        """delta^T A times u, summed over the batch, where entries are kept."""
        row, matrix = saved
        of_unit = (delta[:, None] @ matrix)[:, 0]
        sizes = [self.input_size, self.hidden_size, 1]
        by_input, by_hidden, bias = torch.split(of_unit.T @ row, sizes, 1)
        found = {
            "weight_ih": self.cell.kept("weight_ih").values(by_input),
            "weight_hh": self.cell.kept("weight_hh").values(by_hidden),
            "bias_ih": bias[:, 0],
            "bias_hh": bias[:, 0],
        }
        return [found[name] for name, _ in self.cell.learned()]

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true."""
        return restarted(state, done, in_place=False, batch_last=False)
