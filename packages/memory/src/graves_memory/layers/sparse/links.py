"""Temporal links of a sparse memory: for each row the few rows that were written before and after it."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from graves_memory.equations.links import at_most_one, distinct
from graves_memory.layers.network import check_sizes
from graves_memory.layers.sparse.link_table import LinkTable


class LinkState(NamedTuple):
    """The rows that were written last, p_t, and where the links of each head are kept.

    Args:
        rows: of the memory; where there is no entry, the number of rows.
        weights: of the rows, largest first.
        starts: the first address of the links of each head.
    """

    rows: Int64[Tensor, "batch heads links"]
    weights: Float[Tensor, "batch heads links"]
    starts: Int64[Tensor, "batch heads 1"]


class Linked(NamedTuple):
    """Rows that the links lead to from the rows that were read, with their weights, largest first.

    Args:
        rows: first those that were written before, then those that were written afterwards.
        weights: each half adds up to one at most; zero where there is no link.
    """

    rows: Int64[Tensor, "batch heads 2 links"]
    weights: Float[Tensor, "batch heads 2 links"]


class _Plan(NamedTuple):
    """Constants of steps of a number of chains that name a number of rows.

    The new links of a place are chosen from a list: those that it has, then those that the step adds.
    """

    own: Int64[Tensor, " addresses"]
    places: Int64[Tensor, " links"]
    last_slots: Int64[Tensor, "chains links"]
    turns: Int64[Tensor, " followed"]
    halves: Int64[Tensor, "2 1 1"]
    none: Float[Tensor, "chains links"]
    one: Float[Tensor, "chains 1"]
    order: Float[Tensor, " candidates"]
    nowhere: Int64[Tensor, ""]


class _Step(NamedTuple):
    """What the parts of a step share: where rows that it names and those written last are, and weights."""

    plan: _Plan
    starts: Int64[Tensor, "chains 1"]
    at: Int64[Tensor, "chains named"]
    slots: Int64[Tensor, "chains named"]
    last_at: Int64[Tensor, "chains links"]
    once: Float[Tensor, "chains named"]
    total: Float[Tensor, "chains named"]
    last: Float[Tensor, "chains links"]


class SparseLinks:
    """The links N and P of every head and sequence, each row cut to its largest entries.

    Each head has links of its own, so that a head follows the order in which it wrote. Tables are allocated
    once and changed in place; a step costs the same for any number of rows. Where weights are equal but for
    rounding, entries that a step leaves alone are kept first, in their order, then rows in the order named.

    Args:
        rows: of the memory.
        heads: of each sequence.
        links: entries that are kept in each row, K_L.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> links = SparseLinks(rows=100, heads=1, links=2)
        >>> state = links.begin(1, torch.zeros(()))
        >>> for row in (7, 3, 5):  # written one after another; then row 3 has been read
        ...     rows, written = torch.tensor([[[row, 3]]]), torch.tensor([[[1.0, 0.0]]])
        ...     state, found = links.advance(state, rows, written, 1 - written)
        >>> found.rows[0, 0, :, 0], found.weights[0, 0, :, 0]  # before it 7, after it 5
        (tensor([7, 5]), tensor([1., 1.]))

    Source: Rae et al. 2016, supplement on the sparse DNC; links for each head are our choice.
    """

    def __init__(self, rows: int, heads: int, links: int) -> None:
        check_sizes({"rows": rows, "heads": heads, "links": links})
        self.rows, self.heads, self.links = rows, heads, links
        self._plans: dict[tuple[int, int], _Plan] = {}
        self._allocate(1, torch.zeros(()))

    def begin(self, batch_size: int, like: Float[Tensor, "*any"]) -> LinkState:
        """Forgets all links.

        Args:
            batch_size: sequences that are linked from now on.
            like: a tensor of the dtype and device to use.
        """
        chains = batch_size * self.heads
        if self.table.serves(chains, like):
            self.table.clear()
        else:
            self._allocate(chains, like)
        size = (batch_size, self.heads, self.links)
        starts = torch.arange(chains, device=like.device) * (self.rows + 1)
        nowhere = torch.full(size, self.rows, dtype=torch.int64, device=like.device)
        nothing = torch.zeros(size, dtype=like.dtype, device=like.device)
        return LinkState(nowhere, nothing, starts.view(batch_size, self.heads, 1))

    def reset(self, state: LinkState, done: Bool[Tensor, " batch"]) -> LinkState:
        """The state in which some sequences have no links.

        Args:
            state: the state.
            done: which sequences begin anew.
        """
        self.table.forget(state.starts.flatten(), done.repeat_interleave(self.heads))
        chosen = done[:, None, None]
        rows, weights = state.rows.masked_fill(chosen, self.rows), state.weights.masked_fill(chosen, 0)
        return LinkState(rows, weights, state.starts)

    @torch.no_grad()
    def advance(
        self,
        state: LinkState,
        rows: Int64[Tensor, "batch heads named"],
        written: Float[Tensor, "batch heads named"],
        read: Float[Tensor, "batch heads named"],
    ) -> tuple[LinkState, Linked]:
        """One time step: links what is written, then follows the links from what was read.

        Args:
            state: of the step before.
            rows: that are written now or were read at the last step; a row may be named several times.
            written: w_t, the weights with which they are written; at most one in all.
            read: r_{t-1}, the weights with which they were read.

        Returns:
            The state with p_t, and where N_t and P_t lead from the rows that were read.
        """
        batch, heads, named = rows.shape
        step = self._name(state, rows, written)
        self.table.fade(step.at, step.once)
        before = self._link_back(step)
        places, weights = self._link_on(step)
        found, along = self._follow(step, before, read.reshape(-1, named))
        starts, shape = state.starts, (batch, heads, self.links)
        last = torch.where(weights > 0, places - step.starts, step.plan.nowhere).view(shape)
        linked = (found.view(batch, heads, 2, -1) - starts.unsqueeze(3)) % self.rows
        return LinkState(last, weights.view(shape), starts), Linked(linked, along.view_as(linked))

    @torch.no_grad()
    def owners(
        self, state: LinkState, rows: Int64[Tensor, "batch heads named"]
    ) -> Int64[Tensor, "batch heads named"]:
        """For each place in lists of rows, the place that stands for its row: the last that names it.

        Args:
            state: any of the episode.
            rows: of each head, some of them several times.
        """
        at = (rows + state.starts).view(-1)
        own = self._plan(state.starts.numel(), rows.shape[2]).own
        return self._turns.index_copy_(0, at, own).take(at).view(rows.shape)

    def _name(self, state: LinkState, rows: Tensor, written: Tensor) -> _Step:
        """Brings the rows of the step together, each with all of its weight."""
        named = rows.shape[2]
        starts = state.starts.view(-1, 1)
        plan = self._plan(len(starts), named)
        at, last_at = rows.reshape(-1, named) + starts, state.rows.view(-1, self.links) + starts
        owners = self._turns.index_copy_(0, at.view(-1), plan.own).take(at)
        once = distinct(written.reshape(-1, named).to(self.table.dtype), owners)
        total, last = once.gather(1, owners), state.weights.view(-1, self.links)
        return _Step(plan, starts, at, owners + self.links, last_at, once, total, last)

    def _link_back(self, step: _Step) -> tuple[Tensor, Tensor]:
        """N: from the rows that are written to those written last. Returns all links of the former."""
        plan, written = step.plan, step.total.unsqueeze(2)
        to, weights = self.table.before(step.at)
        new = written * torch.cat((plan.none, step.last), 1).unsqueeze(1)
        weights.mul_(1 - written)
        to, weights = self._renewed(plan, step.at, to, weights, step.last_at, plan.last_slots, new)
        self.table.store_before(step.at, to, weights)
        return to, weights

    def _link_on(self, step: _Step) -> tuple[Tensor, Tensor]:
        """P: from the rows written last to those that are written. Returns p, which has the same form."""
        plan, links = step.plan, self.links
        to, weights = self.table.after(step.last_at)
        kept = step.last * (1 - step.once.sum(1, keepdim=True)).clamp_min_(0)
        to = torch.cat((to, step.last_at.unsqueeze(1)), 1)
        weights = torch.cat((weights, kept.unsqueeze(1)), 1)
        new = torch.cat((step.last, plan.one), 1).unsqueeze(2)
        new = new * torch.cat((plan.none, step.once), 1).unsqueeze(1)
        to, weights = self._renewed(plan, step.last_at, to, weights, step.at, step.slots, new)
        self.table.store_after(step.last_at, to[:, :links], weights[:, :links])
        return to[:, links], weights[:, links]

    def _renewed(
        self, plan: _Plan, of: Tensor, to: Tensor, weights: Tensor, others: Tensor, slots: Tensor, new: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The largest of old links and new ones, which are none from a place to itself.

        Args:
            plan: of the step.
            of: whose links they are; there may be further ones.
            to: where the old links lead.
            weights: of the old links.
            others: where the new links lead.
            slots: for each of those, where in the list its link stands.
            new: weights, zero for the old links and then those of the new ones.
        """
        places = self._slots.index_copy_(0, others.view(-1), slots.reshape(-1))
        new[:, : of.shape[1]].scatter_(2, places.take(of).unsqueeze(2), 0)
        new.scatter_add_(2, torch.maximum(places.take(to), plan.places), weights)
        places.index_fill_(0, others.view(-1), 0)
        chosen = (new * plan.order[: new.shape[2]]).topk(self.links, 2).indices
        all_to = torch.cat((to, others.unsqueeze(1).expand(-1, to.shape[1], -1)), 2)
        return all_to.gather(2, chosen), new.gather(2, chosen)

    def _follow(self, step: _Step, before: tuple[Tensor, Tensor], read: Tensor) -> tuple[Tensor, Tensor]:
        """Sums the weights of all links from what was read, by where they lead, and keeps the largest."""
        chains, named = read.shape
        after = self.table.after(step.at)
        # entries that were never made lead to place 0, which belongs to another chain
        to = torch.maximum(torch.stack((before[0], after[0]), 1), step.starts.view(chains, 1, 1, 1))
        weights = torch.stack((before[1], after[1]), 1).mul_(read.view(chains, 1, named, 1))
        flat = (to + step.plan.halves).view(-1)
        turns = self._turns.index_copy_(0, flat, step.plan.turns).take(flat)
        total = torch.zeros_like(weights).view(-1).index_add_(0, turns, weights.view(-1))
        found = total.view(chains, 2, -1).topk(self.links, 2)
        return to.view(chains, 2, -1).gather(2, found.indices), at_most_one(found.values)

    def _allocate(self, chains: int, like: Tensor) -> None:
        self.table = LinkTable(self.rows, chains, self.links, like)
        self._slots = self.table.zeros(dtype=torch.int64)
        self._turns = self.table.zeros(2, dtype=torch.int64).view(-1)
        self._plans = {}

    def _plan(self, chains: int, named: int) -> _Plan:
        """The constants of steps of so many chains that name so many rows."""
        if (chains, named) not in self._plans:
            with torch.inference_mode(False):
                self._plans[chains, named] = self._new_plan(chains, named)
        return self._plans[chains, named]

    def _new_plan(self, chains: int, named: int) -> _Plan:
        links, table = self.links, self.table
        count = torch.arange(2 * chains * max(named, links) * (links + 1), device=table.device)
        none = torch.zeros(chains, links, dtype=table.dtype, device=table.device)
        smallest = torch.finfo(table.dtype).eps
        return _Plan(
            own=count[:named].repeat(chains),
            places=count[:links],
            last_slots=count[links : 2 * links].expand(chains, -1),
            turns=count[: 2 * chains * named * links],
            halves=count[:2, None, None] * table.places,
            none=none,
            one=none[:, :1] + 1,
            order=1 - 2 * smallest * count[: links + max(named, links)].to(table.dtype),
            nowhere=count.new_full((), self.rows),
        )
