"""Which derivatives of the state can be other than zero: from masks and equations, never from values.

The state has `parts * units` numbers. All parameters that feed the same slots of the same unit reach the same
numbers in the same number of steps, so patterns are kept as one column for each unit and class of slots.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from graves_rnn_training.equations.units import UnitStructure

Form = Literal["strict", "unit"]


class SlotClass(NamedTuple):
    """Slots whose parameters touch the same parts of their unit.

    Args:
        slots: their numbers.
        parts: for every part of a unit, whether it is touched.
    """

    slots: tuple[int, ...]
    parts: tuple[bool, ...]


def slot_classes(structure: UnitStructure, form: Form = "strict") -> list[SlotClass]:
    """Sorts the slots into classes.

    Args:
        structure: of the cell.
        form: "strict" keeps of each unit what can be other than zero; "unit" always keeps all parts of a
            unit, so that there is one class.
    """
    if form == "unit":
        return [SlotClass(tuple(range(structure.slots)), (True,) * structure.parts)]
    classes: dict[tuple[bool, ...], list[int]] = {}
    for slot, parts in enumerate(zip(*structure.factors, strict=True)):
        classes.setdefault(parts, []).append(slot)
    return [SlotClass(tuple(slots), parts) for parts, slots in classes.items()]


def dynamics_pattern(
    structure: UnitStructure, mask: Bool[Tensor, "rows units"]
) -> Bool[Tensor, "state state"]:
    """Where the derivative of the state by the state before can be other than zero.

    Args:
        structure: of the cell.
        mask: which recurrent weights are kept; their blocks of rows may differ.
    """
    units = mask.shape[1]
    gates = mask.view(structure.gates, units, units)
    eye = torch.eye(units, dtype=torch.bool, device=mask.device)
    rows = []
    for factors, carry in zip(structure.factors, structure.carry, strict=True):
        through = [gates[gate] for gate, slot in enumerate(structure.hidden_slots) if factors[slot]]
        blocks = [eye & kept for kept in carry]
        blocks[0] = torch.stack([blocks[0], *through]).any(0)
        rows.append(torch.cat(blocks, 1))
    return torch.cat(rows)


def reached(
    dynamics: Bool[Tensor, "state state"],
    structure: UnitStructure,
    order: int,
    form: Form = "strict",
) -> list[Bool[Tensor, "state units"]]:
    """S_n, as the numbers of the state that parameters of each unit reach within so many steps, by class.

    S_1 is the pattern of the immediate derivative, S_n = S_(n-1) or nz(D) S_(n-1). Stops early when nothing
    is added any more.

    Args:
        dynamics: the pattern of D.
        structure: of the cell.
        order: n, at least 1.
        form: see `slot_classes`.

    Returns:
        One matrix for each of `slot_classes`.

    Source: Menick et al. 2020, section 3.
    """
    units = len(dynamics) // structure.parts
    eye = torch.eye(units, dtype=torch.bool, device=dynamics.device)
    if form == "unit":
        blocks = dynamics.view(structure.parts, units, structure.parts, units)
        dynamics = blocks.any(2).any(0).repeat(structure.parts, structure.parts)
    found = []
    for kind in slot_classes(structure, form):
        rows = torch.cat([eye & touched for touched in kind.parts])
        found.append(widened(dynamics, rows, order))
    return found


def widened(
    dynamics: Bool[Tensor, "state state"], rows: Bool[Tensor, "state columns"], order: int
) -> Bool[Tensor, "state columns"]:
    """S_n from S_1 of any columns.

    Args:
        dynamics: the pattern of D.
        rows: S_1.
        order: n.
    """
    edges = dynamics.float()
    for _ in range(order - 1):
        more = rows | (edges @ rows.float() > 0)
        if more.equal(rows):
            break
        rows = more
    return rows


def full_pattern(
    rows: list[Bool[Tensor, "state units"]],
    classes: list[SlotClass],
    slot: Int[Tensor, " parameters"],
    unit: Int[Tensor, " parameters"],
) -> Bool[Tensor, "state parameters"]:
    """The pattern as a matrix with a column for each parameter; large for large cells.

    Args:
        rows: what `reached` returns.
        classes: what `slot_classes` returns.
        slot: of each parameter.
        unit: of each parameter.
    """
    of_slot = class_of_slot(classes, slot.device)
    return torch.stack(rows)[of_slot[slot], :, unit].T


def pattern_size(
    rows: list[Bool[Tensor, "state units"]],
    classes: list[SlotClass],
    slot: Int[Tensor, " parameters"],
    unit: Int[Tensor, " parameters"],
) -> int:
    """How many entries the pattern has, without writing it as a matrix; arguments as for `full_pattern`."""
    counts = torch.stack(rows).sum(1)
    return int(counts[class_of_slot(classes, slot.device)[slot], unit].sum())


def class_of_slot(classes: list[SlotClass], device: torch.device) -> Int[Tensor, " slots"]:
    """The number of the class of each slot."""
    pairs = sorted((slot, number) for number, kind in enumerate(classes) for slot in kind.slots)
    return torch.tensor([number for _, number in pairs], device=device)
