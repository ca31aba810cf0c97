"""Sparse temporal links against whole matrices that are cut at every step."""

import numpy as np
import pytest
import torch
from link_traces import Chain, dense, matrices, trace

from graves_memory.equations import dnc
from graves_memory.equations import links as equations
from graves_memory.layers.sparse.links import Linked, LinkState, SparseLinks

CLOSE = {"rtol": 0, "atol": 1e-12}
LIKE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (2, 1), (3, 2), (8, 3)])
def test_links_are_whole_matrices_cut_at_every_step(count: int, seed: int) -> None:
    rows, batch, heads = 9, 2, 2
    links = SparseLinks(rows, heads, count)
    state = links.begin(batch, LIKE)
    chains = {(b, h): Chain(rows, count) for b in range(batch) for h in range(heads)}
    for named, written, read in trace(40, (batch, heads, 5), rows, seed):
        state, found = links.advance(state, named, written, read)
        after = matrices(links, state)
        for (b, h), chain in chains.items():
            chain.write(dense(rows, named[b, h], written[b, h]))
            np.testing.assert_allclose(after[b, h, 0], chain.after, **CLOSE)
            np.testing.assert_allclose(after[b, h, 1], chain.before, **CLOSE)
            last = dense(rows + 1, state.rows[b, h], state.weights[b, h])[:rows]
            np.testing.assert_allclose(last, chain.last, **CLOSE)
            expected = chain.follow(dense(rows, named[b, h], read[b, h]))
            for half in range(2):
                weights = dense(rows, found.rows[b, h, half], found.weights[b, h, half])
                np.testing.assert_allclose(weights, expected[half], **CLOSE)


@pytest.mark.parametrize("count", [2, 8])
def test_formulas_are_those_of_whole_matrices(count: int) -> None:
    chain = Chain(rows=7, links=count)
    before, after, last = torch.zeros(7, 7).double(), torch.zeros(7, 7).double(), torch.zeros(1, 7).double()
    for named, written, read in trace(20, (1, 1, 4), 7, seed=14):
        w, r = (torch.from_numpy(dense(7, named[0, 0], part[0, 0])) for part in (written, read))
        chain.write(w.numpy())
        before = equations.largest(equations.predecessors(before, last[0], w), count)
        after = equations.largest(equations.successors(after, last[0], w), count)
        last = equations.largest(dnc.precedence_after(last[None], w[None, None])[0], count)
        np.testing.assert_allclose(before, chain.before, **CLOSE)
        np.testing.assert_allclose(after, chain.after, **CLOSE)
        np.testing.assert_allclose(last[0], chain.last, **CLOSE)
        found = [
            equations.at_most_one(equations.largest(way, count)) for way in equations.follow(before, after, r)
        ]
        np.testing.assert_allclose(torch.stack(found), chain.follow(r.numpy()), **CLOSE)


def test_uncut_links_are_followed_as_printed() -> None:
    rows = 6
    links = SparseLinks(rows, heads=1, links=rows)
    state = links.begin(1, LIKE)
    for named, written, read in trace(20, (1, 1, 4), rows, seed=4):
        state, found = links.advance(state, named, written, read)
        after, before = matrices(links, state)[0, 0]
        np.testing.assert_allclose(after, before.T, **CLOSE)
        read_weights = dense(rows, named[0, 0], read[0, 0])
        for half, matrix in enumerate((after, before)):  # b = P r and f = N r
            expected = matrix @ read_weights
            weights = dense(rows, found.rows[0, 0, half], found.weights[0, 0, half])
            np.testing.assert_allclose(weights, expected / max(1, expected.sum()), **CLOSE)


def test_rows_that_are_written_once_are_linked_as_in_the_dense_dnc() -> None:
    rows = 12
    links = SparseLinks(rows, heads=1, links=rows)
    state = links.begin(1, LIKE)
    whole, last = torch.zeros(1, 1, rows, rows).double(), torch.zeros(1, 1, rows).double()
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0)).view(-1, 2)
    for pair in order:
        weights = torch.tensor([0.6, 0.3], dtype=torch.float64)
        writes = torch.zeros(rows).double().index_put((pair,), weights).view(1, 1, rows)
        state, _ = links.advance(state, pair.view(1, 1, 2), weights.view(1, 1, 2), 0 * weights.view(1, 1, 2))
        whole, last = dnc.linked(whole, writes, last), dnc.precedence_after(last, writes)
        np.testing.assert_allclose(matrices(links, state)[0, 0, 1], whole[0, 0], **CLOSE)


