"""The influence of higher orders: for each unit, the rows that its parameters reach, and no other numbers."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.equations.units import Columns
from graves_rnn_training.influence.blocks import (
    block_gradient,
    block_immediate,
    block_step,
    entry_values,
    find_entries,
)
from graves_rnn_training.influence.groups import Group, make_groups
from graves_rnn_training.influence.patterns import SlotClass
from graves_rnn_training.layers.cells.unit import WEIGHTS, UnitCell, Whole
from graves_rnn_training.layers.learners.compiled import compiled


class BlockInfluence:
    """Steps and gradients of `SnAp` of higher orders, for one structure of a cell.

    The traces are slices of the blocks of each group of units, `(pairs, parameters, batch)`.

    Args:
        cell: whose parameters each touch one unit.
        dynamics: the pattern of D.
        classes: of slots.
        rows: what the parameters of each class and unit reach.
        in_place: overwrite traces, slice by slice.
        compile: compile what is done at every step.
    """

    batch_last = True

    def __init__(
        self,
        cell: UnitCell,
        dynamics: Bool[Tensor, "state state"],
        classes: list[SlotClass],
        rows: list[Bool[Tensor, "state units"]],
        in_place: bool,
        compile: bool,
    ) -> None:
        self.cell, self.in_place = cell, in_place
        self.entries = find_entries(dynamics)
        columns, numbers = distinct_columns(cell)
        self.groups = make_groups(columns, classes, rows, self.entries, cell.structure.slots)
        places = _places(self.groups, len(columns.unit))
        self.places = {name: places[number] for name, number in numbers.items()}
        wrap: Callable[[Any], Any] = compiled if compile else lambda function: function
        self._prepare = wrap(self._linearise)
        self._updates = [wrap(self._update_of(group)) for group in self.groups]
        self._gradient = wrap(self._backward)

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces, one for each slice of each group."""
        return [
            (len(group.pairs.row), group.sources.shape[2], batch_size)
            for group in self.groups
            for _ in group.sources
        ]

    def step(
        self,
        inputs: Float[Tensor, "batch input"],
        hidden: Float[Tensor, "batch state"],
        traces: tuple[Tensor, ...],
    ) -> tuple[Float[Tensor, "batch state"], tuple[Tensor, ...]]:
        """The new state and traces.

        Args:
            inputs: of the step.
            hidden: the state before.
            traces: of the step before.
        """
        inputs, hidden = inputs.T.contiguous(), hidden.T.contiguous()
        new, *known = self._prepare(inputs, hidden, self.cell.whole_weights())
        before, after = iter(traces), []
        for group, update in zip(self.groups, self._updates, strict=True):
            for slots, sources in zip(group.slots.unbind(0), group.sources.unbind(0), strict=True):
                after.append(update(next(before), *known, slots, sources)[0])
        return new.T, tuple(after)

    def gradients(self, delta: Float[Tensor, "batch units"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gradient of each parameter by name.

        Args:
            delta: gradient of the output.
            traces: of the step.
        """
        found: dict[str, Tensor] = self._gradient(delta.T.contiguous(), traces)
        return found

    def _linearise(
        self, inputs: Float[Tensor, "input batch"], hidden: Float[Tensor, "state batch"], weights: Whole
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The new state, D at its entries, the factors of I, and the sources."""
        step = self.cell.linearised_step(inputs, hidden, weights)
        values = entry_values(step, weights.weight_hh, self.cell.structure, self.entries)
        source = torch.cat([inputs, hidden[: weights.weight_hh.shape[1]], torch.ones_like(inputs[:1])])
        return step.state.flatten(0, 1), values, step.factors, source

    def _update_of(self, group: Group) -> Callable[..., tuple[Tensor]]:
        def update(
            trace: Tensor, values: Tensor, factors: Tensor, source: Tensor, slots: Tensor, sources: Tensor
        ) -> tuple[Tensor]:
            immediate = block_immediate(factors, source, group.first, slots, sources)
            new = block_step(trace, group.pairs, values, immediate)
            return (trace.copy_(new) if self.in_place else new,)

        return update

    def _backward(self, delta: Float[Tensor, "units batch"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        trace, found = iter(traces), []
        for group in self.groups:
            slices = [block_gradient(next(trace), group.pairs, delta) for _ in group.sources]
            found.append(torch.cat(slices, 1).flatten())
        gradient = torch.cat(found)
        return {name: gradient[place] for name, place in self.places.items()}


def distinct_columns(cell: UnitCell) -> tuple[Columns, dict[str, Tensor]]:
    """The parameters whose influences differ, and the number among them of each entry of each parameter.

    Both biases of a slot do the same.

    Args:
        cell: whose.
    """
    structure, units, device = cell.structure, cell.hidden_size, cell.bias_ih.device
    weights = [cell.columns_of(name) for name in WEIGHTS]
    bias = torch.arange(structure.slots * units, device=device)
    source = torch.full_like(bias, cell.input_size + units)
    found = [*weights, Columns(bias // units, bias % units, source)]
    first, second = (len(part.unit) for part in weights)
    numbers = {
        "weight_ih": torch.arange(first, device=device),
        "weight_hh": torch.arange(first, first + second, device=device),
    }
    for name, slots in (("bias_ih", structure.input_slots), ("bias_hh", structure.hidden_slots)):
        numbers[name] = first + second + torch.cat([bias.view(-1, units)[slot] for slot in slots])
    return Columns(*(torch.cat(parts) for parts in zip(*found, strict=True))), numbers


def _places(groups: list[Group], columns: int) -> Tensor:
    """Where the gradient of each column stands among those of all groups."""
    places = groups[0].places.new_empty(columns)
    offset = 0
    for group in groups:
        places[group.columns] = offset + group.places
        slices, _, width = group.sources.shape
        offset += group.pairs.blocks * slices * width
    return places
