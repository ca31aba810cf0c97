"""The influence of order 1: one number for each parameter, or one for each part of its unit."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.equations.units import UnitStructure
from graves_rnn_training.influence.diagonal import Feed, diagonal_gradient, diagonal_step, unit_dynamics
from graves_rnn_training.influence.patterns import Form, SlotClass, slot_classes
from graves_rnn_training.layers.cells.masks import Kept
from graves_rnn_training.layers.cells.unit import UnitCell, Whole
from graves_rnn_training.layers.learners.compiled import compiled


class DiagonalInfluence:
    """Steps and gradients of `SnAp` of order 1, for one structure of a cell.

    Args:
        cell: whose parameters each touch one unit.
        form: which parts of a unit are kept.
        in_place: overwrite traces.
        compile: compile both.
    """

    batch_last = True

    def __init__(self, cell: UnitCell, form: Form, in_place: bool, compile: bool) -> None:
        self.cell, self.in_place = cell, in_place
        self._shapes: dict[int, list[tuple[int, ...]]] = {}
        self.feeds = [feed for kind in slot_classes(cell.structure, form) for feed in feeds(cell, kind)]
        self._step = compiled(self._forward) if compile else self._forward
        self._gradient = compiled(self._backward) if compile else self._backward

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces, one for each feed."""
        if batch_size not in self._shapes:
            self._shapes[batch_size] = [feed.shape(batch_size) for feed in self.feeds]
        return self._shapes[batch_size]

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
        new, *after = self._step(inputs, hidden, traces, self.cell.whole_weights())
        return new.T, tuple(after)

    def gradients(self, delta: Float[Tensor, "batch units"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gradient of each parameter by name.

        Args:
            delta: gradient of the output.
            traces: of the step.
        """
        found: dict[str, Tensor] = self._gradient(delta.T.contiguous(), traces)
        return found

    def _forward(
        self,
        inputs: Float[Tensor, "input batch"],
        hidden: Float[Tensor, "state batch"],
        traces: tuple[Tensor, ...],
        weights: Whole,
    ) -> tuple[Tensor, ...]:
        structure, units = self.cell.structure, weights.weight_hh.shape[1]
        step = self.cell.linearised_step(inputs, hidden, weights)
        within = unit_dynamics(step, weights.weight_hh, structure)
        origins = {"inputs": inputs, "hidden": hidden[:units], "one": inputs.new_ones(1, 1)}
        new = tuple(
            diagonal_step(trace, feed, within, step.factors, origins[feed.origin], self.in_place)
            for trace, feed in zip(traces, self.feeds, strict=True)
        )
        return step.state.flatten(0, 1), *new

    def _backward(self, delta: Float[Tensor, "units batch"], traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        pairs = zip(traces, self.feeds, strict=True)
        found = [diagonal_gradient(trace, feed, delta) for trace, feed in pairs]
        return named_gradients(self.cell.structure, self.feeds, found)


def feeds(cell: UnitCell, kind: SlotClass) -> list[Feed]:
    """The parameters that feed the slots of a class: input weights, recurrent weights, biases.

    Args:
        cell: whose.
        kind: the class.
    """
    structure, units = cell.structure, cell.hidden_size
    parts = tuple(part for part, touched in enumerate(kind.parts) if touched)
    found = [
        _weights(cell.kept("weight_ih"), "inputs", structure.input_slots, kind, parts),
        _weights(cell.kept("weight_hh"), "hidden", structure.hidden_slots, kind, parts),
    ]
    return [*found, Feed("one", kind.slots, parts, units, 1, None, None)]


def named_gradients(
    structure: UnitStructure, feeds: list[Feed], gradients: list[Tensor]
) -> dict[str, Tensor]:
    """Puts the gradients of feeds together to those of parameters.

    Args:
        structure: of the cell.
        feeds: of all classes.
        gradients: of each feed.
    """
    pieces: dict[str, list[Tensor]] = {"inputs": [], "hidden": []}
    slots: dict[int, Tensor] = {}
    for feed, gradient in zip(feeds, gradients, strict=True):
        if feed.origin == "one":
            slots.update(zip(feed.slots, gradient.view(len(feed.slots), -1), strict=True))
        else:
            pieces[feed.origin].append(gradient)
    return {
        "weight_ih": _joined(pieces["inputs"]),
        "weight_hh": _joined(pieces["hidden"]),
        "bias_ih": _joined([slots[slot] for slot in structure.input_slots]),
        "bias_hh": _joined([slots[slot] for slot in structure.hidden_slots]),
    }


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))


def _weights(
    kept: Kept,
    origin: Literal["inputs", "hidden"],
    slots: tuple[int, ...],
    kind: SlotClass,
    parts: tuple[int, ...],
) -> Feed:
    """The kept entries of the blocks of a matrix that feed slots of the class; they are neighbours."""
    gates = [gate for gate, slot in enumerate(slots) if slot in kind.slots]
    fed = tuple(slots[gate] for gate in gates)
    if kept.flat is None:
        return Feed(origin, fed, parts, kept.units, kept.columns, None, None)
    rows, columns = kept.flat // kept.columns, kept.flat % kept.columns
    blocks = gates[:1] if kept.fan_in is not None and kept.shared else gates
    chosen = (rows >= blocks[0] * kept.units) & (rows < (blocks[-1] + 1) * kept.units)
    chosen_rows = None if kept.fan_in is not None else rows[chosen] - gates[0] * kept.units
    return Feed(origin, fed, parts, kept.units, kept.fan_in, chosen_rows, columns[chosen])
