"""One number for each parameter of a cell whose parameters each touch one unit."""

import torch
from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.influence.diagonal import diagonal_gradient, diagonal_step
from graves_rnn_training.influence.patterns import SlotClass
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.snap_diagonal import feeds, named_gradients


class UnitTraces:
    """Steps and gradients of such numbers, for one structure of a cell.

    Args:
        cell: whose parameters each touch one unit.
        in_place: overwrite traces.
    """

    def __init__(self, cell: UnitCell, in_place: bool) -> None:
        self.cell_class, self.in_place = type(cell), in_place
        self.units = cell.hidden_size
        self.feeds = feeds(cell, SlotClass(tuple(range(cell.structure.slots)), (True,)))

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces, one for each kind of parameters."""
        return [feed.shape(batch_size) for feed in self.feeds]

    def step(
        self,
        traces: tuple[Tensor, ...],
        decay: Float[Tensor, "#batch"],
        factors: Float[Tensor, "slots units batch"],
        source: Float[Tensor, "sources batch"],
    ) -> tuple[Tensor, ...]:
        """decay * trace + factor * source of each parameter.

        Args:
            traces: of the step before.
            decay: of each sequence, or of all.
            factors: of the slot of each parameter.
            source: what the parameters multiply.
        """
        within = decay.expand(1, 1, *factors.shape[1:])
        inputs = len(source) - self.units - 1
        pieces = torch.split(source, [inputs, self.units, 1])
        origins = dict(zip(("inputs", "hidden", "one"), pieces, strict=True))
        return tuple(
            diagonal_step(trace, feed, within, factors[None], origins[feed.origin], self.in_place)
            for trace, feed in zip(traces, self.feeds, strict=True)
        )

    def squared_norm(self, traces: tuple[Tensor, ...]) -> Float[Tensor, " batch"]:
        """The sum of squares over all parameters, of which two may share a number, as biases do."""
        structure = self.cell_class.structure
        fed = structure.input_slots + structure.hidden_slots
        norm = traces[0].new_zeros(traces[0].shape[-1])
        for trace, feed in zip(traces, self.feeds, strict=True):
            squares = trace.square()
            if feed.origin == "one":
                counts = torch.tensor([fed.count(slot) for slot in feed.slots], device=trace.device)
                squares = squares * counts[:, None, None, None]
            norm = norm + squares.flatten(0, -2).sum(0)
        return norm

    def weighted(self, weights: Float[Tensor, " batch"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The sum over the batch of each trace times the weight of its sequence, by parameter."""
        found = [trace.reshape(-1, len(weights)) @ weights for trace in traces]
        return named_gradients(self.cell_class.structure, self.feeds, found)

    def gradients(self, delta: Float[Tensor, "units batch"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The sum over the batch of each trace times the delta of its unit, by parameter."""
        found = [
            diagonal_gradient(trace, feed, delta) for trace, feed in zip(traces, self.feeds, strict=True)
        ]
        return named_gradients(self.cell_class.structure, self.feeds, found)
