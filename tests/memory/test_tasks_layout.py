"""The tasks of remembering: every batch, read step by step by a slow reader who does the task himself."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_core.spec import build
from graves_memory.data.tasks.copying import CopyTask, RepeatCopyTask
from graves_memory.data.tasks.recall import AssociativeRecallTask
from graves_memory.data.tasks.sorting import PrioritySortTask

SIZES = {"level": st.integers(1, 7), "batch": st.integers(1, 4), "bits": st.integers(1, 5)}
SEEDS = st.integers(0, 2**40)


def made(task, level, batch, seed, length=None):
    return task.make(level, batch, torch.Generator().manual_seed(seed), length)


def solved(batch, solve):
    """Compares the targets with what a reader of the inputs says that they are, and where they are due."""
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "inputs": torch.float32,
        "targets": torch.float32,
        "mask": torch.bool,
        "level": torch.int64,
    }
    for inputs, targets, mask, hard in zip(*(batch[name].tolist() for name in batch), strict=True):
        read, answer = solve(inputs, hard)
        assert mask == [False] * read + [True] * len(answer)
        assert targets == [[0] * len(targets[0])] * read + answer
        assert inputs[read:] == [[0] * len(inputs[0])] * len(answer)


@given(**SIZES, seed=SEEDS)
def test_copy_is_what_stands_between_the_flags(level, batch, bits, seed):
    def solve(inputs, hard):
        start, end = ([step[bits + flag] for step in inputs].index(1) for flag in (0, 1))
        assert (start, end) == (0, hard + 1)
        assert sum(step[bits] + step[bits + 1] for step in inputs) == 2
        assert inputs[0][:bits] == inputs[end][:bits] == [0] * bits
        return end + 1, [step[:bits] for step in inputs[1:end]]

    solved(made(CopyTask(bits), level, batch, seed), solve)


@given(**SIZES, seed=SEEDS, repeats=st.integers(1, 4), count=st.sampled_from(["number", "flag"]))
def test_repeat_copy_is_said_as_often_as_told_and_ends_with_a_marker(
    level, batch, bits, seed, repeats, count
):
    def solve(inputs, hard):
        told = inputs[hard + 1][bits + 1 :]
        times = round(told[0] * repeats) if count == "number" else 1 + told.index(1)
        assert [step[bits] for step in inputs] == [1] + [0] * (len(inputs) - 1)
        assert sum(sum(step[bits + 1 :]) for step in inputs) == pytest.approx(
            times / repeats if count == "number" else 1
        )
        words = [[*step[:bits], 0] for step in inputs[1 : hard + 1]]
        return hard + 2, [*(word for _ in range(times) for word in words), [0] * bits + [1]]

    solved(made(RepeatCopyTask(bits, repeats, count), level, batch, seed), solve)


@given(
    level=st.integers(2, 7),
    batch=st.integers(1, 4),
    bits=st.integers(1, 4),
    words=st.integers(1, 3),
    seed=SEEDS,
    kind=st.sampled_from(["pairs", "items"]),
)
def test_recall_is_what_belongs_to_the_one_key_that_is_shown_again(level, batch, bits, words, seed, kind):
    def solve(inputs, hard):
        begins = [time for time, step in enumerate(inputs) if step[bits]]
        first, last = (time for time, step in enumerate(inputs) if step[bits + 1])
        assert len(begins) == hard
        ends = [*begins[1:], first]
        items = [inputs[begin + 1 : end] for begin, end in zip(begins, ends, strict=True)]
        items = [[step[:bits] for step in item] for item in items]
        asked = [step[:bits] for step in inputs[first + 1 : last]]
        assert all(inputs[time][:bits] == [0] * bits for time in (*begins, first, last))
        places = [place for place, item in enumerate(items) if item[:words] == asked]
        assert len(places) == 1
        answer = items[places[0]][words:] if kind == "pairs" else items[places[0] + 1]
        assert len(answer) == words
        return last + 1, answer

    solved(made(AssociativeRecallTask(bits, words, kind), level, batch, seed), solve)


@given(**SIZES, seed=SEEDS, kept=st.sampled_from([0.01, 0.5, 0.8, 1.0]))
def test_priority_sort_says_the_words_of_the_highest_priorities_in_descending_order(
    level, batch, bits, seed, kept
):
    def solve(inputs, hard):
        assert [step[bits + 1] for step in inputs[: hard + 1]] == [0] * hard + [1]
        assert inputs[hard][: bits + 1] == [0] * (bits + 1)
        waiting = [(step[bits], step[:bits]) for step in inputs[:hard]]
        assert all(-1 <= priority <= 1 for priority, _ in waiting)
        answer = []
        while len(answer) < max(1, round(hard * kept)):
            highest = max(waiting, key=lambda pair: pair[0])
            waiting.remove(highest)
            answer.append(highest[1])
        return hard + 1, answer

    solved(made(PrioritySortTask(bits, kept), level, batch, seed), solve)


def test_equal_priorities_keep_the_order_of_reading(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.zeros(shape))
    batch = made(PrioritySortTask(3, kept=1.0), 9, 2, seed=0, length=9)
    assert torch.equal(batch["targets"][:, 10:], batch["inputs"][:, :9, :3])


def test_papers_sizes_of_priority_sort_are_20_words_and_16_answers():
    batch = made(PrioritySortTask(shortest=20), 20, 2, seed=0)
    assert batch["mask"].sum(1).tolist() == [16, 16]
    assert batch["inputs"].shape == (2, 20 + 1 + 16, 10)


def test_papers_sizes_of_item_recall_are_three_words_of_six_bits():
    batch = made(AssociativeRecallTask(6, 3, "items"), 6, 2, seed=0, length=6)
    assert batch["inputs"].shape == (2, 6 * 4 + 5 + 3, 8)


TASKS = [
    CopyTask(3),
    RepeatCopyTask(3, repeats=3),
    RepeatCopyTask(3, repeats=2, count="flag"),
    AssociativeRecallTask(3),
    AssociativeRecallTask(2, 3, "items"),
    PrioritySortTask(3),
]


@pytest.mark.parametrize("task", TASKS)
def test_sizes_are_those_of_the_batches(task):
    batch = made(task, 4, 5, seed=0)
    steps = batch["mask"].shape[1]
    assert batch["inputs"].shape == (5, steps, task.input_size)
    assert batch["targets"].shape == (5, steps, task.output_size)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_rebuilt_from_its_spec(task):
    again = build(task.spec)
    first, second = (made(one, 4, 3, seed=5) for one in (task, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("task", [CopyTask(2, shortest=3), AssociativeRecallTask(2, shortest=3)])
def test_difficulties_are_uniform_from_the_shortest_to_the_level(task):
    count = 2000
    drawn = torch.tensor([int(made(task, 6, 1, seed)["level"]) for seed in range(count)])
    counts = drawn.bincount(minlength=7)
    assert counts[:3].sum() == 0
    assert len(counts) == 7
    assert (counts[3:] - count / 4).abs().max() <= 4.5 * (count * 1 / 4 * 3 / 4) ** 0.5


def test_repeats_are_uniform_from_one_to_the_most():
    count = 1500
    task = RepeatCopyTask(1, repeats=3, count="flag")
    told = torch.stack([made(task, 1, 1, seed)["inputs"][0, 2, 2:] for seed in range(count)]).sum(0)
    assert (told - count / 3).abs().max() <= 4.5 * (count * 1 / 3 * 2 / 3) ** 0.5


@pytest.mark.parametrize("kind", ["pairs", "items"])
def test_every_item_that_can_be_asked_for_is_asked_equally_often(kind):
    batch = made(AssociativeRecallTask(24, 1, kind), 4, 3000, seed=0, length=4)
    steps = 2 if kind == "items" else 3
    keys, asked = batch["inputs"][:, 1 : 4 * steps : steps], batch["inputs"][:, 4 * steps + 1]
    asked = torch.cat([asked[:, :-2], torch.zeros(3000, 2)], 1)
    counts = (keys[:, :, :-2] == asked[:, None, :-2]).all(2).sum(0)
    choices = 4 if kind == "pairs" else 3
    assert counts[choices:].sum() == 0
    assert (counts[:choices] - 3000 / choices).abs().max() <= 4.5 * (
        3000 / choices * (1 - 1 / choices)
    ) ** 0.5


def test_keys_that_are_not_asked_for_are_uniform_over_all_others():
    count = 4000
    batch = made(AssociativeRecallTask(2), 2, count, seed=0, length=2)
    keys = (batch["inputs"][:, [1, 4], :2] * torch.tensor([2, 1])).sum(2).long()
    asked = (batch["inputs"][:, 7, :2] * torch.tensor([2, 1])).sum(1).long()
    other = keys.sum(1) - asked
    counts = torch.zeros(4, 4).index_put_((asked, other), torch.ones(count), accumulate=True)
    assert counts.diagonal().sum() == 0
    expected = torch.where(torch.eye(4) == 1, 0, count / 12)
    assert (counts - expected).abs().max() <= 4.5 * (count / 12 * 11 / 12) ** 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CopyTask(0), ValueError, "bits must be at least 1, got 0"),
        (lambda: CopyTask(2.0), TypeError, "bits must be an integer, got 2.0"),
        (lambda: CopyTask(shortest=0), ValueError, "shortest must be at least 1, got 0"),
        (lambda: RepeatCopyTask(repeats=0), ValueError, "repeats must be at least 1, got 0"),
        (lambda: RepeatCopyTask(count="text"), ValueError, "count must be 'number' or 'flag', got 'text'"),
        (lambda: AssociativeRecallTask(words=0), ValueError, "words must be at least 1, got 0"),
        (lambda: AssociativeRecallTask(kind="x"), ValueError, "kind must be 'pairs' or 'items', got 'x'"),
        (
            lambda: AssociativeRecallTask(kind="items", shortest=1),
            ValueError,
            "shortest must be at least 2, got 1",
        ),
        (lambda: PrioritySortTask(kept=0), ValueError, r"kept must lie in \(0, 1\], got 0"),
        (lambda: PrioritySortTask(kept="all"), TypeError, "kept must be a number, got 'all'"),
        (lambda: made(CopyTask(shortest=2), 1, 1, 0), ValueError, "level must be at least 2, got 1"),
        (lambda: made(CopyTask(), 1, 1, 0, 0), ValueError, "length must be at least 1, got 0"),
    ],
)
def test_arguments_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()
