"""Random-feedback online learning: immediate influences that fade at a fixed rate."""

from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.base import Advance, ForwardLearner, OnlineState
from graves_rnn_training.layers.learners.engines import Kernels, kernels
from graves_rnn_training.layers.learners.influences import (
    check_fit,
    dense_gradient,
    restarted,
    split_gradient,
)
from graves_rnn_training.layers.learners.remade import Remade
from graves_rnn_training.layers.learners.rflo_units import UnitDecay


class RFLO(ForwardLearner):
    """Carries a fading sum of immediate influences on the output, J' = I + decay * J.

    What the recurrent weights do to an influence is left out. Of leaky units, s' = (1 - alpha) s + alpha f,
    whose I holds the factor alpha, this is the rule of the paper with decay = 1 - alpha, and so are the
    eligibility traces of e-prop for such units. Of other cells the decay is a choice, and the paper's trace
    (1 - alpha) p + alpha I is alpha times this one; of an LSTM the memory c plays no part.

    Use it with `FeedbackLinear` for the random feedback that gives it its name.

    Args:
        cell: one time step of the network.
        decay: share of the influence that is left after a step, in [0, 1]; 0 keeps the immediate one alone.
        compile: compile the step and the gradient of the built-in cells with `torch.compile`.
        in_place: overwrite the influence at every step; see `ForwardLearner`.
        max_trace_bytes: the most memory that the influence of a batch may take; no limit by default.

    Raises:
        ValueError: when `decay` is out of range.

    Example:
        >>> import torch
        >>> from graves_rnn_training.layers.cells.vanilla import VanillaCell
        >>> learner = RFLO(VanillaCell(input_size=3, hidden_size=8), decay=0.9)
        >>> output, state = learner(torch.randn(2, 3), learner.initial_state(batch_size=2))
        >>> output.sum().backward()

    Source: Murray 2019.
    """

    def __init__(
        self,
        cell: OnlineCell,
        decay: float = 0.8,
        compile: bool = False,
        in_place: bool = True,
        max_trace_bytes: int | None = None,
    ) -> None:
        super().__init__(cell, in_place, max_trace_bytes)
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"decay must lie in [0, 1], got {decay}")
        self.decay = decay
        self.compiles = compile
        self._made: Remade[Kernels] = Remade()

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """One number for each parameter of the built-in cells; of others, `(batch, hidden, parameters)`."""
        if isinstance(self.cell, UnitCell):
            return self._kernels(self.cell).shapes(batch_size)
        return [(batch_size, self.hidden_size, sum(value.numel() for _, value in self.cell.learned()))]

    def advance(self, inputs: Float[Tensor, "batch input"], state: OnlineState) -> Advance:
        """One step of the state and of the influence."""
        check_fit(self, state, len(inputs))
        if isinstance(self.cell, UnitCell):
            given = inputs.T.contiguous(), state.hidden.T.contiguous(), state.traces
            hidden, traces = self._kernels(self.cell).step(*given, self.cell.whole_weights())
            return Advance(OnlineState(hidden.T, traces), traces)
        maps = self.cell.linear_maps(inputs, state.hidden)
        trace = state.traces[0] if self.in_place else state.traces[0].clone()
        trace.mul_(self.decay).add_(maps.immediate[:, : self.hidden_size])
        return Advance(OnlineState(maps.state, (trace,)), (trace,))

    def gradients(self, delta: Float[Tensor, "batch hidden"], saved: tuple[Tensor, ...]) -> list[Tensor]:
        """delta^T J, summed over the batch."""
        if isinstance(self.cell, UnitCell):
            found = self._kernels(self.cell).gradients(delta.T.contiguous(), saved)
            return [found[name] for name, _ in self.cell.learned()]
        return split_gradient(self.cell, dense_gradient(delta, saved[0]))

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true."""
        return restarted(state, done, self.in_place, batch_last=isinstance(self.cell, UnitCell))

    def _kernels(self, cell: UnitCell) -> Kernels:
        def make() -> Kernels:
            return kernels(UnitDecay(cell, self.decay, self.in_place), self.compiles)

        return self._made.of(cell, make)
