"""Influence where parameters reach within some steps: for each unit, the rows that its parameters reach.

All parameters of a unit (and class of slots) reach the same rows, so the influence is a dense block for each
unit, `(rows, parameters, batch)`, and nothing else is stored. A pair is one row of one block. The pairs of
all blocks stand one after another, those with equally many sources together, so that an update is a sum of as
many gathered rows as a pair has sources.
"""

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graves_rnn_training.equations.units import Linearised, UnitStructure

MOST_TESTED = 2**24
"""How many combinations of an entry of D and a block are looked at at once."""


class Entries(NamedTuple):
    """The entries of D that can be other than zero.

    Args:
        state: the row of each.
        before: its column.
    """

    state: Int[Tensor, " entries"]
    before: Int[Tensor, " entries"]


class Run(NamedTuple):
    """Pairs, one after another, with equally many sources.

    Args:
        start: the first pair.
        stop: behind the last.
        own: whether they are rows of the unit itself, which parameters touch at once.
        pairs: which pairs each of them draws from; fewer sources are filled up.
        entries: by which entry of D, of which the last is always zero.
    """

    start: int
    stop: int
    own: bool
    pairs: Int[Tensor, "pairs sources"]
    entries: Int[Tensor, "pairs sources"]


class Pairs(NamedTuple):
    """The rows that some units reach, as pairs.

    Args:
        row: the number of the state of each pair.
        block: the unit by whose parameters it is reached, counted among those units.
        blocks: how many units.
        own: how many pairs, the first ones, are touched by the parameters at once.
        outputs: the pairs that are outputs of the cell; None for all.
        runs: all pairs, by the number of sources.
    """

    row: Int[Tensor, " pairs"]
    block: Int[Tensor, " pairs"]
    blocks: int
    own: int
    outputs: Int[Tensor, " outputs"] | None
    runs: list[Run]


def find_entries(dynamics: Bool[Tensor, "state state"]) -> Entries:
    """The entries of D, in row-major order.

    Args:
        dynamics: its pattern.
    """
    return Entries(*dynamics.nonzero().unbind(1))


def entry_values(
    step: Linearised, weight: Float[Tensor, "rows units"], structure: UnitStructure, entries: Entries
) -> Float[Tensor, "entries_and_zero batch"]:
    """D at its entries, and a zero behind them.

    Args:
        step: with its derivatives.
        weight: the recurrent weights, blocks of gates one under the other.
        structure: of the cell.
        entries: of D.
    """
    units, batch = weight.shape[1], step.state.shape[-1]
    part, unit = entries.state // units, entries.state % units
    by_part, other = entries.before // units, entries.before % units
    factors = step.factors.flatten(0, 2)
    carried = (unit == other).to(weight)[:, None]
    values = step.carry.flatten(0, 2)[(part * structure.parts + by_part) * units + unit] * carried
    by_output = (by_part == 0).to(weight)
    for gate, slot in enumerate(structure.hidden_slots):
        through = weight.flatten()[(gate * units + unit) * units + other] * by_output
        values = values + through[:, None] * factors[(part * structure.slots + slot) * units + unit]
    return torch.cat([values, values.new_zeros(1, batch)])


def find_pairs(
    rows: Bool[Tensor, "state blocks"],
    touched: Bool[Tensor, "state blocks"],
    entries: Entries,
    units: int,
) -> Pairs:
    """Lays out the rows that some units reach.

    Args:
        rows: what the parameters of each of these units reach.
        touched: what they touch at once.
        entries: of D.
        units: outputs of the cell, the first numbers of the state.
    """
    row, block = rows.nonzero().unbind(1)
    number = torch.full(rows.shape, -1, dtype=torch.long, device=rows.device)
    number[row, block] = torch.arange(len(row), device=rows.device)
    target, source, entry = _sources(rows, number, entries)
    counts = _rounded(torch.bincount(target, minlength=len(row)))
    later = ~touched[row, block]
    order = (counts + later * (counts.max() + 1)).argsort(stable=True)
    place = order.argsort()
    row, block, counts = row[order], block[order], counts[order]
    own = len(row) - int(later.sum())
    outputs = None if bool((row < units).all()) else (row < units).nonzero()[:, 0]
    runs = _runs(counts, own, place[target], place[source], entry, len(entries.state))
    return Pairs(row, block, rows.shape[1], own, outputs, runs)


