"""Tasks as data: what batches hold on each rank, at each level, in chunks, and after an interruption."""

import pytest
import torch
from drawn_batches import TWO_RANKS, Guesser, equal, on_rank, rows, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from graves_core import Curriculum, ExactResume
from graves_core.testing import assert_exact_resume
from graves_memory.data.generated import TaskDataModule
from graves_memory.data.padding import joined
from graves_memory.data.tasks.copying import CopyTask, RepeatCopyTask
from graves_memory.data.tasks.sorting import PrioritySortTask


def module(task=None, level=4, **arguments):
    return TaskDataModule(task or CopyTask(2), level, **({"val_levels": [3], "val_sequences": 4} | arguments))


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(number)
    return list(loader)


def curriculum():
    return Curriculum("train/loss", 0.69, rule="double", max_level=16)


@settings(max_examples=15)
@given(
    world=st.sampled_from([2, 4]),
    level=st.integers(1, 5),
    chunk=st.sampled_from([None, 1, 3, 50]),
    seed=st.integers(0, 2**32 - 1),
)
def test_ranks_share_the_global_batches_of_one(world, level, chunk, seed):
    def loader(batch_size):
        sizes = {"batch_size": batch_size, "batches_per_epoch": 5}
        return module(RepeatCopyTask(2, 3), level, chunk=chunk, seed=seed, **sizes).train_dataloader()

    one = on_rank(0, 1, lambda: loader(8), "graves_memory.data.generated")
    for rank in range(world):
        share = on_rank(rank, world, lambda: loader(8 // world), "graves_memory.data.generated")
        assert len(share) == len(one)
        assert all(map(equal, share, [rows(batch, slice(rank, None, world)) for batch in one]))


@pytest.mark.parametrize("chunk", [None, 5])
def test_two_processes_see_the_batches_and_levels_of_one(tmp_path, chunk):
    def run(name, ranks):
        (tmp_path / name).mkdir()
        data = module(level=1, batch_size=8 // ranks, batches_per_epoch=12, chunk=chunk)
        torch.manual_seed(0)
        return seen(Guesser(4, 2, tmp_path / name), data, tmp_path / name, ranks, [curriculum()])

    [one] = run("one", 1)
    two = run("two", 2)
    assert max(int(batch["level"].max()) for batch in one) > 2
    for rank, share in enumerate(two):
        assert len(share) == 12
        assert all(map(equal, share, [rows(batch, slice(rank, None, 2)) for batch in one]))


def test_a_new_level_holds_from_the_next_batch():
    data = module(CopyTask(1, shortest=2), 2, batches_per_epoch=40)
    tops = []
    for number, batch in enumerate(data.train_dataloader()):
        tops.append(int(batch["level"].max()))
        data.level = 2 if number < 10 else 50
    assert max(tops[:11]) == 2
    assert max(tops[11:]) > 10


def test_batches_differ_within_and_between_epochs_and_seeds():
    sequences = {
        tuple(batch["inputs"].flatten().tolist())
        for seed in range(3)
        for number in range(3)
        for batch in epoch(
            module(CopyTask(8, shortest=9), 9, batches_per_epoch=5, val_levels=[], seed=seed), number
        )
    }
    assert len(sequences) == 45


def test_a_batch_does_not_depend_on_what_was_read_before():
    whole = epoch(module(batches_per_epoch=6), 2)
    loader = module(batches_per_epoch=6).train_dataloader()
    loader.load_state_dict({"epoch": 2, "batches": 4})
    assert all(map(equal, loader, whole[4:]))


def pieces(batches):
    """Chunks that belong together, joined in time."""
    groups = []
    for batch in batches:
        if batch["reset"].all():
            groups.append([])
        assert batch["reset"].all() or not batch["reset"].any()
        groups[-1].append(batch)
    names = ("inputs", "targets", "mask")
    return [{name: torch.cat([part[name] for part in group], 1) for name in names} for group in groups]


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_chunks_put_together_are_whole_sequences(steps):
    data = module(PrioritySortTask(3, shortest=2), 6, chunk=steps, batches_per_epoch=30)
    batches = epoch(data)
    *whole, _ = pieces(batches)
    assert all(batch["inputs"].shape[1] <= steps for batch in batches)
    lengths = [sequence["inputs"].shape[1] for sequence in whole]
    assert sum(-(-length // steps) for length in lengths) <= 30
    for sequence in whole:
        words = int((sequence["inputs"][0, :, 4] == 1).nonzero())
        assert sequence["inputs"].shape[1] == words + 1 + max(1, round(0.8 * words))
        assert (sequence["mask"].sum(1) == max(1, round(0.8 * words))).all()


def test_chunks_are_those_of_the_sequences_that_begin_at_their_first_batch():
    chunked = epoch(module(chunk=3, batches_per_epoch=20))
    whole = epoch(module(batches_per_epoch=20))
    begins = [number for number, batch in enumerate(chunked) if batch["reset"].all()]
    for begin, sequence in zip(begins[:-1], pieces(chunked)[:-1], strict=True):
        assert equal(sequence, {name: whole[begin][name] for name in sequence})


def test_sequences_go_on_over_the_end_of_an_epoch():
    short, long = module(chunk=3, batches_per_epoch=2), module(chunk=3, batches_per_epoch=8)
    assert all(map(equal, [batch for number in range(4) for batch in epoch(short, number)], epoch(long)))
    assert not epoch(module(chunk=3, batches_per_epoch=1), 0)[0]["mask"].all()


def test_a_new_level_leaves_the_sequence_in_the_middle_alone():
    data = module(CopyTask(1, shortest=4), 4, chunk=4, batches_per_epoch=12, val_levels=[])
    read = []
    for batch in data.train_dataloader():
        read.append(batch)
        data.level = 40
    first = pieces(read)[0]
    assert first["inputs"].shape[1] == 10
    assert [int(batch["level"][0]) for batch in read[:3]] == [4, 4, 4]
    assert int(read[3]["level"][0]) > 4


def test_an_epoch_that_is_begun_anew_is_the_same():
    data = module(chunk=3, batches_per_epoch=7)
    assert all(map(equal, epoch(data), epoch(data)))


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, ranks, chunk):
    assert_exact_resume(
        lambda: Guesser(4, 2),
        lambda: module(level=1, batch_size=4 // ranks, batches_per_epoch=6, chunk=chunk),
        [1, 4, 6, 9],
        15,
        tmp_path,
        lambda: [ExactResume(), curriculum()],
        TWO_RANKS if ranks == 2 else None,
    )
    saved = torch.load(tmp_path / "whole" / "15.ckpt", weights_only=True)["TaskDataModule"]
    assert saved["level"] > 1
    assert (saved["begun"] is None) == (chunk is None)


def evaluation(data, part="val"):
    return list(getattr(data, f"{part}_dataloader")())


def test_validation_is_always_the_same():
    first = module(batch_size=8)
    other = module(level=9, batch_size=8, batches_per_epoch=2, chunk=2)
    list(other.train_dataloader())
    assert equal(*evaluation(first), *evaluation(other))
    assert equal(*evaluation(first), *evaluation(first))


def test_validation_sequences_do_not_depend_on_the_others():
    [few] = evaluation(module(val_levels=[5], val_sequences=2, batch_size=8))
    [many] = evaluation(module(val_levels=[7, 5], val_sequences=3, batch_size=8))
    cut = {name: rows[:, :12] if rows.dim() > 1 else rows for name, rows in rows(many, [3, 4]).items()}
    assert equal(few, cut)


def test_validation_has_every_level_equally_often_and_in_order_and_whole():
    data = module(val_levels=[5, 2], val_sequences=3, batch_size=6, chunk=2)
    [batch] = evaluation(data)
    assert batch["level"].tolist() == [5] * 3 + [2] * 3
    assert batch["mask"].sum(1).tolist() == [5] * 3 + [2] * 3
    assert batch["inputs"].shape == (6, 12, 4)
    assert not batch["inputs"][3:, 6:].any()
    assert not batch["mask"][3:, 6:].any()


def test_training_validation_and_test_have_streams_of_their_own():
    data = module(CopyTask(8, shortest=20), 20, val_levels=[20], batch_size=4, batches_per_epoch=1)
    parts = [*epoch(data), *evaluation(data), *evaluation(data, "test")]
    sequences = {tuple(inputs.flatten().tolist()) for batch in parts for inputs in batch["inputs"]}
    assert len(sequences) == 12
    assert equal(*evaluation(data, "test"), *evaluation(data, "predict"))


def test_there_is_no_validation_without_levels():
    data = module(val_levels=[])
    assert data.val_dataloader() == data.test_dataloader() == []


def test_spec_tells_the_sizes_of_a_model():
    spec = module(RepeatCopyTask(3)).spec
    assert (spec.input_size, spec.output_size) == (5, 4)


def test_training_begins_with_the_shortest_sequences_unless_told():
    assert TaskDataModule(CopyTask(shortest=3)).level == 3


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(-3, 3))
def test_shorter_parts_are_filled_up_at_the_end(lengths, fill):
    parts = [{"x": torch.full((2, length, 1), 9), "y": torch.tensor([1, 2])} for length in lengths]
    batch = joined(parts, {"x": fill})
    longest = max(lengths)
    expected = [[9] * length + [fill] * (longest - length) for length in lengths for _ in range(2)]
    assert batch["x"][:, :, 0].tolist() == expected
    assert batch["y"].tolist() == [1, 2] * len(lengths)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "copy"}, TypeError, "task must be a Task or None, got str"),
        ({"level": 0}, ValueError, "level must be at least 1, got 0"),
        ({"task": CopyTask(shortest=3), "level": 2}, ValueError, "level must be at least 3, got 2"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batches_per_epoch": 0}, ValueError, "batches_per_epoch must be at least 1, got 0"),
        ({"val_levels": [3, 0]}, ValueError, "val_levels must be at least 1, got 0"),
        ({"val_sequences": 0}, ValueError, "val_sequences must be at least 1, got 0"),
        ({"chunk": 0}, ValueError, "chunk must be at least 1, got 0"),
        ({"chunk": 2.5}, TypeError, "chunk must be an integer, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        TaskDataModule(**arguments)


def test_a_level_set_later_is_checked_too():
    data = TaskDataModule(CopyTask(shortest=2))
    with pytest.raises(ValueError, match="level must be at least 2, got 1"):
        data.level = 1
