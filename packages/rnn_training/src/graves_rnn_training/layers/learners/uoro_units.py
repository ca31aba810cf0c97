"""Unbiased online recurrent optimisation of cells whose parameters each touch one unit."""

import torch
from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.equations.units import pre_activations
from graves_rnn_training.influence.rank_one import balance, moved_by_units, signed_factors
from graves_rnn_training.layers.cells.unit import UnitCell, Whole
from graves_rnn_training.layers.learners.unit_traces import UnitTraces


class UnitRankOne:
    """Steps and gradients of `UORO` for one structure of a cell; features first, batch last.

    The first trace is s~, the others are theta~, which is never written as one vector.

    Args:
        cell: whose parameters each touch one unit.
        in_place: overwrite theta~.
    """

    def __init__(self, cell: UnitCell, in_place: bool) -> None:
        self.structure, self.step_of = cell.structure, cell.linearised_step
        self.units, self.parameters = cell.hidden_size, UnitTraces(cell, in_place)
        self.kept = cell.weight_ih_mask.to(cell.bias_ih), cell.weight_hh_mask.to(cell.bias_ih)

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces."""
        state = self.structure.parts * self.units
        return [(state, batch_size), *self.parameters.shapes(batch_size)]

    def step(
        self,
        inputs: Float[Tensor, "input batch"],
        hidden: Float[Tensor, "state batch"],
        traces: tuple[Tensor, ...],
        signs: Float[Tensor, "state batch"],
        weights: Whole,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The new state and traces.

        Args:
            inputs: of the step.
            hidden: the state before.
            traces: of the step before.
            signs: nu.
            weights: of the cell.
        """
        step = self.step_of(inputs, hidden, weights)
        source = torch.cat([inputs, hidden[: self.units], inputs.new_ones(1, inputs.shape[1])])
        direction, *parameters = traces
        nu = signs.view_as(step.state)
        moved = moved_by_units(direction.view_as(step.state), step, weights.weight_hh, self.structure)
        factors = signed_factors(step, nu)
        norms = (
            self.parameters.squared_norm(tuple(parameters)),
            moved.square().sum((0, 1)),
            (factors.square() * self._squared_sources(source)).sum((0, 1)),
            nu.square().sum((0, 1)),
        )
        old, new = balance(*(norm.sqrt() for norm in norms))
        after = self.parameters.step(tuple(parameters), 1 / old, factors / new, source)
        return step.state.flatten(0, 1), ((old * moved + new * nu).flatten(0, 1), *after)

    def gradients(self, delta: Float[Tensor, "units batch"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """(delta s~) theta~, summed over the batch, by parameter.

        Args:
            delta: gradient of the output.
            traces: of the step.
        """
        direction, *parameters = traces
        return self.parameters.weighted((delta * direction[: self.units]).sum(0), tuple(parameters))

    def _squared_sources(self, source: Tensor) -> Tensor:
        """The sum of v^2 over the parameters of every slot of every unit, biases included."""
        squares = source[:-1].square()
        inputs = len(squares) - self.units
        shape = (self.structure.gates, self.units, squares.shape[1])
        given = (self.kept[0] @ squares[:inputs]).view(shape) + 1
        recurrent = (self.kept[1] @ squares[inputs:]).view(shape) + 1
        return torch.stack(pre_activations(self.structure, given, recurrent))