def block_immediate(
    factors: Float[Tensor, "parts slots units batch"],
    source: Float[Tensor, "sources batch"],
    first: Int[Tensor, " own"],
    slots: Int[Tensor, "rows parameters"],
    sources: Int[Tensor, "own parameters"],
) -> Float[Tensor, "own parameters batch"]:
    """I of the rows that parameters touch at once.

    Args:
        factors: of the linearised step.
        source: what parameters multiply.
        first: where the factors of slot 0 of the part and unit of each row stand among all factors.
        slots: the slot of each parameter, in one row for all or in as many.
        sources: what each multiplies.
    """
    return factors.flatten(0, 2)[first[:, None] + slots * factors.shape[2]] * source[sources]


def block_step(
    influence: Float[Tensor, "pairs parameters batch"],
    pairs: Pairs,
    dynamics: Float[Tensor, "entries batch"],
    immediate: Float[Tensor, "own parameters batch"],
) -> Float[Tensor, "pairs parameters batch"]:
    """J' = D J + I on the kept rows.

    Args:
        influence: J.
        pairs: its rows.
        dynamics: what `entry_values` returns.
        immediate: I of the rows that are touched at once, which are the first pairs.

    Source: Menick et al. 2020, section 3.
    """
    found = []
    for run in pairs.runs:
        shares = [
            (dynamics[entry][:, None], influence[pair])
            for pair, entry in zip(run.pairs.unbind(1), run.entries.unbind(1), strict=True)
        ]
        new = immediate[run.start : run.stop] if run.own else torch.mul(*shares.pop())
        for by, before in shares:
            new = torch.addcmul(new, by, before)
        found.append(new)
    return torch.cat(found)


def block_gradient(
    influence: Float[Tensor, "pairs parameters batch"], pairs: Pairs, delta: Float[Tensor, "units batch"]
) -> Float[Tensor, "blocks parameters"]:
    """Sum over rows and batch of delta J, for each unit and parameter.

    Args:
        influence: J.
        pairs: its rows.
        delta: the gradient of the output; other parts of the state have none.
    """
    row, block = pairs.row, pairs.block
    if pairs.outputs is not None:
        row, block, influence = row[pairs.outputs], block[pairs.outputs], influence[pairs.outputs]
    by_pair = (influence * delta[row][:, None]).sum(-1)
    return by_pair.new_zeros(pairs.blocks, by_pair.shape[1]).index_add(0, block, by_pair)


def _sources(
    rows: Bool[Tensor, "state blocks"], number: Int[Tensor, "state blocks"], entries: Entries
) -> tuple[Tensor, Tensor, Tensor]:
    """All combinations of a pair, one of the same block that it draws from, and the entry of D between."""
    found = []
    at_once = max(1, MOST_TESTED // rows.shape[1])
    for first in range(0, len(entries.state), at_once):
        state, before = (ends[first : first + at_once] for ends in (entries.state, entries.before))
        entry, block = (rows[state] & rows[before]).nonzero().unbind(1)
        found.append(torch.stack([number[state[entry], block], number[before[entry], block], first + entry]))
    target, source, entry = torch.cat(found, 1).unbind(0)
    order = target.argsort(stable=True)
    return target[order], source[order], entry[order]


def _rounded(counts: Int[Tensor, " pairs"]) -> Int[Tensor, " pairs"]:
    """Numbers of sources, large ones rounded up so that there are few different ones."""
    steps = [0]
    while steps[-1] < int(counts.max()):
        steps.append(max(steps[-1] + 1, int(1.2 * steps[-1])))
    allowed = torch.tensor(steps, device=counts.device)
    return allowed[torch.searchsorted(allowed, counts)]


def _runs(counts: Tensor, own: int, target: Tensor, source: Tensor, entry: Tensor, zero: int) -> list[Run]:
    """Cuts the pairs, which are in order, where the number of sources changes."""
    by_target = target.argsort(stable=True)
    target, source, entry = target[by_target], source[by_target], entry[by_target]
    first = torch.searchsorted(target, torch.arange(len(counts), device=counts.device))
    position = torch.arange(len(target), device=counts.device) - first[target]
    cuts = (counts.diff() != 0).nonzero()[:, 0] + 1
    bounds = sorted({0, own, len(counts), *cuts.tolist()})
    runs = []
    for start, stop in itertools.pairwise(bounds):
        inside = (target >= start) & (target < stop)
        shape = (stop - start, int(counts[start]))
        pairs = torch.arange(start, stop, device=counts.device)[:, None].repeat(1, shape[1])
        entries = torch.full(shape, zero, device=counts.device)
        pairs[target[inside] - start, position[inside]] = source[inside]
        entries[target[inside] - start, position[inside]] = entry[inside]
        runs.append(Run(start, stop, start < own, pairs, entries))
    return runs
