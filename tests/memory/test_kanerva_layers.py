"""The trained parts of a Kanerva memory, and the networks and likelihoods of images."""

import math

import pytest
import torch
from torch import nn

from graves_core.spec import build
from graves_memory.kanerva.matrix_normal import kl_matrix_normal
from graves_memory.layers.images.heads import GaussianHead
from graves_memory.layers.images.likelihoods import BinaryPixels, LogisticPixels, PixelLikelihood
from graves_memory.layers.images.mlp import MLPImageDecoder, MLPImageEncoder
from graves_memory.layers.images.residual import ResidualImageDecoder, ResidualImageEncoder
from graves_memory.layers.kanerva import AddressNetwork, Covariance, KanervaMemory

COVARIANCES: tuple[Covariance, ...] = ("scalar", "diagonal", "full")


def scrambled(module: nn.Module) -> nn.Module:
    """All parameters random."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_prior_covariance_is_positive_whatever_its_parameters(covariance: Covariance) -> None:
    torch.manual_seed(0)
    memory = scrambled(KanervaMemory(6, 3, covariance))
    values = torch.linalg.eigvalsh(memory.prior.covariance)
    assert values.min() > 0
    expected = {"scalar": 1, "diagonal": 6, "full": 6 + 36}[covariance]
    trained = [p.numel() for name, p in memory.named_parameters() if name in ("log_variance", "mixing")]
    assert sum(trained) == expected


def test_a_scalar_covariance_is_a_multiple_of_one_and_a_diagonal_one_the_exponentials() -> None:
    memory = KanervaMemory(3, 2, "diagonal")
    memory.log_variance.data = torch.tensor([0.0, 1.0, -2.0])
    torch.testing.assert_close(memory.prior.covariance, memory.log_variance.exp().diag())
    memory = KanervaMemory(3, 2, "scalar")
    memory.log_variance.data = torch.tensor([2.0])
    torch.testing.assert_close(memory.prior.covariance, math.exp(2) * torch.eye(3))


def test_every_entry_of_a_full_covariance_can_be_learnt() -> None:
    torch.manual_seed(0)
    root = torch.randn(4, 6)
    wanted = root @ root.T / 6 + 0.2 * torch.eye(4)
    factor = torch.linalg.cholesky(wanted)
    memory = KanervaMemory(4, 2, "full")
    memory.log_variance.data = 2 * factor.diagonal().log()
    assert memory.mixing is not None
    memory.mixing.data = factor / factor.diagonal()[:, None]
    torch.testing.assert_close(memory.prior.covariance, wanted)


def test_noise_is_trained_or_fixed() -> None:
    trained, fixed = KanervaMemory(3, 2, noise=0.5), KanervaMemory(3, 2, noise=0.5, train_noise=False)
    assert trained.noise.item() == pytest.approx(0.5)
    assert fixed.noise.item() == pytest.approx(0.5)
    assert "log_noise" in dict(trained.named_parameters())
    assert "log_noise" not in dict(fixed.named_parameters())
    assert "log_noise" in fixed.state_dict()


def test_writing_tells_as_much_as_the_divergence_of_the_memories_says() -> None:
    torch.manual_seed(0)
    memory = scrambled(KanervaMemory(6, 3, "full")).double()
    addresses, codes = torch.randn(2, 4, 6).double(), torch.randn(2, 4, 3).double()
    expected = kl_matrix_normal(memory.write(addresses, codes), memory.prior)
    torch.testing.assert_close(memory.kl_write(addresses, codes), expected)


def test_an_episode_begins_with_the_prior_whatever_was_written_before() -> None:
    torch.manual_seed(0)
    memory = KanervaMemory(6, 3)
    addresses, codes = torch.randn(2, 4, 6), torch.randn(2, 4, 3)
    first = memory.write(addresses, codes)
    memory.write(torch.randn(2, 4, 6), torch.randn(2, 4, 3))
    assert torch.equal(memory.write(addresses, codes).mean, first.mean)
    more = memory.write(addresses, codes, first)
    assert not torch.equal(more.mean, first.mean)


def test_addresses_follow_the_equation() -> None:
    torch.manual_seed(0)
    network, y = AddressNetwork(rows=5, size=3, key_size=4, hidden_size=6), torch.randn(7, 3)
    key = torch.relu(y @ network.hidden.weight.T + network.hidden.bias) @ network.key.weight.T
    rows = network.locations / network.locations.norm(dim=1, keepdim=True)
    torch.testing.assert_close(network(y), (key + network.key.bias) @ rows.T)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 5, 9), (1, 1, 3)])
def test_images_whose_size_is_no_multiple_come_back_in_their_size(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    encoder = ResidualImageEncoder(shape, size=7, channels=(4, 5, 6))
    decoder = ResidualImageDecoder(shape, code_size=7, outputs_per_value=2, channels=(4, 5, 6))
    features = encoder(torch.rand(2, *shape))
    assert features.shape == (2, 7)
    outputs = decoder(features)
    assert outputs.shape == (2, 2, *shape)
    outputs.square().sum().backward()
    unused = [
        name for name, p in [*encoder.named_parameters(), *decoder.named_parameters()] if p.grad is None
    ]
    assert not unused


@pytest.mark.parametrize(
    "network",
    [
        MLPImageEncoder((1, 4, 4), 8, depth=2),
        MLPImageDecoder((1, 4, 4), 3, 2, size=8),
        ResidualImageEncoder((1, 5, 4), 8, channels=(2, 3)),
        ResidualImageDecoder((1, 5, 4), 3, channels=(2, 3)),
        KanervaMemory(4, 3, "full", noise=0.3),
        AddressNetwork(4, 3),
    ],
)
def test_parts_are_rebuilt_from_their_spec(network: nn.Module) -> None:
    again = build(network.spec)
    assert again.spec == network.spec
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KanervaMemory(0, 3), "rows must be at least 1, not 0"),
        (
            lambda: KanervaMemory(3, 3, "diag"),
            "covariance must be 'scalar', 'diagonal' or 'full', not 'diag'",
        ),
        (lambda: KanervaMemory(3, 3, noise=0.0), "noise must be above 0, not 0.0"),
        (lambda: KanervaMemory(3, 3, mean_scale=-1.0), "mean_scale must be at least 0, not -1.0"),
        (lambda: AddressNetwork(3, key_size=0), "key_size must be at least 1, not 0"),
        (lambda: MLPImageEncoder((8, 8)), r"image_shape must be \(channels, height, width\)"),
        (lambda: MLPImageDecoder((1, 8, 8), 0), "code_size must be at least 1, not 0"),
        (lambda: ResidualImageEncoder((1, 8, 8), channels=()), "channels must be at least 1, not 0"),
        (lambda: GaussianHead(3, 4, 0), "hidden_size must be at least 1, not 0"),
        (lambda: BinaryPixels(1), r"levels must lie in 2\.\.256, not 1"),
        (lambda: BinaryPixels(binarise="often"), "binarise must be 'threshold' or 'stochastic', not 'often'"),
    ],
)
def test_wrong_values_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_heads_keep_variances_finite_and_start_as_they_are() -> None:
    head = GaussianHead(2, 3)
    nn.init.constant_(head.layers[-1].weight, 1e6)
    variance = head(torch.ones(1, 2)).log_variance.exp()
    assert variance.isfinite().all()
    assert head(torch.zeros(1, 2)).log_variance.abs().max() < 1


def test_heads_give_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert GaussianHead(2, 3)(torch.randn(4, 2)).mean.dtype == torch.float32


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_probabilities_of_all_levels_sum_to_one(levels: int, scale: float) -> None:
    torch.manual_seed(0)
    pixels = LogisticPixels(levels)
    every = torch.arange(levels, dtype=torch.uint8).view(levels, 1, 1, 1)
    outputs = scale * torch.randn(8, 1, 2, 1, 1, 1, dtype=torch.float64)
    nats = pixels.nats(outputs.expand(-1, levels, -1, -1, -1, -1), pixels.prepare(every))
    torch.testing.assert_close((-nats).exp().sum(1), torch.ones(8, dtype=torch.float64))


def test_logistic_pixels_are_differences_of_logistic_functions() -> None:
    torch.manual_seed(0)
    pixels, levels = LogisticPixels(5), torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    outputs = torch.randn(5, 2, 1, 1, 1, dtype=torch.float64)
    mean = 0.5 + 0.25 * outputs[:, 0].flatten()
    scale = (6 * (outputs[:, 1].flatten() / 6).tanh() - 2).exp()
    edges = torch.tensor([-torch.inf, 0.125, 0.375, 0.625, 0.875, torch.inf], dtype=torch.float64)
    masses = ((edges[1:] - mean) / scale).sigmoid() - ((edges[:-1] - mean) / scale).sigmoid()
    torch.testing.assert_close(pixels.nats(outputs, pixels.prepare(levels)), -masses.log())


def test_logistic_pixels_keep_values_and_gradients_in_the_tails() -> None:
    outputs = torch.tensor([[30.0, -50.0], [-30.0, -50.0]]).view(2, 2, 1, 1, 1).requires_grad_()
    pixels = LogisticPixels(256)
    nats = pixels.nats(outputs, torch.tensor([0.2, 0.8]).view(2, 1, 1, 1))
    (slope,) = torch.autograd.grad(nats.sum(), outputs)
    assert nats.isfinite().all()
    assert (nats > 1000).all()
    assert slope.isfinite().all()
    assert (slope[:, 0].abs() > 100).all()


def test_binary_pixels_are_the_cross_entropy() -> None:
    torch.manual_seed(0)
    outputs, images = torch.randn(3, 1, 1, 4, 4), (torch.rand(3, 1, 4, 4) < 0.5).float()
    chance = outputs.sigmoid().squeeze(1)
    expected = -(images * chance.log() + (1 - images) * (1 - chance).log()).sum((1, 2, 3))
    torch.testing.assert_close(BinaryPixels().nats(outputs, images), expected)
    torch.testing.assert_close(BinaryPixels().mean(outputs), chance)


def test_stochastic_binarisation_has_intensities_as_probabilities() -> None:
    count, level = 4000, 5
    images = torch.full((count, 1, 1, 1), level, dtype=torch.uint8)
    pixels = BinaryPixels(17, "stochastic")
    drawn = pixels.prepare(images, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    share = level / 16
    assert abs(drawn.mean().item() - share) < 5 * math.sqrt(share * (1 - share) / count)
    assert torch.equal(drawn, pixels.prepare(images, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("pixels", [BinaryPixels(256), BinaryPixels(256, "stochastic"), LogisticPixels(256)])
def test_all_levels_stay_apart_in_half_precision_training(pixels: PixelLikelihood) -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        values = pixels.intensities(torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1))
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(values.unique()) == 256


def test_what_is_believed_of_a_pixel_follows_from_the_rule_of_bayes() -> None:
    expected = torch.tensor([0.1, 0.5, 0.8]).view(3, 1, 1, 1)
    for seen in (0.0, 1.0):
        for right in (0.3, 0.9):
            one, zero = (right, 1 - right) if seen else (1 - right, right)
            posterior = expected * one / (expected * one + (1 - expected) * zero)
            got = BinaryPixels().believed(expected, torch.full_like(expected, seen), right)
            torch.testing.assert_close(got, posterior)
