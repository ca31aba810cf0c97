"""Rows of highest cosine, beside all cosines."""

import sys

import pytest
import torch
from torch import Tensor

from graves_memory.equations.addressing import cosine_similarity
from graves_memory.layers.sparse.memory import SparseMemory
from graves_memory.layers.sparse.searches import highest
from graves_memory.layers.sparse.state import MemoryState


def whole(state: MemoryState) -> Tensor:
    """All rows, used or not."""
    tape = state.lease.tape
    used = state.export()["memory"]
    rest = tape.start[state.first : state.first + state.batch, None].expand(-1, tape.rows - used.shape[1], -1)
    return torch.cat([used, rest], 1)


def assert_highest(state: MemoryState, queries: Tensor, count: int) -> None:
    rows = state.search(queries, count)
    cosines = cosine_similarity(whole(state), queries)
    torch.testing.assert_close(cosines.gather(2, rows), cosines.topk(count).values, rtol=0, atol=1e-12)
    assert all(len(set(named)) == count for heads in rows.tolist() for named in heads)


def written(state: MemoryState, steps: int, heads: int = 3, scale: float = 1.0) -> MemoryState:
    """Random writes, some of them to rows that a search has found."""
    tape = state.lease.tape
    for _ in range(steps):
        fresh = state.oldest(heads)
        found = state.search(torch.randn(state.batch, heads, tape.width, dtype=tape.dtype), 2)
        rows = torch.cat([found, fresh[..., None]], 2)
        weights = torch.rand(rows.shape, dtype=tape.dtype)
        words = scale * torch.randn(state.batch, heads, tape.width, dtype=tape.dtype)
        state = state.write(rows, weights, words, erase=fresh)
    return state


def begun(rows: int, search: str = "auto", batch: int = 2, **others) -> MemoryState:
    torch.manual_seed(0)
    return SparseMemory(rows, 5, search=search).begin(batch, torch.zeros((), dtype=torch.float64), **others)


@pytest.mark.parametrize("search", ["auto", "written", "exact"])
@pytest.mark.parametrize("rows", [4, 70, 5000, 6001])
def test_exact_searches_find_the_rows_of_highest_cosine(search, rows):
    state = begun(rows, search)
    for steps in (0, 1, 4, 30):
        state = written(state, steps)
        assert_highest(state, torch.randn(2, 3, 5, dtype=torch.float64), 4)


@pytest.mark.parametrize("search", ["written", "exact"])
def test_they_do_where_most_rows_are_used_and_lie_in_blocks(search):
    state = written(begun(5000, search, batch=1), 1500, heads=4)
    assert state.lease.tape.used == 5000
    for count in (1, 4, 80):
        assert_highest(state, torch.randn(1, 3, 5, dtype=torch.float64), count)


def test_they_do_where_all_rows_hold_something_at_the_start():
    start = torch.tensor([1.0, 0, 2, 0, 0], dtype=torch.float64)
    for steps in (0, 1, 10):
        state = written(begun(50, start=start), steps)
        assert_highest(state, torch.randn(2, 3, 5, dtype=torch.float64), 4)
        assert_highest(state, start.expand(2, 3, 5), 4)


def test_erased_rows_are_as_those_never_written():
    state = written(begun(6, batch=1), 20)
    fresh = state.oldest(6)
    nothing = torch.zeros(1, 6, 1, dtype=torch.float64), torch.zeros(1, 6, 5, dtype=torch.float64)
    state = state.write(fresh[..., None], *nothing, erase=fresh)
    assert not whole(state).any()
    assert_highest(written(state, 1), torch.randn(1, 2, 5, dtype=torch.float64), 3)


def test_a_carried_memory_is_searched_as_it_was_at_the_end():
    state = begun(40)
    with torch.enable_grad():
        token = torch.ones((), dtype=torch.float64, requires_grad=True)
        fresh = state.oldest(2)
        words = token * torch.randn(2, 2, 5, dtype=torch.float64)
        state = state.write(fresh[..., None], torch.ones(2, 2, 1, dtype=torch.float64), words, erase=fresh)
        rows = state.search(words, 2)
        read, state = state.read(rows)
        read.sum().backward()
    state = state.detach()
    assert torch.equal(state.search(words, 2), rows)
    assert_highest(written(state, 5), torch.randn(2, 3, 5, dtype=torch.float64), 4)


