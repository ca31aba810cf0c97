"""Distances between samples and real data, against closed forms, brute force and their own bias."""

import math

import numpy as np
import pytest
import torch
from exact_posteriors import MarkovChain
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graves_bfn.frechet import frechet_distance, principal_axes
from graves_bfn.ngrams import known_ngrams
from graves_bfn.quality import FrechetQuality, NGramQuality, SampleQuality
from graves_core.spec import build


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vectors_with(mean: Tensor, root: Tensor, seed: int) -> Tensor:
    """Vectors whose own mean and covariance, not those of their population, are `mean` and `root root'`."""
    x = normal(5 * root.shape[1] + 3, root.shape[1], seed=seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False)
    return mean + (root @ white).T


def rotation(dim: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=seed))[0]


scales = st.lists(st.floats(0, 5), min_size=4, max_size=4).map(lambda x: torch.tensor(x, dtype=torch.float64))


@given(a=scales, b=scales, shift=scales, seed=st.integers(0, 9))
def test_frechet_distance_of_commuting_covariances_has_a_closed_form(
    a: Tensor, b: Tensor, shift: Tensor, seed: int
) -> None:
    axes = rotation(4, seed)
    first = vectors_with(torch.zeros(4, dtype=torch.float64), axes @ a.diag(), seed)
    second = vectors_with(shift, axes @ b.diag(), seed + 10)
    expected = shift.square().sum() + (a - b).square().sum()
    torch.testing.assert_close(frechet_distance(first, second), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_frechet_distance_equals_the_formula_with_matrix_roots(seed: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a = (normal(30, 6, seed=seed) @ normal(6, 6, seed=seed + 50)).numpy()
    b = (normal(40, 6, seed=seed + 100) @ normal(6, 6, seed=seed + 150) + 1).numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)
    distance = frechet_distance(torch.from_numpy(a), torch.from_numpy(b))
    assert float(distance) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [3, 6, 40])
def test_frechet_distance_in_a_subspace_is_that_of_the_coordinates_there(count: int) -> None:
    frame = rotation(20)[:, :5]
    a, b = normal(count, 5), 2 * normal(count, 5, seed=1) + 1
    expected = frechet_distance(a, b)
    torch.testing.assert_close(frechet_distance(a @ frame.T, b @ frame.T), expected, rtol=1e-12, atol=0)
    assert float(frechet_distance(a @ frame.T, a @ frame.T)) < 1e-13 * float(expected)


def test_frechet_distance_of_sets_in_orthogonal_subspaces_is_the_sum_of_their_variances() -> None:
    frame = rotation(20)
    a, b = normal(40, 5) @ frame[:, :5].T, 2 * normal(40, 5, seed=1) @ frame[:, 5:10].T
    expected = a.var(0).sum() + b.var(0).sum() + (a.mean(0) - b.mean(0)).square().sum()
    torch.testing.assert_close(frechet_distance(a, b), expected, rtol=1e-12, atol=0)


def test_frechet_distance_is_symmetric_and_does_not_see_rotations_and_shifts() -> None:
    a, b = normal(30, 6) * torch.arange(1, 7), normal(50, 6, seed=1) + 0.5
    distance = frechet_distance(a, b)
    moved = frechet_distance(a @ rotation(6) + 3, b @ rotation(6) + 3)
    torch.testing.assert_close(moved, distance, rtol=1e-10, atol=0)
    torch.testing.assert_close(frechet_distance(b, a), distance, rtol=1e-10, atol=0)
    torch.testing.assert_close(frechet_distance(3 * a, 3 * b), 9 * distance, rtol=1e-10, atol=0)


def test_frechet_distance_of_single_precision_far_from_zero_keeps_its_digits() -> None:
    a, b = (normal(200, 4) + 1e4).float(), (2 * normal(200, 4, seed=1) + 1e4).float()
    expected = frechet_distance(a.double() - 1e4, b.double() - 1e4)
    torch.testing.assert_close(frechet_distance(a, b), expected, rtol=1e-7, atol=0)


