"""Fading influences of cells whose parameters each touch one unit: one number for each parameter."""

import torch
from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.layers.cells.unit import UnitCell, Whole
from graves_rnn_training.layers.learners.unit_traces import UnitTraces


class UnitDecay:
    """Steps and gradients of `RFLO` for one structure of a cell; features first, batch last.

    Args:
        cell: whose parameters each touch one unit.
        decay: share of the influence that is left after a step.
        in_place: overwrite traces.
    """

    def __init__(self, cell: UnitCell, decay: float, in_place: bool) -> None:
        self.step_of, self.units, self.decay = cell.linearised_step, cell.hidden_size, decay
        self.influence = UnitTraces(cell, in_place)

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces."""
        return self.influence.shapes(batch_size)

    def step(
        self,
        inputs: Float[Tensor, "input batch"],
        hidden: Float[Tensor, "state batch"],
        traces: tuple[Tensor, ...],
        weights: Whole,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The new state and traces.

        Args:
            inputs: of the step.
            hidden: the state before.
            traces: of the step before.
            weights: of the cell.
        """
        step = self.step_of(inputs, hidden, weights)
        source = torch.cat([inputs, hidden[: self.units], torch.ones_like(inputs[:1])])
        after = self.influence.step(traces, inputs.new_full((1,), self.decay), step.factors[0], source)
        return step.state.flatten(0, 1), after

    def gradients(self, delta: Float[Tensor, "units batch"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gradient of each parameter by name.

        Args:
            delta: gradient of the output.
            traces: of the step.
        """
        return self.influence.gradients(delta, traces)
