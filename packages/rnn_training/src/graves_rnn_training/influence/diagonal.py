"""Influence of parameters on their own unit alone: one number for each parameter and part of the unit.

Everything is laid out features first and batch last, so that the numbers of a unit spread over its parameters
without copies and what differs between parameters is read in rows of the whole batch.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_rnn_training.equations.units import Linearised, UnitStructure

Origin = Literal["inputs", "hidden", "one"]


class Feed(NamedTuple):
    """Parameters that multiply the same kind of source in slots of one class, for all units.

    Args:
        origin: what they multiply.
        slots: the slots that they feed, one block of units after another.
        parts: the parts of their unit on which their influence is followed.
        units: how many.
        fan_in: parameters of a unit and slot when all have equally many, else None.
        rows: without a `fan_in`, the row of each parameter, as slot * units + unit.
        columns: which source each multiplies, of one block if all blocks are alike; None for all in turn.
    """

    origin: Origin
    slots: tuple[int, ...]
    parts: tuple[int, ...]
    units: int
    fan_in: int | None
    rows: Int[Tensor, " parameters"] | None
    columns: Int[Tensor, " entries"] | None

    def shape(self, batch_size: int) -> tuple[int, ...]:
        """Of the trace: `(parts, slots, units, fan-in, batch)`, or `(parts, parameters, batch)`."""
        if self.rows is not None:
            return len(self.parts), len(self.rows), batch_size
        assert self.fan_in is not None
        return len(self.parts), len(self.slots), self.units, self.fan_in, batch_size


def unit_dynamics(
    step: Linearised, weight: Float[Tensor, "rows units"], structure: UnitStructure
) -> Float[Tensor, "parts parts units batch"]:
    """How the parts of each unit depend on the parts of the same unit before.

    Args:
        step: with its derivatives.
        weight: the recurrent weights, blocks of gates one under the other.
        structure: of the cell.
    """
    own = weight.view(structure.gates, -1, weight.shape[1]).diagonal(dim1=1, dim2=2)
    own = own[..., None] * step.factors[:, list(structure.hidden_slots)]
    through = own.sum(1)
    if len(step.carry) == 1:
        return step.carry + through[None]
    return torch.cat([(step.carry[:, 0] + through)[:, None], step.carry[:, 1:]], 1)


def diagonal_step(
    trace: Float[Tensor, "kept *parameters batch"],
    feed: Feed,
    within: Float[Tensor, "parts parts units batch"],
    factors: Float[Tensor, "parts slots units batch"],
    source: Float[Tensor, "sources #batch"],
    in_place: bool,
) -> Float[Tensor, "kept *parameters batch"]:
    """J' = D J + I of each unit alone.

    Args:
        trace: J, of those parts of the unit that the feed names.
        feed: whose parameters.
        within: as `unit_dynamics` makes it.
        factors: of the linearised step.
        source: what the parameters multiply.
        in_place: overwrite the trace.

    Source: Menick et al. 2020, section 3.1.
    """
    trace = trace if in_place else trace.clone()
    values = _values(feed, source)
    slots = list(feed.slots)
    if len(feed.parts) == 1:
        (part,) = feed.parts
        decay = _spread(within[part, part][None], feed)
        return trace.mul_(decay).addcmul_(_spread(factors[part, slots], feed), values)
    after = []
    for part in feed.parts:
        moved = _spread(factors[part, slots], feed) * values
        for index, other in enumerate(feed.parts):
            moved = moved.addcmul(_spread(within[part, other][None], feed), trace[index])
        after.append(moved)
    for index, moved in enumerate(after):
        trace[index].copy_(moved)
    return trace


def diagonal_gradient(
    trace: Float[Tensor, "kept *parameters batch"], feed: Feed, delta: Float[Tensor, "units batch"]
) -> Float[Tensor, " parameters"]:
    """Sum over the batch of delta^T J.

    Args:
        trace: J.
        feed: whose parameters.
        delta: the gradient of the output.
    """
    return (trace[0] * _spread(delta[None], feed)).sum(-1).flatten()


def _spread(values: Tensor, feed: Feed) -> Tensor:
    """Numbers of `(slots or 1, units, batch)` for every parameter."""
    if feed.rows is None:
        return values[..., None, :]
    return values.expand(len(feed.slots), -1, -1).flatten(0, 1)[feed.rows]


def _values(feed: Feed, source: Tensor) -> Tensor:
    """What every parameter multiplies."""
    if feed.columns is None:
        return source
    values = source[feed.columns]
    if feed.fan_in is None:
        return values
    return values.view(-1, feed.units, feed.fan_in, source.shape[1])
