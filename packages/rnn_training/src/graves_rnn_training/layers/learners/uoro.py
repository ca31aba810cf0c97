"""Unbiased online recurrent optimisation: the influence as an outer product that is right on average."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call, jvp, vjp, vmap

from graves_rnn_training.influence.rank_one import rank_one_step
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.base import OnlineState
from graves_rnn_training.layers.learners.engines import Kernels, kernels
from graves_rnn_training.layers.learners.influences import restarted, split_gradient
from graves_rnn_training.layers.learners.remade import Remade
from graves_rnn_training.layers.learners.signed import SignedLearner
from graves_rnn_training.layers.learners.uoro_units import UnitRankOne


class UORO(SignedLearner):
    """Carries two vectors for each sequence whose outer product is the influence on average: noisy, unbiased.

    They take as much memory as the state and the parameters, and a step about as much time as `SnAp` of
    order 1. Every step draws a sign for each number of the state, from torch's global generator unless
    `forward` is given another or the signs themselves.

    Args:
        cell: one time step of the network.
        compile: compile the step and the gradient of the built-in cells with `torch.compile`.
        in_place: overwrite the traces at every step; see `ForwardLearner`.
        max_trace_bytes: the most memory that the traces of a batch may take; no limit by default.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> learner = UORO(GRUCell(input_size=3, hidden_size=8))
        >>> state = learner.initial_state(batch_size=2)
        >>> output, state = learner(torch.randn(2, 3), state, generator=torch.Generator().manual_seed(0))
        >>> output.sum().backward()

    Source: Tallec and Ollivier 2017, algorithm 1, with a pair of vectors for each sequence of a batch.
    """

    def __init__(
        self,
        cell: OnlineCell,
        compile: bool = False,
        in_place: bool = True,
        max_trace_bytes: int | None = None,
    ) -> None:
        super().__init__(cell, in_place, max_trace_bytes)
        self.compiles = compile
        self._made: Remade[Kernels] = Remade()

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of s~ and theta~; the latter is in pieces for the built-in cells, whose last axis is the batch."""
        if isinstance(self.cell, UnitCell):
            return self._kernels(self.cell).shapes(batch_size)
        return [
            (batch_size, self.state_size),
            (batch_size, sum(value.numel() for _, value in self.cell.learned())),
        ]

    @property
    def signs_per_step(self) -> int:
        """One for each number of the state."""
        return self.state_size

    def signed_step(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState, signs: Float[Tensor, "batch signs"]
    ) -> OnlineState:
        """One step of the state and of the two vectors."""
        if isinstance(self.cell, UnitCell):
            return self._unit_step(self.cell, inputs, state, signs)
        return self._general_step(inputs, state, signs)

    def gradients(self, delta: Float[Tensor, "batch hidden"], saved: tuple[Tensor, ...]) -> list[Tensor]:
        """(delta s~) theta~, summed over the batch."""
        if isinstance(self.cell, UnitCell):
            found = self._kernels(self.cell).gradients(delta.T.contiguous(), saved)
            return [found[name] for name, _ in self.cell.learned()]
        direction, parameters = saved
        weights = (delta * self.cell.output(direction)).sum(1)
        return split_gradient(self.cell, weights @ parameters)

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true."""
        return restarted(state, done, self.in_place, batch_last=isinstance(self.cell, UnitCell))

    def _unit_step(self, cell: UnitCell, inputs: Tensor, state: OnlineState, signs: Tensor) -> OnlineState:
        """By what is known of the cell, features first."""
        given = inputs.T.contiguous(), state.hidden.T.contiguous(), state.traces, signs.T.contiguous()
        hidden, traces = self._kernels(cell).step(*given, cell.whole_weights())
        return OnlineState(hidden.T, traces)

    def _kernels(self, cell: UnitCell) -> Kernels:
        return self._made.of(cell, lambda: kernels(UnitRankOne(cell, self.in_place), self.compiles))

    def _general_step(self, inputs: Tensor, state: OnlineState, signs: Tensor) -> OnlineState:
        """By products of D and I with a vector, which `torch.func` computes."""
        direction, parameters = state.traces
        learned = {name: value.detach() for name, value in self.cell.learned()}

        def signed(x: Tensor, before: Tensor, nu: Tensor) -> Tensor:
            if not learned:
                return nu[:0]
            after = lambda values: functional_call(self.cell, values, (x[None], before[None]))[0]
            (found,) = vjp(after, learned)[1](nu)
            return torch.cat([found[name].flatten() for name in learned])

        hidden, moved, *_ = jvp(lambda before: self.cell(inputs, before), (state.hidden,), (direction,))
        immediate = vmap(signed)(inputs, state.hidden, signs)
        return OnlineState(hidden, rank_one_step(parameters, moved, immediate, signs, self.in_place))