@pytest.mark.parametrize("blocks", [1, 3, 20])
def test_the_highest_of_blocks_are_the_highest_of_all(blocks):
    draw = torch.Generator().manual_seed(1)
    numbers = torch.randint(30, (2, 3, blocks, 8), generator=draw).double()
    for count in (1, 4, 8):
        found = numbers.flatten(2).gather(2, highest(numbers, count))
        assert torch.equal(found, numbers.flatten(2).topk(count).values)


def test_a_search_says_what_it_can_be():
    with pytest.raises(ValueError, match=r"search must be one of .* not 'tree'"):
        SparseMemory(8, 2, search="tree")


def indexed(rows: int, used: int, batch: int = 1, few: int = 50) -> MemoryState:
    """A memory with an inverted file, some of whose rows are used and random."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    torch.manual_seed(0)
    state = SparseMemory(rows, 16, search="ivf").begin(batch, torch.zeros(()))
    tape = state.lease.tape
    tape.search.few = few
    tape.use(used)
    tape.table[:, :used].normal_()
    tape.usage.admit(0, torch.arange(used).expand(batch, 1, -1).clone(), used)
    tape.changed(torch.arange(batch * rows).view(batch, rows)[:, :used].flatten())
    return state


def test_an_inverted_file_finds_rows_close_to_a_query():
    state = indexed(4000, 3000)
    rows = torch.randint(3000, (1, 200))
    queries = state.lease.tape.table[:, rows[0]] + 0.1 * torch.randn(1, 200, 16)
    found = state.search(queries, 4)
    assert (found == rows[..., None]).any(2).float().mean() > 0.95
    exact = cosine_similarity(whole(state), queries).topk(4).indices
    hits = (found[..., None] == exact[:, :, None]).any(3).float().mean()
    assert hits > 0.6


def test_an_inverted_file_follows_writes_and_erasures():
    state = indexed(2000, 1000, batch=2)
    tape = state.lease.tape
    state.search(torch.randn(2, 1, 16), 1)
    for _ in range(40):
        fresh = state.oldest(2)
        erased = torch.randint(1000, (2, 1))
        words = torch.randn(2, 2, 16)
        erase = torch.cat([fresh, erased], 1)
        state = state.write(fresh[..., None], torch.ones(2, 2, 1), words, erase=erase)
        assert torch.equal(state.search(words, 1), fresh[..., None])
        lists = tape.search._indices[1].lists
        row = int(erased[1])
        assert not lists.reconstruct(row).any()


def test_an_inverted_file_is_built_anew_after_as_many_changes_as_it_held():
    state = indexed(3000, 60)
    state.search(torch.randn(1, 1, 16), 1)
    first = state.lease.tape.search._indices[0]
    for _ in range(40):
        fresh = state.oldest(4)
        state = state.write(fresh[..., None], torch.ones(1, 4, 1), torch.randn(1, 4, 16), erase=fresh)
        state.search(torch.randn(1, 1, 16), 1)
    index = state.lease.tape.search._indices[0]
    assert index is not first
    assert index.lists.nlist > first.lists.nlist


def test_rows_that_were_never_used_are_found_beside_an_inverted_file():
    state = indexed(2000, 1000)
    query = -torch.ones(1, 1, 16)
    state.lease.tape.table[:, :1000] += 10
    state.lease.tape.changed(torch.arange(1000))
    assert state.search(query, 3).tolist() == [[[1000, 1001, 1002]]]


def test_an_inverted_file_is_exact_where_its_lists_hold_too_few_rows():
    state = indexed(200, 200)
    query = torch.randn(1, 2, 16)
    expected = cosine_similarity(whole(state), query).topk(200).values
    found = cosine_similarity(whole(state), query).gather(2, state.search(query, 200))
    torch.testing.assert_close(found, expected)


def test_a_new_episode_has_no_inverted_file():
    state = indexed(2000, 1000)
    state.search(torch.randn(1, 1, 16), 1)
    tape = state.lease.tape
    assert tape.search._indices
    tape.begin(torch.zeros(16))
    assert not tape.search._indices


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "graves-memory\[search\]"'):
        SparseMemory(8, 2, search="ivf").begin(1, torch.zeros(()))
