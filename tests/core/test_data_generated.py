"""Batches that are made when they are asked for: which rows each rank gets, in which epoch."""

import pytest
import torch

from graves_core.data.datasets import as_it_is
from graves_core.data.generated import GeneratedBatches
from graves_core.loader import ResumableLoader


def places(epoch, batch):
    """Six rows that tell where they come from."""
    return {"x": 100 * epoch + 10 * batch + torch.arange(6), "y": torch.arange(12).view(6, 2)}


def loader(size, rows=6):
    return ResumableLoader(GeneratedBatches(places, 3, size), rows, shuffle=False, collate_fn=as_it_is)


def test_each_batch_is_what_was_made_for_its_epoch_and_number():
    batches = loader(6)
    for epoch in range(2):
        for number, batch in enumerate(batches):
            expected = places(epoch, number)
            assert batch.keys() == expected.keys()
            assert all(torch.equal(batch[name], expected[name]) for name in expected)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_rows_of_a_batch(monkeypatch, world):
    for rank in range(world):
        monkeypatch.setattr("graves_core.batches.rank_and_world", lambda rank=rank: (rank, world))
        shares = [batch["x"].tolist() for batch in loader(6, 6 // world)]
        assert shares == [places(0, number)["x"][rank::world].tolist() for number in range(3)]


def test_nothing_is_made_before_it_is_asked_for():
    asked = []

    def make(epoch, batch):
        asked.append(batch)
        return places(epoch, batch)

    batches = iter(ResumableLoader(GeneratedBatches(make, 3, 6), 6, shuffle=False, collate_fn=as_it_is))
    next(batches)
    assert asked == [0]


def test_one_row_has_no_batch_axis():
    row = GeneratedBatches(places, 3, 6)[8]
    assert (row["x"].tolist(), row["y"].tolist()) == (12, [4, 5])