def test_of_equal_weights_entries_left_alone_are_kept_then_rows_named_earlier() -> None:
    links = SparseLinks(rows=9, heads=1, links=2)
    state = links.begin(1, LIKE)
    quarter = torch.full((1, 1, 4), 0.25, dtype=torch.float64)
    state, _ = links.advance(state, torch.tensor([[[5, 2, 7, 1]]]), quarter, quarter)
    assert state.rows.tolist() == [[[5, 2]]]
    half = torch.tensor([[[0.5]]], dtype=torch.float64)
    state = state._replace(weights=2 * state.weights)
    state, _ = links.advance(state, torch.tensor([[[8]]]), 0.5 * half, half)
    assert state.rows.tolist() == [[[5, 2]]]  # 0.75 * 0.5 beats 0.25
    state = state._replace(weights=half.expand(1, 1, 2))
    state, _ = links.advance(
        state, torch.tensor([[[2, 3]]]), torch.tensor([[[0.0, 1.0]]]).double(), quarter[..., :2]
    )
    entries = matrices(links, state)[0, 0, 1, 3]
    assert entries.nonzero()[0].tolist() == [2, 5]


def test_weights_along_links_are_at_most_one_in_all() -> None:
    links = SparseLinks(rows=30, heads=1, links=4)
    state = links.begin(1, LIKE)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    for row in range(1, 20):  # row 0 is written before every other one
        for written in (0, row):
            state, found = links.advance(
                state,
                torch.tensor([[[written, 0]]]),
                one * torch.tensor([1.0, 0]),
                one * torch.tensor([0, 1.0]),
            )
    forward = found.weights[0, 0, 1]
    torch.testing.assert_close(forward, torch.full((4,), 0.25).double())


def test_links_that_lead_to_a_row_fade_wherever_they_are_when_it_is_written() -> None:
    links = SparseLinks(rows=9, heads=1, links=2)
    state = links.begin(1, LIKE)
    weight = torch.ones(1, 1, 1, dtype=torch.float64)
    for row in (3, 8, 5, 6):
        state, _ = links.advance(state, torch.tensor([[[row]]]), weight, 0 * weight)
    state, _ = links.advance(state, torch.tensor([[[8]]]), 0.25 * weight, 0 * weight)
    after = matrices(links, state)[0, 0, 0]
    np.testing.assert_allclose([after[3, 8], after[6, 8]], [0.75, 0.25])


def test_precedence_is_of_writes_alone() -> None:
    links = SparseLinks(rows=9, heads=1, links=3)
    state = links.begin(1, LIKE)
    one, nothing = torch.tensor([[[1.0, 0.0]]]).double(), torch.zeros(1, 1, 2).double()
    state, _ = links.advance(state, torch.tensor([[[4, 2]]]), one, nothing)
    after, _ = links.advance(state, torch.tensor([[[6, 2]]]), nothing, one)
    assert torch.equal(after.rows, state.rows)
    assert torch.equal(after.weights, state.weights)


def test_every_row_of_a_long_episode_is_linked() -> None:
    rows = 200
    links = SparseLinks(rows, heads=1, links=2)
    state = links.begin(1, LIKE)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    for row in range(rows):
        state, _ = links.advance(state, torch.tensor([[[row]]]), one, 0 * one)
    after, before = matrices(links, state)[0, 0]
    expected = np.eye(rows, k=1)
    np.testing.assert_allclose(after, expected, **CLOSE)
    np.testing.assert_allclose(before, expected.T, **CLOSE)


def run(
    links: SparseLinks, state: LinkState, steps: list[tuple[torch.Tensor, ...]]
) -> tuple[LinkState, Linked]:
    for step in steps:
        state, found = links.advance(state, *step)
    return state, found


