"""The loader's batches: who gets which rows, and where an interrupted epoch goes on."""

# ruff: noqa: NPY002 -- numpy's global generator is what is tested

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_core import ResumableLoader


class Noisy:
    """Rows that draw from the three global generators while they are read."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.tensor([index, torch.rand(()), np.random.rand(), random.random()])


class Whole:
    """A dataset that reads a whole batch by one index operation."""

    values = torch.arange(30) * 10

    def __len__(self):
        return 30

    def __getitem__(self, index):
        raise AssertionError("the batch is to be read at once")

    def __getitems__(self, indices):
        return self.values[indices]


def identity(batch):
    return batch


def batches_of(rank, world, rows, **kwargs):
    loader = ResumableLoader(range(rows), **kwargs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graves_core.batches.rank_and_world", lambda: (rank, world))
        return [batch.tolist() for batch in loader]


@given(
    rows=st.integers(1, 60),
    world=st.integers(1, 5),
    batch_size=st.integers(1, 7),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_ranks_cover_every_row_once_in_equally_many_batches(rows, world, batch_size, shuffle, seed):
    kwargs = {"rows": rows, "batch_size": batch_size, "shuffle": shuffle, "seed": seed}
    if rows < world:
        with pytest.raises(ValueError, match=f"{rows} rows, too few"):
            batches_of(0, world, **kwargs)
        return
    ranks = [batches_of(rank, world, **kwargs) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert sorted(row for batches in ranks for batch in batches for row in batch) == list(range(rows))
    for shares in zip(*ranks, strict=True):
        sizes = [len(share) for share in shares]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= batch_size + 1


@given(
    rows=st.integers(8, 60),
    world=st.sampled_from([2, 4]),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
)
def test_n_ranks_see_the_global_batches_of_one(rows, world, drop_last, shuffle):
    kwargs = {"rows": rows, "shuffle": shuffle, "seed": 3, "drop_last": drop_last}
    one = batches_of(0, 1, batch_size=8, **kwargs)
    ranks = [batches_of(rank, world, batch_size=8 // world, **kwargs) for rank in range(world)]
    together = [{row for share in shares for row in share} for shares in zip(*ranks, strict=True)]
    full = rows // 8 - 1  # the last ones may be merged
    assert together[:full] == [set(batch) for batch in one[:full]]
    if drop_last:
        assert together == [set(batch) for batch in one]
        assert all(len(batch) == 8 for batch in one)
    for rank, batches in enumerate(ranks):
        assert batches[:full] == [batch[rank::world] for batch in one[:full]]


def test_each_epoch_and_seed_has_its_own_order():
    def order(seed, epoch):
        loader = ResumableLoader(range(50), 10, shuffle=True, seed=seed)
        loader.batch_sampler.set_epoch(epoch)
        return tuple(torch.cat(list(loader)).tolist())

    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
    assert order(2, 1) == order(2, 1)


def test_epochs_advance_by_themselves_as_by_set_epoch():
    alone, driven = (ResumableLoader(range(20), 6, shuffle=True, seed=1) for _ in range(2))
    for epoch in range(3):
        driven.batch_sampler.set_epoch(epoch)
        assert torch.equal(torch.cat(list(alone)), torch.cat(list(driven)))


def test_an_abandoned_iteration_starts_its_epoch_again():
    loader = ResumableLoader(range(20), 5, shuffle=True, seed=1)
    first = next(iter(loader))
    assert torch.equal(next(iter(loader)), first)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_epochs_go_on_with_the_next_batch(num_workers):
    def make():
        return ResumableLoader(range(21), 4, shuffle=True, seed=5, num_workers=num_workers)

    whole = make()
    expected = [batch.tolist() for _ in range(3) for batch in whole]
    for stop in (1, 3, 6, 7, 12):
        interrupted, states = make(), []
        for _ in range(3):
            for _ in interrupted:
                states.append(interrupted.state_dict())
                if len(states) == stop:
                    break
            if len(states) == stop:
                break
        resumed = make()
        resumed.load_state_dict(states[-1])
        rest = [batch.tolist() for _ in range(3 - states[-1]["epoch"]) for batch in resumed]
        assert rest == expected[stop:], f"stopped after batch {stop}"


def test_a_new_epoch_forgets_the_place_of_the_old_one():
    loader = ResumableLoader(range(20), 5, shuffle=True, seed=1)
    loader.load_state_dict({"epoch": 0, "batches": 2})
    loader.batch_sampler.set_epoch(1)
    assert loader.state_dict() == {"epoch": 1, "batches": 0}
    assert len(list(loader)) == 4


def test_draws_of_the_dataset_depend_on_seed_epoch_and_batch_alone():
    def epoch(num_workers, first=0):
        loader = ResumableLoader(Noisy(), 4, shuffle=True, seed=7, num_workers=num_workers)
        loader.load_state_dict({"epoch": 1, "batches": first})
        return torch.cat(list(loader))

    reference = epoch(0)
    torch.manual_seed(99)
    assert torch.equal(epoch(0), reference)
    assert torch.equal(epoch(2), reference)
    assert torch.equal(epoch(2, first=3), reference[12:])
    assert len(reference[:, 1].unique()) == 24


def test_ranks_draw_differently_inside_the_dataset(monkeypatch):
    def epoch(rank):
        monkeypatch.setattr("graves_core.batches.rank_and_world", lambda: (rank, 2))
        return torch.cat(list(ResumableLoader(Noisy(), 4, shuffle=False)))

    assert not set(epoch(0)[:, 1].tolist()) & set(epoch(1)[:, 1].tolist())


def test_loading_leaves_the_generators_of_the_process_alone():
    def draw_after_loading(seed, load):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        if load:
            list(ResumableLoader(Noisy(), 4, shuffle=True))
        return torch.rand(()).item(), np.random.rand(), random.random()

    assert draw_after_loading(0, load=True)[:2] == draw_after_loading(0, load=False)[:2]
    # the type checks of these tests draw from Python's generator, too
    assert draw_after_loading(0, load=True)[2] != draw_after_loading(1, load=True)[2]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_getitems_reads_a_batch_at_once(num_workers):
    loader = ResumableLoader(Whole(), 8, shuffle=False, num_workers=num_workers, collate_fn=identity)
    assert [batch.tolist() for batch in loader][-1] == [240, 250, 260, 270, 280, 290]


def test_rows_are_collated_as_by_torch():
    loader = ResumableLoader([(1, "a"), (2, "b")], 2, shuffle=False)
    numbers, letters = next(iter(loader))
    assert numbers.tolist() == [1, 2]
    assert list(letters) == ["a", "b"]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0, got -1"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"dataset": []}, ValueError, "dataset must have at least one row"),
        ({"dataset": iter([1])}, TypeError, "dataset must have __len__ and __getitem__, got list_iterator"),
        ({"batch_size": 6, "drop_last": True}, ValueError, "drop_last=True leaves no batch"),
        ({"collate_fn": "x"}, TypeError, "collate_fn must be callable or None, got 'x'"),
    ],
)
def test_wrong_arguments_are_named(kwargs, error, message):
    with pytest.raises(error, match=message):
        ResumableLoader(**({"dataset": range(5), "batch_size": 2, "shuffle": True} | kwargs))


def test_a_state_of_other_data_is_refused():
    loader = ResumableLoader(range(10), 5, shuffle=True)
    with pytest.raises(ValueError, match="after batch 7 of an epoch with 2 batches"):
        loader.load_state_dict({"epoch": 0, "batches": 7})
