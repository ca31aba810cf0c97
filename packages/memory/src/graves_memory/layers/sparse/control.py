"""The LSTM that controls a sparse memory: few operations a step, weights' gradients of many steps at once."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from graves_memory.layers.sparse.access import DOUBLE

FOLD = 64
"""After so many steps their share of the weights' gradients is summed up."""

Projected = Float[Tensor, "batch gates"]
Given = Float[Tensor, "batch given"]
Read = Float[Tensor, "batch read"]
Hidden = Float[Tensor, "batch hidden"]
Interface = Float[Tensor, "batch interface"]
Recurrent = Float[Tensor, "gates given"]
Steering = Float[Tensor, "interface hidden"]
Bias = Float[Tensor, " interface"]


class Weights(NamedTuple):
    """Of the LSTM and the interface, as the steps of a sequence use them.

    Args:
        recurrent: of what was read and of the hidden state, for input, forget and output gate and for the
            new cell in the order of `nn.LSTMCell`.
        interface: of the hidden state.
        bias: of the interface.
    """

    recurrent: Recurrent
    interface: Steering
    bias: Bias


class Gathered:
    """The gradients of the weights, gathered over the steps of a sequence.

    Args:
        weights: whose.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.shift = torch.zeros_like(weights.recurrent[:, 0])
        self.shift.chunk(4)[2].fill_(1)
        self.transposed = weights.recurrent.t(), weights.interface.t()
        self._totals = [torch.zeros_like(weight) for weight in weights]
        self._steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, of_gates: Projected, given: Given, of_interface: Interface, hidden: Hidden) -> None:
        """Notes a step.

        Args:
            of_gates: the derivative by what the gates are made of.
            given: what was read and the hidden state.
            of_interface: the derivative by the interface.
            hidden: the new hidden state.
        """
        self._steps.append((of_gates, given, of_interface, hidden))
        if len(self._steps) == FOLD:
            self._fold()

    def take(self) -> list[Tensor]:
        """The gradients of all weights; they begin anew."""
        self._fold()
        totals, self._totals = self._totals, [torch.zeros_like(weight) for weight in self.weights]
        return totals

    def _fold(self) -> None:
        if not self._steps:
            return
        of_gates, given, of_interface, hidden = (torch.cat(part) for part in zip(*self._steps, strict=True))
        self._totals[0].addmm_(of_gates.t(), given)
        self._totals[1].addmm_(of_interface.t(), hidden)
        self._totals[2] += of_interface.sum(0)
        self._steps = []


class ShareWeights(Function):
    """Gives the weights their gradients, after all steps have gone backward."""

    @staticmethod
    def forward(
        ctx: Any, recurrent: Recurrent, interface: Steering, bias: Bias, gathered: Gathered
    ) -> Tensor:
        """A token that the steps take.

        Args:
            ctx: of the function.
            recurrent: as in `Weights`.
            interface: as in `Weights`.
            bias: as in `Weights`.
            gathered: where the steps leave their share.
        """
        ctx.gathered = gathered
        return recurrent.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Any) -> Any:
        """The sums over the steps."""
        return *ctx.gathered.take(), None


class ControlStep(Function):
    """`control` for autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        shared: Tensor,
        projected: Projected,
        read: Read,
        hidden: Hidden,
        cell: Hidden,
        gathered: Gathered,
        clip: float | None,
    ) -> tuple[Hidden, Hidden, Interface]:
        """The new hidden state, the new cell, and the interface.

        Args:
            ctx: of the function.
            shared: the token of the weights.
            projected: as in `control`.
            read: as in `control`.
            hidden: as in `control`.
            cell: as in `control`.
            gathered: the weights and their gradients.
            clip: as in `control`.
        """
        ctx.set_materialize_grads(False)
        run = _run(gathered, projected, read, hidden, cell, clip)
        ctx.gathered, ctx.clip = gathered, clip
        ctx.save_for_backward(cell, *run)
        return run.hidden, run.cell, run.interface

    @staticmethod
    def backward(ctx: Any, of_hidden: Any, of_cell: Any, of_interface: Any) -> Any:
        """The derivatives by all but the weights, whose share is left to them."""
        if torch.is_grad_enabled():
            raise RuntimeError(DOUBLE)
        before, *saved = ctx.saved_tensors
        run = _Run(*saved)
        weights = ctx.gathered.weights
        if of_interface is None:
            of_interface = torch.zeros_like(run.interface)
        if ctx.clip is not None:
            of_interface = of_interface * (run.interface.abs() < ctx.clip)
        through = of_interface @ weights.interface
        of_hidden = through if of_hidden is None else through.add_(of_hidden)
        of_gates, of_cell = _gate_gradients(run, before, of_hidden, of_cell, ctx.clip, ctx.gathered.shift)
        ctx.gathered.add(of_gates, run.given, of_interface, run.hidden)
        of_given = of_gates @ weights.recurrent
        units = before.shape[1]
        of_read, of_before = of_given.split_with_sizes((of_given.shape[1] - units, units), 1)
        of_cell *= run.gates.narrow(1, units, units)
        return None, of_gates, of_read, of_before, of_cell, None, None


