"""Every table of fixed features against a plain loop in NumPy float64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from graves_bfn.nets.embeddings import (
    fourier_features,
    sequence_positions,
    unet_time_features,
    vdm_time_features,
)

TIMES = torch.tensor([0.0, 1e-4, 0.3, 1.0])


def test_unet_time_is_cosines_then_sines_of_4000_t() -> None:
    expected = np.empty((4, 8))
    for row, t in enumerate(TIMES.double().tolist()):
        for j in range(4):
            angle = 4000 * t * 10_000 ** (-j / 4)
            expected[row, j], expected[row, 4 + j] = math.cos(angle), math.sin(angle)
    np.testing.assert_allclose(unet_time_features(TIMES, 8).numpy(), expected, atol=5e-4)
    np.testing.assert_allclose(unet_time_features(TIMES.double(), 8).numpy(), expected, atol=1e-4)


def test_vdm_time_is_sines_then_cosines_and_reaches_the_slowest_frequency() -> None:
    expected = np.empty((4, 8))
    for row, t in enumerate(TIMES.double().tolist()):
        for j in range(4):
            angle = 1000 * (t + 0.001) * 10 ** (-4 * j / 3)
            expected[row, j], expected[row, 4 + j] = math.sin(angle), math.cos(angle)
    np.testing.assert_allclose(vdm_time_features(TIMES, 8).numpy(), expected, atol=2e-4)


def test_positions_have_base_1000_and_odd_exponents_in_the_cosines() -> None:
    expected = np.empty((5, 6))
    for position in range(5):
        for column in range(6):
            wave = math.cos if column % 2 else math.sin
            expected[position, column] = wave(position / 1000 ** (column / 6))
    np.testing.assert_allclose(sequence_positions(5, 6).numpy(), expected, atol=1e-6)


def test_fourier_features_go_through_the_channels_before_the_exponents() -> None:
    x = torch.tensor([[0.1, -0.7], [0.25, 1.0]], dtype=torch.float64)
    expected = np.empty((2, 8))
    for row in range(2):
        for i, n in enumerate((5, 6)):
            for channel in range(2):
                angle = 2 * math.pi * 2**n * x[row, channel].item()
                expected[row, 2 * i + channel] = math.sin(angle)
                expected[row, 4 + 2 * i + channel] = math.cos(angle)
    np.testing.assert_allclose(fourier_features(x, (5, 6)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("features", [unet_time_features, vdm_time_features])
def test_half_precision_times_give_float32_features(features: Callable[[Tensor, int], Tensor]) -> None:
    half = TIMES.bfloat16()
    torch.testing.assert_close(features(half, 8), features(half.float(), 8), rtol=0, atol=0)