def test_frechet_floor_has_the_documented_size() -> None:
    dim, n, m, repeats = 8, 400, 600, 40
    distances = torch.stack(
        [frechet_distance(normal(n, dim, seed=s), normal(m, dim, seed=s + 1_000)) for s in range(repeats)]
    )
    expected = dim * (dim + 5) / 4 * (1 / n + 1 / m)
    error = float(distances.std()) / math.sqrt(repeats)
    # the next term of the expansion is smaller by about dim / n
    assert float(distances.mean()) == pytest.approx(expected, abs=4 * error + 2 * expected * dim / n)


def test_principal_axes_are_the_singular_vectors_of_centred_data() -> None:
    x = normal(50, 6) @ normal(6, 6, seed=1) + 2
    axes = principal_axes(x, 4)
    _, _, expected = np.linalg.svd((x - x.mean(0)).numpy(), full_matrices=False)
    overlaps = axes.directions @ torch.from_numpy(expected[:4].T)
    torch.testing.assert_close(overlaps.abs(), torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(axes.mean, x.mean(0))


def test_features_are_coordinates_and_the_distance_from_their_space() -> None:
    x = normal(50, 6)
    axes = principal_axes(x, 4)
    inside = axes.mean + normal(10, 4, seed=1) @ axes.directions
    normals = principal_axes(x, 6).directions[4:]
    features = axes.features(inside + 3 * normals[0] + 4 * normals[1])
    torch.testing.assert_close(features[:, :4], axes.project(inside))
    torch.testing.assert_close(features[:, 4], torch.full((10,), 5, dtype=torch.float64))


def pictures(count: int, seed: int) -> Tensor:
    """Binary images of two kinds: upright and lying bars, with a few wrong pixels."""
    generator = torch.Generator().manual_seed(seed)
    bars = torch.zeros(count, 6, 6, 1, dtype=torch.long)
    places = torch.randint(6, (count,), generator=generator)
    bars[torch.arange(count), places] = 1
    bars = torch.where((torch.arange(count) % 2 == 0)[:, None, None, None], bars, bars.transpose(1, 2))
    return bars ^ (torch.rand(bars.shape, generator=generator) < 0.02).long()


@pytest.mark.parametrize("components", [4, 10, None])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: torch.cat([x[::2], x[::2]]),  # one kind is lost
        lambda x: x[:4].repeat(len(x) // 4, 1, 1, 1),  # a few examples are repeated
        lambda x: x.double().mean(0).expand(len(x), -1, -1, -1),  # all are the mean
        lambda x: x ^ (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.1).long(),  # noise
        lambda x: 1 - x,
    ],
    ids=["lost kind", "repeats", "blur", "noise", "negative"],
)
def test_frechet_quality_sees_spoilt_images(components: int | None, spoil: object) -> None:
    quality, real = FrechetQuality(components), pictures(1_000, seed=0)
    floor = quality.floor(real, 500)
    assert quality.compare(pictures(500, seed=1), real[500:]) < 1.5 * floor
    assert quality.compare(spoil(pictures(500, seed=1)), real[500:]) > 3 * floor


def test_frechet_quality_sees_noise_that_is_no_part_of_the_axes() -> None:
    real = torch.cat([normal(400, 2), torch.zeros(400, 6)], 1)
    noisy = torch.cat([real[:, :2], normal(400, 6, seed=1)], 1)
    length = noisy[:, 2:].norm(dim=1)
    expected = length.mean() ** 2 + length.var()
    assert FrechetQuality(2).compare(noisy, real) == pytest.approx(float(expected), rel=0.01)


def test_all_components_are_the_distance_of_the_whole_vectors() -> None:
    samples, real = normal(40, 2, 3), normal(60, 2, 3, seed=1)
    expected = float(frechet_distance(samples.flatten(1), real.flatten(1)))
    for components in (None, 6, 32):
        assert FrechetQuality(components).compare(samples, real) == pytest.approx(expected)


def test_a_sampler_that_repeats_one_line_is_precise_and_has_no_coverage() -> None:
    chain = MarkovChain(6, 24)
    real, samples = chain.draw(500), chain.draw(500)
    repeated = samples[:1].expand(500, -1)
    assert float(known_ngrams(repeated, real, 3)) == 1
    assert float(known_ngrams(real, repeated, 3)) < 0.5 < 0.95 < float(known_ngrams(real, samples, 3))


