"""Real-time recurrent learning: the exact gradient, with the influence of every parameter on every state."""

from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.learners.base import Advance, ForwardLearner, OnlineState
from graves_rnn_training.layers.learners.influences import (
    check_fit,
    dense_gradient,
    dense_influence,
    restarted,
    split_gradient,
)


class RTRL(ForwardLearner):
    """Carries J = ds/dtheta along, J' = D J + I, so that delta^T J is the exact gradient of every step.

    Needs `state * parameters` numbers for each sequence, and a product of matrices as large at every step; of
    a sparse cell, the kept weights alone count as parameters.

    Args:
        cell: one time step of the network.
        in_place: overwrite the influence at every step; see `ForwardLearner`.
        max_trace_bytes: the most memory that the influence of a batch may take; no limit by default.

    Example:
        >>> import torch
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> learner = RTRL(GRUCell(input_size=3, hidden_size=8))
        >>> learner.trace_bytes(batch_size=2)
        19968
        >>> output, state = learner(torch.randn(2, 3), learner.initial_state(batch_size=2))
        >>> output.sum().backward()

    Source: Williams and Zipser 1989.
    """

    def __init__(self, cell: OnlineCell, in_place: bool = True, max_trace_bytes: int | None = None) -> None:
        super().__init__(cell, in_place, max_trace_bytes)

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """J, `(batch, state, parameters)`."""
        return [(batch_size, self.cell.state_size, sum(value.numel() for _, value in self.cell.learned()))]

    def advance(self, inputs: Float[Tensor, "batch input"], state: OnlineState) -> Advance:
        """One step of the state and of J."""
        check_fit(self, state, len(inputs))
        (influence,) = state.traces
        hidden, new = dense_influence(self.cell, inputs, state.hidden, influence, self.in_place)
        return Advance(OnlineState(hidden, (new,)), (new,))

    def gradients(self, delta: Float[Tensor, "batch hidden"], saved: tuple[Tensor, ...]) -> list[Tensor]:
        """delta^T J, summed over the batch."""
        return split_gradient(self.cell, dense_gradient(delta, saved[0]))

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true."""
        return restarted(state, done, in_place=self.in_place, batch_last=False)
