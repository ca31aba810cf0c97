"""Which rows were accessed longest ago, beside lists that are searched from end to end."""

import pytest
import torch
from torch import Tensor

from graves_memory.equations.sparse import ages
from graves_memory.layers.sparse.queues import AccessQueue
from graves_memory.layers.sparse.usage import AccessStamps, RowUsage

KINDS = {"queue": AccessQueue, "stamps": lambda batch, rows: AccessStamps(batch, rows, torch.device("cpu"))}
DELTA = 0.1


class Lists:
    """For each sequence the rows, the oldest first."""

    def __init__(self, batch: int, rows: int) -> None:
        self.orders = [list(range(rows)) for _ in range(batch)]
        self.accessed: list[set[int]] = [set() for _ in range(batch)]
        self.rows = rows
        self.known = [0] * batch

    def access(self, sequence: int, row: int) -> None:
        order = self.orders[sequence]
        order.remove(row)
        order.append(row)
        self.accessed[sequence].add(row)
        self.known[sequence] = max(self.known[sequence], row + 1)

    def take(self, first: int, count: int, rows: int) -> list[list[int]]:
        found = [self.orders[first + b][:rows] for b in range(count)]
        for b, named in enumerate(found):
            for row in named:
                self.access(first + b, row)
        return found

    def touch(self, first: int, rows: Tensor, weights: Tensor) -> None:
        for b, (named, given) in enumerate(zip(rows.tolist(), weights.tolist(), strict=True)):
            for weight, row in sorted(zip(given, named, strict=True), key=lambda pair: pair[0]):
                if weight > DELTA:
                    self.access(first + b, row)

    def admit(self, first: int, rows: Tensor) -> Tensor:
        """Rows that were not used are counted from the first one on."""
        for b, heads in enumerate(rows):
            known = self.known[first + b]
            for head in heads:
                for place in range(len(head)):
                    if head[place] >= known:
                        head[place] = known + int((head[:place] >= known).sum())
            self.known[first + b] = max(known, int(heads.max()) + 1)
        return rows

    def forget(self, sequence: int) -> None:
        self.orders[sequence], self.accessed[sequence] = list(range(self.rows)), set()
        self.known[sequence] = 0

    def ranks(self) -> list[list[int]]:
        return [
            [1 + [r for r in order if r in seen].index(row) if row in seen else 0 for row in range(self.rows)]
            for order, seen in zip(self.orders, self.accessed, strict=True)
        ]


class Trace:
    """The same random accesses in both, with rows handed out as a memory does."""

    def __init__(self, usage: RowUsage, batch: int, rows: int, seed: int) -> None:
        self.usage, self.lists = usage, Lists(batch, rows)
        self.batch, self.rows, self.used = batch, rows, 0
        self.draw = torch.Generator().manual_seed(seed)

    def number(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.draw))

    def step(self) -> None:
        count = 1 + self.number(self.batch)
        first = self.number(self.batch - count + 1)
        taken, self.used = self.usage.take(first, count, 2, self.used)
        assert taken.tolist() == self.lists.take(first, count, 2)
        rows = self.found(count)
        asked = rows.clone()
        self.used = self.usage.admit(first, rows, self.used)
        assert torch.equal(rows, self.lists.admit(first, asked))
        weights = torch.rand(count, 3, 2, generator=self.draw) * 0.3
        last = bool(self.number(2))
        self.usage.touch(first, rows, weights, DELTA, last)
        self.lists.touch(first, rows[..., : 1 + last].flatten(1), weights[..., : 1 + last].flatten(1))

    def found(self, count: int) -> Tensor:
        """Two different rows for each of three heads, some of which were not used."""
        limit = min(self.rows, self.used + 2)
        orders = torch.rand(count, 3, limit, generator=self.draw).argsort(2)
        return orders[..., :2].clone()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [2, 3, 7, 50])
def test_rows_are_those_that_a_search_through_all_accesses_finds(kind, rows):
    for seed in range(6):
        trace = Trace(KINDS[kind](3, rows), 3, rows, seed)
        for _ in range(60):
            trace.step()


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_with_the_largest_age_is_taken(kind):
    usage, rows, steps = KINDS[kind](1, 6), 6, 40
    draw = torch.Generator().manual_seed(0)
    usage.admit(0, torch.arange(rows).view(1, 1, -1), 0)
    weights = torch.zeros(steps, rows)
    for step in range(steps):
        taken = int(usage.take(0, 1, 1, rows)[0])
        found = ages(weights[: step + 1], DELTA)
        assert found[taken] == found.max()
        weights[step] = torch.rand(rows, generator=draw) * 0.15
        weights[step, taken] = 1
        usage.touch(0, torch.arange(rows).view(1, 1, -1), weights[step].view(1, 1, -1), DELTA)


def test_an_age_is_the_number_of_steps_since_the_last_access_that_counts():
    weights = torch.tensor([[0.5, 0.0, 0.2, 0.1], [0.0, 0.0, 0.3, 0.1], [0.0, 0.0, 0.0, 0.9]])
    assert ages(weights, DELTA).tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_trace_is_followed_after_accesses_were_renumbered(kind):
    trace = Trace(KINDS[kind](1, 4), 1, 4, seed=1)
    for _ in range(1500):
        trace.step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_trace_goes_on_from_the_ranks_of_another_one(kind, other):
    trace = Trace(KINDS[kind](2, 9), 2, 9, seed=2)
    for steps in (2, 20):
        for _ in range(steps):
            trace.step()
        ranks = trace.usage.ranks(trace.used)
        assert ranks.tolist() == [row[: trace.used] for row in trace.lists.ranks()]
        trace.usage = KINDS[other](2, 9)
        trace.usage.restore(ranks)
        trace.lists.known = [trace.used] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_can_be_forgotten_and_reordered(kind):
    trace = Trace(KINDS[kind](3, 8), 3, 8, seed=3)
    for _ in range(8):
        for _ in range(5):
            trace.step()
        trace.usage.forget(torch.tensor([1]), trace.used)
        trace.lists.forget(1)
        trace.step()
        trace.usage.reorder(0, torch.tensor([2, 0, 1]), trace.used)
        trace.lists.orders = [trace.lists.orders[b] for b in (2, 0, 1)]
        trace.lists.accessed = [trace.lists.accessed[b] for b in (2, 0, 1)]
        trace.lists.known = [trace.lists.known[b] for b in (2, 0, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_episode_knows_of_no_access(kind):
    usage = KINDS[kind](2, 8)
    trace = Trace(usage, 2, 8, seed=4)
    for _ in range(20):
        trace.step()
    usage.begin(trace.used)
    again = Trace(usage, 2, 8, seed=5)
    for _ in range(20):
        again.step()


def test_a_queue_does_not_grow_with_the_number_of_accesses():
    usage = AccessQueue(1, 4)
    trace = Trace(usage, 1, 4, seed=6)
    sizes = set()
    for _ in range(1500):
        trace.step()
        sizes.add(usage._queue.size)
    assert sizes == {4096}
