"""Code lengths against counting messages."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from graves_bayes.variational.code_length import (
    adaptive_frequency_code,
    bits_to_nats,
    class_counts,
    compression_ratio,
    frequency_code,
    mask_code,
    nats_to_bits,
    uniform_code,
)


def test_a_bit_is_the_nats_of_a_fair_coin() -> None:
    assert float(bits_to_nats(torch.tensor(1.0))) == pytest.approx(math.log(2))
    assert float(nats_to_bits(torch.tensor(math.log(8)))) == pytest.approx(3)


def test_the_uniform_code_of_phonemes_is_log2_of_39_bits() -> None:
    assert float(nats_to_bits(uniform_code(1, 39))) == pytest.approx(5.285, abs=5e-4)
    assert float(uniform_code(torch.tensor(7.0), 10)) == pytest.approx(7 * math.log(10))


@pytest.mark.parametrize(("symbols", "classes", "named"), [(3, 0, "classes"), (-1, 2, "symbols")])
def test_impossible_codes_are_refused(symbols: int, classes: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        uniform_code(symbols, classes)


def test_the_frequency_code_is_the_sum_of_the_log_frequencies() -> None:
    targets = np.random.default_rng(0).choice(5, 200, p=[0.5, 0.3, 0.1, 0.1, 0.0])
    counts = class_counts(torch.from_numpy(targets), 5)
    frequencies = np.bincount(targets, minlength=5) / len(targets)
    assert counts.tolist() == np.bincount(targets, minlength=5).tolist()
    assert float(frequency_code(counts)) == pytest.approx(-np.log(frequencies[targets]).sum(), rel=1e-5)


def test_padding_is_not_counted() -> None:
    assert class_counts(torch.tensor([[0, 2, -1], [2, -1, -1]]), 3).tolist() == [1, 0, 2]


def test_the_adaptive_code_is_the_product_of_counted_probabilities() -> None:
    targets = [0, 2, 2, 1, 2, 0, 2]
    seen, nats = np.ones(4), 0.0
    for target in targets:
        nats -= math.log(seen[target] / seen.sum())
        seen[target] += 1
    counts = class_counts(torch.tensor(targets), 4)
    assert float(adaptive_frequency_code(counts)) == pytest.approx(nats, rel=1e-6)


def test_the_adaptive_code_wastes_nothing() -> None:
    """The probabilities of all messages of three symbols add up to one."""
    total = sum(
        math.exp(-float(adaptive_frequency_code(class_counts(torch.tensor(message), 3))))
        for message in product(range(3), repeat=3)
    )
    assert total == pytest.approx(1, rel=1e-5)


def test_the_ratio_counts_weights_and_targets() -> None:
    assert float(compression_ratio(*map(torch.tensor, (1.0, 2.0, 6.0)))) == 0.5


@pytest.mark.parametrize("kept", [0, 1, 7, 20])
def test_a_mask_costs_the_logarithm_of_the_number_of_masks(kept: int) -> None:
    assert float(mask_code(torch.arange(20) < kept)) == pytest.approx(
        math.log(math.comb(20, kept)), rel=1e-6, abs=1e-6
    )
