"""Distinct words as texts of different lengths."""

import re

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from graves_core import DataSpec, EnglishWordsDataModule
from graves_core.data.english import read_topics
from graves_core.data.splits import random_parts

ALPHABET = "_abcdefghijklmnopqrstuvwxyz"


def words_of(dataset):
    return ["".join(ALPHABET[token] for token in dataset[i]) for i in range(len(dataset))]


def parts(**arguments):
    data = EnglishWordsDataModule(**arguments)
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [words_of(loader.dataset) if loader else [] for loader in loaders]


def all_words(**arguments):
    return [word for part in parts(**arguments) for word in part]


def test_a_word_is_letters_and_then_padding():
    for word in all_words(length=9, min_length=4):
        assert re.fullmatch("[a-z]{4,9}_*", word)
        assert len(word) == 9


def test_no_word_comes_twice_in_or_between_parts():
    words = all_words()
    assert len(set(words)) == len(words)


def test_parts_are_the_words_of_the_text():
    """An independent reading: whole words between characters that no word or name contains."""
    pieces = re.split(r"[^\w'’]+", read_topics())
    plain = {piece.lower() for piece in pieces if re.fullmatch("[A-Za-z][a-z]{2,11}", piece)}
    assert {word.rstrip("_") for word in all_words()} == plain


def test_there_are_words_to_learn_from():
    train, val, test = parts()
    assert len(train) > 1000
    assert min(len(val), len(test)) > 100
    assert {"the", "function", "statement", "class"} <= {word.rstrip("_") for word in train + val + test}


@pytest.mark.parametrize(("val_fraction", "test_fraction"), [(0.1, 0.1), (0.25, 0.5), (0.0, 0.2)])
def test_parts_have_the_shares_asked_for(val_fraction, test_fraction):
    train, val, test = parts(val_fraction=val_fraction, test_fraction=test_fraction)
    count = len(train + val + test)
    assert abs(len(val) - val_fraction * count) <= 0.5
    assert abs(len(test) - test_fraction * count) <= 0.5


def test_split_is_the_same_for_the_same_seed_and_another_for_another():
    assert parts(seed=3) == parts(seed=3)
    assert set(parts(seed=3)[2]) != set(parts(seed=4)[2])


def test_test_words_do_not_depend_on_the_validation_share():
    assert parts(val_fraction=0.3)[2] == parts(val_fraction=0.0)[2]


def test_spec_says_which_token_is_padding():
    data = EnglishWordsDataModule(length=5)
    assert data.spec == DataSpec("text", (5,), levels=27, symbols=ALPHABET, padding=0)


def test_reading_strips_the_padding_at_the_end():
    spec = EnglishWordsDataModule().spec
    assert spec.decode([3, 1, 20, 0, 0]) == "cat"
    assert spec.decode([0, 3, 0, 1, 0]) == "_c_a"


def test_without_padding_nothing_is_stripped():
    assert DataSpec("text", (3,), levels=3, symbols="_ab").decode([1, 0, 0]) == "a__"


def test_length_without_words_is_refused():
    with pytest.raises(ValueError, match="no words have min_length=90 to length=99 letters"):
        EnglishWordsDataModule(length=99, min_length=90).setup()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_length": 0}, "min_length must lie in 1..12 .length., got 0"),
        ({"length": 2}, "min_length must lie in 1..2 .length., got 3"),
        ({"test_fraction": 0.0}, "test_fraction must lie between 0 and 0.9 .val_fraction is 0.1., got 0.0"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "test_fraction must lie between 0 and 0.5"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        EnglishWordsDataModule(**arguments)


@given(st.integers(3, 300), st.floats(0, 0.4), st.floats(0.01, 0.4), st.integers(0, 2**32 - 1))
def test_random_parts_are_a_partition(count, val_fraction, test_fraction, seed):
    sizes = [max(1, round(count * share)) if share else 0 for share in (val_fraction, test_fraction)]
    assume(sum(sizes) < count)
    train, val, test = random_parts(count, val_fraction, test_fraction, seed)
    assert sorted(torch.cat([train, val, test]).tolist()) == list(range(count))
    assert [len(val), len(test)] == sizes


def test_random_parts_of_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="of 2 examples leave none to train on"):
        random_parts(2, 0.4, 0.4, seed=0)
