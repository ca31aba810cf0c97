"""Which units share a tensor of blocks, and how their parameters are laid out in it."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from graves_rnn_training.equations.units import Columns
from graves_rnn_training.influence.blocks import Entries, Pairs, find_pairs
from graves_rnn_training.influence.patterns import SlotClass, class_of_slot

UNIFORM = 1.08
"""How many times as many parameters the largest unit of a group may have as the smallest."""

LARGE = 50_000
"""Numbers of a sequence from which a group is cut into slices, so that an update needs little room."""

SLICES = (6, 12)
"""Into at least and at most how many."""


class Group(NamedTuple):
    """Units with about equally many parameters of one class, filled up to the same number.

    Args:
        pairs: the rows that they reach.
        first: where the factors of slot 0 stand, of each row that is touched at once.
        slots: the slot of each parameter, in slices.
        sources: what each multiplies, in slices.
        columns: which parameters these are.
        places: where the gradient of each stands among those of this group.
    """

    pairs: Pairs
    first: Int[Tensor, " own"]
    slots: Int[Tensor, "slices rows width"]
    sources: Int[Tensor, "slices own width"]
    columns: Int[Tensor, " columns"]
    places: Int[Tensor, " columns"]


def make_groups(
    columns: Columns,
    classes: list[SlotClass],
    rows: list[Bool[Tensor, "state units"]],
    entries: Entries,
    slots: int,
) -> list[Group]:
    """Sorts parameters into groups.

    Args:
        columns: the parameters.
        classes: of slots.
        rows: what the parameters of each class and unit reach.
        entries: of D.
        slots: of a unit.
    """
    found = []
    number = class_of_slot(classes, columns.slot.device)[columns.slot]
    for index, (kind, reached) in enumerate(zip(classes, rows, strict=True)):
        chosen = (number == index).nonzero()[:, 0]
        sizes = torch.bincount(columns.unit[chosen], minlength=reached.shape[1])
        for members in _alike(sizes):
            inside = chosen[torch.isin(columns.unit[chosen], members)]
            pairs = find_pairs(reached[:, members], _touched(kind, members, len(sizes)), entries, len(sizes))
            found.append(_group(columns, inside, members, pairs, slots, len(sizes)))
    return found


def _alike(sizes: Int[Tensor, " units"]) -> Iterator[Int[Tensor, " members"]]:
    """Units with about equally many parameters."""
    limit = 0.0
    for size in sorted(set(sizes.tolist())):
        if size > limit:
            limit = UNIFORM * size
            yield ((sizes >= size) & (sizes <= limit)).nonzero()[:, 0]


def _touched(kind: SlotClass, members: Int[Tensor, " members"], units: int) -> Bool[Tensor, "state members"]:
    """The rows of each unit that its parameters touch at once."""
    own = torch.arange(units, device=members.device)[:, None] == members
    return torch.cat([own & is_touched for is_touched in kind.parts])


def _group(columns: Columns, chosen: Tensor, members: Tensor, pairs: Pairs, slots: int, units: int) -> Group:
    """Lays out the chosen parameters, those of one unit after another."""
    block = torch.searchsorted(members, columns.unit[chosen])
    position = _positions(block)
    slices, width = _cut(int(position.max()) + 1, len(pairs.row))
    slot = torch.zeros(len(members), slices * width, dtype=torch.long, device=members.device)
    source = torch.zeros_like(slot)
    slot[block, position], source[block, position] = columns.slot[chosen], columns.source[chosen]
    own, row = pairs.block[: pairs.own], pairs.row[: pairs.own]
    slot = slot[:1] if bool((slot == slot[0]).all()) else slot[own]
    shape = (-1, slices, width)
    return Group(
        pairs=pairs,
        first=row // units * slots * units + row % units,
        slots=slot.view(shape).transpose(0, 1).contiguous(),
        sources=source[own].view(shape).transpose(0, 1).contiguous(),
        columns=chosen,
        places=block * slices * width + position,
    )


def _positions(block: Int[Tensor, " columns"]) -> Int[Tensor, " columns"]:
    """How many columns of the same block come before each."""
    order = block.argsort(stable=True)
    ordered = block[order].contiguous()
    position = torch.empty_like(block)
    position[order] = torch.arange(len(block), device=block.device) - torch.searchsorted(ordered, ordered)
    return position


def _cut(parameters: int, pairs: int) -> tuple[int, int]:
    """The number of slices and their width, so that little is filled up."""
    if parameters * pairs < LARGE:
        return 1, parameters
    fewest, most = SLICES
    widths = range(max(1, -(-parameters // most)), max(1, parameters // fewest) + 1)
    width = min(widths, key=lambda width: (-(-parameters // width) * width, -width))
    return -(-parameters // width), width
