"""Frequencies of n-grams, against counting one by one."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graves_bfn.ngrams import known_ngrams, ngram_distance


def counted(x: Tensor, order: int, valid: Tensor | None = None) -> Counter[tuple[int, ...]]:
    """The n-grams of sequences, counted one by one."""
    counter: Counter[tuple[int, ...]] = Counter()
    for row, mask in zip(x.tolist(), (x == x if valid is None else valid).tolist(), strict=True):
        for i in range(len(row) - order + 1):
            if all(mask[i : i + order]):
                counter[tuple(row[i : i + order])] += 1
    return counter


def counted_distance(a: Counter[tuple[int, ...]], b: Counter[tuple[int, ...]]) -> float:
    return sum(abs(a[key] / a.total() - b[key] / b.total()) for key in a.keys() | b.keys()) / 2


@given(
    seed=st.integers(0, 1_000),
    order=st.integers(1, 5),
    symbols=st.integers(1, 5),
    lengths=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    masked=st.booleans(),
)
def test_ngram_measures_equal_counting_by_hand(
    seed: int, order: int, symbols: int, lengths: tuple[int, int], masked: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(symbols, (n, m), generator=generator) for n, m in zip((3, 4), lengths, strict=True))
    valid = [torch.rand(x.shape, generator=generator) < 0.9 if masked else None for x in (a, b)]
    for x, mask in zip((a, b), valid, strict=True):
        if mask is not None:
            mask[0, : x.shape[1]] = True
    count_a, count_b = counted(a, order, valid[0]), counted(b, order, valid[1])
    masks = {"valid_samples": valid[0], "valid_real": valid[1]}
    distance = ngram_distance(a, b, order, symbols, **masks)
    assert float(distance) == pytest.approx(counted_distance(count_a, count_b), abs=1e-12)
    known = sum(count for key, count in count_a.items() if key in count_b) / count_a.total()
    assert float(known_ngrams(a, b, order, **masks)) == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize(("symbols", "order"), [(2**16, 6), (2, 70)])
def test_ngrams_beyond_the_range_of_integers_are_told_apart(symbols: int, order: int) -> None:
    base = torch.randint(symbols, (6, order + 2), generator=torch.Generator().manual_seed(0))
    other = base.repeat(2, 1)
    other[::3, 0] = (other[::3, 0] + 1) % symbols
    expected = counted_distance(counted(base, order), counted(other, order))
    assert 0 < expected < 1
    assert float(ngram_distance(base, other, order, symbols)) == pytest.approx(expected, abs=1e-12)


TOKENS = torch.zeros(2, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ngram_distance(TOKENS, TOKENS + 9, 2, 9), r"symbols in 0\.\.8, got 9\.\.9"),
        (
            lambda: known_ngrams(TOKENS, TOKENS - 1, 2),
            r"real must hold symbols in 0\.\.0, got -1",
        ),
        (
            lambda: known_ngrams(TOKENS, TOKENS, 2, valid_real=TOKENS > 0),
            "real has no n-gram of order 2 that counts",
        ),
    ],
)
def test_wrong_arguments_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
