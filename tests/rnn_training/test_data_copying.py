"""The copy task: what its batches hold, on each rank, at each level, and after an interruption."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seen_batches import TWO_RANKS, Tagger, equal, on_rank, rows, seen

from graves_core import Curriculum, ExactResume
from graves_core.testing import assert_exact_resume
from graves_rnn_training.data.copying import CopyDataModule
from graves_rnn_training.data.sequences import copy_task


def spelled_out(bits, steps):
    """One sequence, step by step."""
    inputs = [*bits, 2, *[3] * len(bits)]
    targets = [*[-100] * (len(bits) + 1), *bits]
    missing = steps - len(inputs)
    return inputs + [3] * missing, targets + [-100] * missing


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), min_size=1, max_size=5))
def test_sequences_are_laid_out_as_spelled_out(sequences):
    lengths = [len(bits) for bits in sequences]
    padded = torch.ones(len(sequences), max(lengths), dtype=torch.uint8)
    for row, bits in zip(padded, sequences, strict=True):
        row[: len(bits)] = torch.tensor(bits)
    batch = copy_task(padded, torch.tensor(lengths))
    expected = [spelled_out(bits, 2 * max(lengths) + 1) for bits in sequences]
    assert batch["inputs"].tolist() == [inputs for inputs, _ in expected]
    assert batch["targets"].tolist() == [targets for _, targets in expected]
    assert (batch["inputs"].dtype, batch["targets"].dtype) == (torch.uint8, torch.int64)


def lengths_of(batch):
    return (batch["targets"] >= 0).sum(1)


@pytest.mark.parametrize("level", [1, 4, 6, 12])
@pytest.mark.parametrize("lengths", ["batch", "sequence"])
def test_lengths_are_uniform_up_to_the_level(level, lengths):
    count = 3000
    size = 1 if lengths == "batch" else 8
    data = CopyDataModule(level, lengths=lengths, batch_size=size, batches_per_epoch=count // size, seed=3)
    drawn = torch.cat([lengths_of(batch) for batch in data.train_dataloader()])
    least = max(level - 5, 1)
    choices = level - least + 1
    counts = drawn.bincount(minlength=level + 1)
    assert counts[:least].sum() == 0
    assert len(counts) == level + 1
    deviation = (count / choices * (1 - 1 / choices)) ** 0.5
    assert (counts[least:] - count / choices).abs().max() <= 4.5 * deviation


def test_bits_are_fair_and_independent():
    data = CopyDataModule(32, spread=0, batch_size=64, batches_per_epoch=4, seed=1)
    bits = torch.cat([batch["targets"][:, -32:] for batch in data.train_dataloader()]).double() * 2 - 1
    count = bits.numel()
    assert abs(bits.sum()) < 4.5 * count**0.5
    assert abs((bits[:, 1:] * bits[:, :-1]).sum()) < 4.5 * count**0.5
    assert abs((bits[1:] * bits[:-1]).sum()) < 4.5 * count**0.5


def test_a_batch_of_one_length_has_no_padding():
    for batch in CopyDataModule(8, batches_per_epoch=30).train_dataloader():
        steps = batch["inputs"].shape[1]
        assert lengths_of(batch).tolist() == [(steps - 1) // 2] * 16


@settings(max_examples=20)
@given(
    world=st.sampled_from([2, 4]),
    level=st.integers(1, 9),
    lengths=st.sampled_from(["batch", "sequence"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_ranks_share_the_global_batches_of_one(world, level, lengths, seed):
    def loader(batch_size):
        settings = {"lengths": lengths, "batches_per_epoch": 3, "seed": seed}
        return CopyDataModule(level, batch_size=batch_size, **settings).train_dataloader()

    one = on_rank(0, 1, lambda: loader(8))
    for rank in range(world):
        share = on_rank(rank, world, lambda: loader(8 // world))
        expected = [rows(batch, slice(rank, None, world)) for batch in one]
        assert all(map(equal, share, expected))
        assert len(share) == len(one)


def curriculum():
    return Curriculum("train/loss", 0.72, patience=2)


def test_two_processes_see_the_batches_and_levels_of_one(tmp_path):
    def data(batch_size):
        return CopyDataModule(batch_size=batch_size, batches_per_epoch=20, val_lengths=[3], val_sequences=6)

    [one] = seen(data(8), tmp_path / "one", callbacks=[curriculum()])
    two = seen(data(4), tmp_path / "two", ranks=2, callbacks=[curriculum()])
    assert max(batch["inputs"].shape[1] for batch in one) > 3
    for rank, share in enumerate(two):
        assert len(share) == 20
        assert all(map(equal, share, [rows(batch, slice(rank, None, 2)) for batch in one]))


def test_a_new_level_holds_from_the_next_batch():
    data = CopyDataModule(2, spread=0, batches_per_epoch=4)
    steps = []
    for batch in data.train_dataloader():
        steps.append(batch["inputs"].shape[1])
        data.level += 1
    assert steps == [5, 7, 9, 11]


def test_batches_differ_within_and_between_epochs_and_seeds():
    def epoch(number, seed):
        loader = CopyDataModule(40, spread=0, batch_size=1, batches_per_epoch=5, seed=seed).train_dataloader()
        loader.batch_sampler.set_epoch(number)
        return [tuple(batch["inputs"][0].tolist()) for batch in loader]

    assert len({bits for number in range(3) for seed in range(3) for bits in epoch(number, seed)}) == 45
    assert epoch(2, 1) == epoch(2, 1)


@pytest.mark.parametrize("lengths", ["batch", "sequence"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, ranks, lengths):
    def data():
        sizes = {"batch_size": 4 // ranks, "batches_per_epoch": 6, "val_sequences": 4, "val_lengths": [2]}
        return CopyDataModule(lengths=lengths, **sizes)

    assert_exact_resume(
        lambda: Tagger(4, 2),
        data,
        [1, 4, 6, 9],
        15,
        tmp_path,
        lambda: [ExactResume(), curriculum()],
        TWO_RANKS if ranks == 2 else None,
    )
    whole = torch.load(tmp_path / "whole" / "15.ckpt", weights_only=True)
    assert whole["CopyDataModule"] == {"level": whole["callbacks"]["Curriculum"]["level"]}
    assert whole["CopyDataModule"]["level"] > 1


def test_the_level_survives_without_a_curriculum():
    data, again = CopyDataModule(1), CopyDataModule(1)
    data.level = 7
    again.load_state_dict(data.state_dict())
    assert again.level == 7


def evaluation(data, part="val"):
    return list(getattr(data, f"{part}_dataloader")())


def test_validation_is_always_the_same():
    first = CopyDataModule(3, val_lengths=[2, 5], val_sequences=10, batch_size=20)
    other = CopyDataModule(9, val_lengths=[2, 5], val_sequences=10, batch_size=20, batches_per_epoch=2)
    list(other.train_dataloader())
    assert equal(*evaluation(first), *evaluation(other))
    assert equal(*evaluation(first), *evaluation(first))


def test_validation_has_every_length_equally_often_and_in_order():
    [batch] = evaluation(CopyDataModule(val_lengths=[5, 2], val_sequences=4, batch_size=8))
    assert lengths_of(batch).tolist() == [5] * 4 + [2] * 4


def test_validation_sequences_do_not_depend_on_the_other_lengths():
    [alone] = evaluation(CopyDataModule(val_lengths=[5], val_sequences=4, batch_size=8))
    [both] = evaluation(CopyDataModule(val_lengths=[5, 2], val_sequences=4, batch_size=8))
    assert equal(alone, rows(both, slice(0, 4)))


def test_validation_batches_are_no_longer_than_their_longest_sequence():
    steps = [
        batch["inputs"].shape[1]
        for batch in evaluation(CopyDataModule(val_lengths=[2, 5], val_sequences=4, batch_size=4))
    ]
    assert steps == [5, 11]


def test_training_validation_and_test_have_streams_of_their_own():
    sizes = {"val_lengths": [60], "val_sequences": 16, "batches_per_epoch": 1, "spread": 0}
    data = CopyDataModule(60, **sizes)
    parts = [*data.train_dataloader(), *evaluation(data), *evaluation(data, "test")]
    assert len({tuple(sequence) for batch in parts for sequence in batch["inputs"].tolist()}) == 3 * 16


def test_there_is_no_validation_without_lengths():
    data = CopyDataModule(val_lengths=[])
    assert data.val_dataloader() == data.test_dataloader() == []


def test_spec_tells_the_sizes_of_a_model():
    data = CopyDataModule(4)
    assert (data.spec.levels, data.spec.classes, data.spec.shape) == (4, 2, (9,))
    data.level = 5
    assert data.spec.shape == (11,)


def test_untrained_bits_cost_one_bit_each():
    batch = next(iter(CopyDataModule(6, spread=0).train_dataloader()))
    scores = torch.zeros(*batch["inputs"].shape, 2)
    loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), batch["targets"].flatten())
    assert float(loss) / math.log(2) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"level": 0}, ValueError, "level must be at least 1, got 0"),
        ({"level": 2.0}, TypeError, "level must be an integer, got 2.0"),
        ({"spread": -1}, ValueError, "spread must be at least 0, got -1"),
        ({"lengths": "row"}, ValueError, "lengths must be 'batch' or 'sequence', got 'row'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batches_per_epoch": 0}, ValueError, "batches_per_epoch must be at least 1, got 0"),
        ({"val_lengths": [3, 0]}, ValueError, "val_lengths must be at least 1, got 0"),
        ({"val_sequences": 0}, ValueError, "val_sequences must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 2**32}, ValueError, r"seed must lie in 0..2\*\*32-1, got 4294967296"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        CopyDataModule(**arguments)


def test_a_level_set_later_is_checked_too():
    data = CopyDataModule()
    with pytest.raises(ValueError, match="level must be at least 1, got 0"):
        data.level = 0