def test_a_sharpened_sampler_is_likelier_than_the_data_and_farther_from_them() -> None:
    chain = MarkovChain(6, 24)
    sharp = MarkovChain(6, 24)
    powered = chain.transition**2
    sharp.transition = powered / powered.sum(-1, keepdim=True)
    real, samples = chain.draw(2_000), sharp.draw(1_000)
    likelihood = lambda x: float(chain.transition.log()[x[:, :-1], x[:, 1:]].mean())
    assert likelihood(samples) > likelihood(real) + 0.1
    quality = NGramQuality(order=2)
    assert quality.compare(samples, real[1_000:]) > 5 * quality.floor(real)


def test_ngram_floor_has_the_documented_size() -> None:
    generator = torch.Generator().manual_seed(0)
    p, n, m, repeats = torch.arange(1.0, 11) / 55, 4_000, 6_000, 50
    quality = NGramQuality(order=1)
    draws = torch.multinomial(p, repeats * (n + m), replacement=True, generator=generator)
    floors = torch.tensor([quality.floor(x[:, None], n) for x in draws.view(repeats, n + m)])
    expected = float((p * (1 - p) * (1 / n + 1 / m) / (2 * math.pi)).sqrt().sum())
    error = float(floors.std()) / math.sqrt(repeats)
    assert float(floors.mean()) == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("kind", ["vectors", "tokens"])
def test_floors_shrink_with_the_number_of_examples(kind: str) -> None:
    quality = FrechetQuality(4) if kind == "vectors" else NGramQuality(2)
    real = normal(12_800, 8) if kind == "vectors" else MarkovChain(6, 24).draw(12_800)
    floors = [quality.floor(real[:count]) for count in (200, 1_600, 12_800)]
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0


@pytest.mark.parametrize("quality", [FrechetQuality(3), NGramQuality(2)])
def test_floor_compares_disjoint_examples(quality: SampleQuality) -> None:
    real = torch.randint(4, (90, 6), generator=torch.Generator().manual_seed(0))
    assert quality.floor(real, 30) == quality.compare(real[:30], real[30:]) > 0
    assert quality.floor(real) == quality.floor(real, 45)


@pytest.mark.parametrize("quality", [FrechetQuality(3), FrechetQuality(None), NGramQuality(2)])
def test_the_same_examples_in_another_order_are_at_distance_0(quality: SampleQuality) -> None:
    real = torch.randint(4, (90, 6), generator=torch.Generator().manual_seed(0))
    assert quality.compare(real.flip(0), real) == pytest.approx(0, abs=1e-12)


def test_disjoint_texts_are_at_distance_1() -> None:
    zeros = torch.zeros(3, 8, dtype=torch.uint8)
    assert NGramQuality(3).compare(zeros, zeros + 200) == 1


def test_measures_are_rebuilt_from_their_specs() -> None:
    assert build(FrechetQuality(5).spec).components == 5
    assert build(NGramQuality(4).spec).name == "4gram_distance"


TOKENS = torch.zeros(2, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: FrechetQuality(0), "components must be at least 1 or None, not 0"),
        (ValueError, lambda: NGramQuality(0), "order must be at least 1, not 0"),
        (
            ValueError,
            lambda: NGramQuality().floor(TOKENS, 2),
            r"count must lie in 1\.\.1 for 2 examples, not 2",
        ),
        (
            ValueError,
            lambda: FrechetQuality().compare(normal(4, 3), normal(4, 2)),
            r"samples are \(3,\) each",
        ),
        (ValueError, lambda: FrechetQuality().floor(normal(4, 3), 1), "samples must hold at least 2 vectors"),
        (ValueError, lambda: frechet_distance(normal(4, 3), normal(1, 3)), "real must hold at least 2"),
        (
            ValueError,
            lambda: FrechetQuality(2).compare(normal(4, 3) * math.nan, normal(4, 3)),
            "samples holds numbers that are not finite",
        ),
        (ValueError, lambda: principal_axes(normal(9, 3), 4), r"components must lie in 1\.\.3, not 4"),
        (ValueError, lambda: NGramQuality(5).compare(TOKENS, TOKENS), "samples has sequences of 4 symbols"),
        (TypeError, lambda: NGramQuality().compare(TOKENS, TOKENS.float()), "real must hold integers"),
    ],
)
def test_wrong_arguments_are_named(error: type[Exception], call: object, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