class _Run(NamedTuple):
    """The forward pass; gates are i, f, g and o."""

    hidden: Tensor
    cell: Tensor
    interface: Tensor
    given: Tensor
    gates: Tensor
    squashed: Tensor


def control(
    shared: Tensor,
    projected: Projected,
    read: Read,
    hidden: Hidden,
    cell: Hidden,
    gathered: Gathered,
    clip: float | None,
) -> tuple[Hidden, Hidden, Interface]:
    """A step of the LSTM: its new hidden state, its new cell, and the interface to the memory.

    Args:
        shared: the token of the weights.
        projected: what the inputs of the step and the biases add to the gates.
        read: from the memory, in the step before.
        hidden: the hidden state before.
        cell: the cell before.
        gathered: the weights and their gradients.
        clip: largest absolute value of the cell and of the interface; None for no limit.
    """
    if torch.is_grad_enabled():
        given = shared, projected, read, hidden, cell, gathered, clip
        result: tuple[Hidden, Hidden, Interface] = ControlStep.apply(*given)  # type: ignore[no-untyped-call]
        return result
    return _run(gathered, projected, read, hidden, cell, clip)[:3]


def _run(
    gathered: Gathered, projected: Tensor, read: Tensor, hidden: Tensor, cell: Tensor, clip: float | None
) -> _Run:
    given = torch.cat((read, hidden), 1)
    recurrent, steering = gathered.transposed
    sums = torch.addmm(projected, given, recurrent)
    gates = sums.sigmoid()
    into, forget, new, out = gates.chunk(4, 1)
    units = cell.shape[1]
    torch.tanh(sums.narrow(1, 2 * units, units), out=new)
    cell = torch.addcmul(forget * cell, into, new)
    squashed = cell.tanh()
    if clip is not None:
        cell = cell.clamp_(-clip, clip)
    hidden = out * squashed
    interface = torch.addmm(gathered.weights.bias, hidden, steering)
    if clip is not None:
        interface = interface.clamp_(-clip, clip)
    return _Run(hidden, cell, interface, given, gates, squashed)


def _gate_gradients(
    run: _Run, before: Tensor, of_hidden: Tensor, of_cell: Tensor | None, clip: float | None, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The derivatives by what the gates are made of, and by the new cell.

    The slopes of i, f, o and g are i - i^2, f - f^2, o - o^2 and 1 - g^2 = (g + 1) - g (g + 1).
    """
    into, _, new, out = run.gates.chunk(4, 1)
    of_squashed = of_hidden * out
    through = torch.addcmul(of_squashed, of_squashed, run.squashed.square(), value=-1)
    if of_cell is not None:
        through += of_cell if clip is None else of_cell * (run.cell.abs() < clip)
    of_cell = through
    of_gates = torch.cat((new, before, into, run.squashed), 1)
    of_gates *= torch.cat((of_cell, of_cell, of_cell, of_hidden), 1)
    moved = run.gates + shift
    of_gates *= torch.addcmul(moved, run.gates, moved, value=-1)
    return of_gates, of_cell
