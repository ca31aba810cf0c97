"""Splits are partitions that depend on the seed alone."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graves_core.data.splits import holdout, text_bounds

COUNTS = st.integers(2, 500)
SEEDS = st.integers(0, 2**32 - 1)


@given(COUNTS, st.floats(0, 0.9), SEEDS)
def test_holdout_is_a_partition(count, fraction, seed):
    assume(max(1, round(count * fraction)) < count)
    train, val = holdout(count, fraction, seed)
    assert sorted(train.tolist() + val.tolist()) == list(range(count))
    assert len(val) == (max(1, round(count * fraction)) if fraction > 0 else 0)
    assert train.tolist() == sorted(train.tolist())


@given(COUNTS, st.floats(0, 0.4), st.floats(0, 0.4), SEEDS)
def test_larger_holdout_contains_the_smaller(count, one, other, seed):
    small, large = (set(holdout(count, fraction, seed)[1].tolist()) for fraction in sorted((one, other)))
    assert small <= large


def test_holdout_depends_on_the_seed():
    assert holdout(100, 0.1, seed=0)[1].tolist() != holdout(100, 0.1, seed=1)[1].tolist()


def test_holdout_of_this_seed_stays_what_it_was():
    """A change here would mix validation examples into the training of a resumed run."""
    assert holdout(60_000, 0.01, seed=0)[1][:5].tolist() == [1, 111, 125, 398, 477]


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(ValueError, match=r"val_fraction=0.9 of 4 examples leaves none"):
        holdout(4, 0.9, seed=0)


@given(st.integers(3, 10**9), st.floats(0, 0.4), st.floats(0.01, 0.4))
def test_text_parts_follow_each_other(count, val_fraction, test_fraction):
    val, test = text_bounds(count, val_fraction, test_fraction)
    assert 0 < val <= test <= count
    assert abs(count - test - count * test_fraction) <= 0.5
    assert abs(test - val - count * val_fraction) <= 0.5


def test_text_of_nothing_but_held_out_parts_is_refused():
    with pytest.raises(ValueError, match="leave none to train on"):
        text_bounds(2, 0.49, 0.5)
