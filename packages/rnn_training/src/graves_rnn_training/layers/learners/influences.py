"""What learners with an influence matrix have in common."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.influence.dense import dense_step, dynamics, immediate, sources
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.base import Learner, OnlineState

SLICES = 8
"""In how many parts an influence is overwritten."""

NARROW = 256
"""Columns of a part at least."""


def check_fit(
    learner: Learner, state: OnlineState, batch_size: int, shapes: list[tuple[int, ...]] | None = None
) -> None:
    """Compares a state with what the learner carries now.

    Args:
        learner: whose state.
        state: before a step.
        batch_size: of the inputs of the step.
        shapes: of the traces, where they are known already.

    Raises:
        ValueError: when the state was made for another batch, cell or pattern.
    """
    traces = learner.trace_shapes(batch_size) if shapes is None else shapes
    wanted = [(batch_size, learner.cell.state_size), *traces]
    given = [tensor.shape for tensor in (state.hidden, *state.traces)]
    if given != wanted:
        raise ValueError(
            f"state has tensors of shapes {[*map(tuple, given)]}, but {type(learner).__name__} needs "
            f"{wanted} for these inputs; after a change of batch size or masks begin with initial_state()"
        )


def restarted(
    state: OnlineState, done: Bool[Tensor, "batch"], in_place: bool, batch_last: bool
) -> OnlineState:
    """The state with zeros where a sequence starts anew, whatever stood there.

    Args:
        state: before.
        done: which sequences start anew.
        in_place: overwrite the traces.
        batch_last: whether the batch is the last axis of the traces instead of the first.
    """

    def cleared(trace: Tensor) -> Tensor:
        mask = done if batch_last else done.view(-1, *[1] * (trace.ndim - 1))
        return trace.masked_fill_(mask, 0) if in_place else trace.masked_fill(mask, 0)

    hidden = state.hidden.masked_fill(done[:, None], 0)
    return OnlineState(hidden, tuple(cleared(trace) for trace in state.traces))


def split_gradient(cell: OnlineCell, gradient: Float[Tensor, " parameters"]) -> list[Tensor]:
    """The gradient of each learned parameter out of that of all."""
    parameters = [value for _, value in cell.learned()]
    parts = torch.split(gradient, [value.numel() for value in parameters])
    return [part.view_as(value) for part, value in zip(parts, parameters, strict=True)]


def dense_gradient(
    delta: Float[Tensor, "batch hidden"], influence: Float[Tensor, "batch state parameters"]
) -> Float[Tensor, " parameters"]:
    """Sum over the batch of delta^T J."""
    return torch.bmm(delta[:, None], influence[:, : delta.shape[1]]).sum((0, 1))


def dense_influence(
    cell: OnlineCell,
    inputs: Float[Tensor, "batch input"],
    hidden: Float[Tensor, "batch state"],
    influence: Float[Tensor, "batch state parameters"],
    in_place: bool,
    dropped: Bool[Tensor, "state parameters"] | None = None,
) -> tuple[Float[Tensor, "batch state"], Float[Tensor, "batch state parameters"]]:
    """The new state of a cell, and J' = D J + I.

    Args:
        cell: one whose parameters each touch one unit needs no matrix I.
        inputs: of the step.
        hidden: the state before.
        influence: J.
        in_place: overwrite it, some columns after others, so that little room is needed beside it.
        dropped: which entries become zero.
    """
    if isinstance(cell, UnitCell):
        new, moved = _by_units(cell, inputs, hidden, influence)
    else:
        maps = cell.linear_maps(inputs, hidden)
        new, moved = (
            maps.state,
            lambda part: torch.baddbmm(maps.immediate[:, :, part], maps.dynamics, influence[:, :, part]),
        )
    if not in_place:
        result = moved(slice(None))
        return new, result if dropped is None else result.masked_fill_(dropped, 0)
    parameters = influence.shape[2]
    width = max(NARROW, -(-parameters // SLICES))
    for first in range(0, parameters, width):
        part = slice(first, first + width)
        influence[:, :, part] = moved(part)
        if dropped is not None:
            influence[:, :, part].masked_fill_(dropped[:, part], 0)
    return new, influence


def _by_units(
    cell: UnitCell, inputs: Tensor, hidden: Tensor, influence: Tensor
) -> tuple[Tensor, Callable[[slice], Tensor]]:
    """The new state, and some columns of the new influence."""
    step, columns = cell.linearise(inputs, hidden), cell.columns()
    by_output = dynamics(step, cell.whole_weights().weight_hh, cell.structure)
    by_unit = immediate(step, columns, sources(inputs, cell.output(hidden)))

    def moved(part: slice) -> Tensor:
        return dense_step(influence[:, :, part], step, by_output, by_unit[:, :, part], columns.unit[part])

    return step.state.flatten(0, 1).T, moved
