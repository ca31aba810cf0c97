"""The influence of any order as a masked matrix: for cells of any kind, and where nearly all is kept."""

from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.learners.influences import dense_gradient, dense_influence, split_gradient


class MaskedInfluence:
    """Steps and gradients of `SnAp` with the influence as a whole matrix.

    Args:
        cell: any.
        mask: what is kept.
        in_place: overwrite the trace.
    """

    batch_last = False

    def __init__(self, cell: OnlineCell, mask: Bool[Tensor, "state parameters"], in_place: bool) -> None:
        self.cell, self.in_place = cell, in_place
        self.shape = tuple(mask.shape)
        self.dropped = None if bool(mask.all()) else ~mask

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the trace, `(batch, state, parameters)`."""
        return [(batch_size, *self.shape)]

    def step(
        self,
        inputs: Float[Tensor, "batch input"],
        hidden: Float[Tensor, "batch state"],
        traces: tuple[Tensor, ...],
    ) -> tuple[Float[Tensor, "batch state"], tuple[Tensor, ...]]:
        """The new state and trace.

        Args:
            inputs: of the step.
            hidden: the state before.
            traces: of the step before.
        """
        (influence,) = traces
        new, moved = dense_influence(self.cell, inputs, hidden, influence, self.in_place, self.dropped)
        return new, (moved,)

    def gradients(self, delta: Float[Tensor, "batch units"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gradient of each parameter by name.

        Args:
            delta: gradient of the output.
            traces: of the step.
        """
        found = split_gradient(self.cell, dense_gradient(delta, traces[0]))
        return {name: gradient for (name, _), gradient in zip(self.cell.learned(), found, strict=True)}