@pytest.mark.parametrize("steps", [3, 60])
def test_a_new_episode_knows_nothing_of_the_last_one(steps: int) -> None:
    links = SparseLinks(rows=7, heads=2, links=3)
    run(links, links.begin(3, LIKE), trace(steps, (3, 2, 4), 7, seed=5))
    state = links.begin(2, LIKE)
    assert not matrices(links, state).any()
    once = run(links, state, trace(6, (2, 2, 4), 7, seed=6))[1]
    fresh = SparseLinks(rows=7, heads=2, links=3)
    again = run(fresh, fresh.begin(2, LIKE), trace(6, (2, 2, 4), 7, seed=6))[1]
    torch.testing.assert_close(once.weights, again.weights, rtol=0, atol=1e-14)


@pytest.mark.parametrize("steps", [3, 60])
def test_some_sequences_begin_anew(steps: int) -> None:
    links = SparseLinks(rows=7, heads=2, links=3)
    state, _ = run(links, links.begin(3, LIKE), trace(steps, (3, 2, 4), 7, seed=7))
    before = matrices(links, state)
    state = links.reset(state, torch.tensor([True, False, True]))
    after = matrices(links, state)
    assert not after[::2].any()
    assert not state.weights[::2].any()
    assert (state.rows[::2] == 7).all()
    np.testing.assert_array_equal(after[1], before[1])
    assert before.any()


def test_links_are_put_elsewhere_bit_for_bit() -> None:
    links = SparseLinks(rows=7, heads=2, links=3)
    state, _ = run(links, links.begin(2, LIKE), trace(9, (2, 2, 4), 7, seed=8))
    parts = links.table.parts(state.starts.flatten(), used=7)
    other = SparseLinks(rows=7, heads=2, links=3)
    begun = other.begin(2, LIKE)
    other.table.put(begun.starts.flatten(), parts)
    steps = trace(5, (2, 2, 4), 7, seed=9)
    here = run(links, state, steps)[1]
    there = run(other, state._replace(starts=begun.starts), steps)[1]
    assert all(torch.equal(one, two) for one, two in zip(here, there, strict=True))
    other.begin(2, LIKE)
    assert not matrices(other, begun).any()


def test_sequences_may_change_places() -> None:
    links = SparseLinks(rows=7, heads=2, links=3)
    state, _ = run(links, links.begin(3, LIKE), trace(9, (3, 2, 4), 7, seed=10))
    order = torch.tensor([2, 0, 1])
    moved = LinkState(*(part[order] for part in state))
    other = SparseLinks(rows=7, heads=2, links=3)
    same, _ = run(other, other.begin(3, LIKE), trace(9, (3, 2, 4), 7, seed=10))
    step = trace(1, (3, 2, 4), 7, seed=11)[0]
    expected = other.advance(same, *step)[1]
    found = links.advance(moved, *(part[order] for part in step))[1]
    assert torch.equal(found.weights, expected.weights[order])
    assert torch.equal(found.rows, expected.rows[order])


def test_single_precision_is_close_after_many_steps() -> None:
    found = {}
    for kind in (torch.float32, torch.float64):
        links = SparseLinks(rows=20, heads=2, links=20)
        steps = [(rows, w.to(kind), r.to(kind)) for rows, w, r in trace(150, (1, 2, 5), 20, seed=12)]
        state, _ = run(links, links.begin(1, torch.zeros((), dtype=kind)), steps)
        found[kind] = matrices(links, state)
    np.testing.assert_allclose(found[torch.float32], found[torch.float64], rtol=0, atol=1e-4)


def test_no_gradient_passes() -> None:
    links = SparseLinks(rows=7, heads=1, links=3)
    step = [
        part.requires_grad_() if part.is_floating_point() else part for part in trace(1, (1, 1, 4), 7, 13)[0]
    ]
    state, found = links.advance(links.begin(1, LIKE), *step)
    assert not state.weights.requires_grad
    assert not found.weights.requires_grad


@pytest.mark.parametrize("name", ["rows", "heads", "links"])
def test_sizes_are_positive(name: str) -> None:
    sizes = {"rows": 5, "heads": 2, "links": 3, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        SparseLinks(**sizes)
