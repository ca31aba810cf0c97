"""The losses of the models of images beside statements of them by hand, and what they read and generate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from kanerva_by_hand import dynamic_nats, kanerva_nats, normal
from kanerva_models import MODELS, SHAPE, dynamic, episodes, kanerva, parts, vae
from torch import Tensor

from graves_memory.kanerva.matrix_normal import MatrixNormal, kl_matrix_normal
from graves_memory.kanerva.update import predict
from graves_memory.layers.images.likelihoods import BinaryPixels, LogisticPixels
from graves_memory.layers.images.mlp import MLPImageDecoder, MLPImageEncoder
from graves_memory.layers.kanerva import AddressNetwork, KanervaMemory
from graves_memory.module.dynamic import DynamicKanervaMachine
from graves_memory.module.kanerva import KanervaMachine

MACHINES = {"kanerva": kanerva, "dynamic": dynamic}


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_the_objective_of_the_paper_computed_by_hand() -> None:
    torch.manual_seed(0)
    model, images = kanerva().double(), episodes(2, 3)
    losses = model.losses(images, seeded())
    noise = normal(5, *[(2, 3, size) for size in (4, 5, 4, 5)])
    for episode in range(2):
        expected = kanerva_nats(model, images[episode], [part[episode] for part in noise])
        for name, value in expected.items():
            got = getattr(losses, name)[episode].detach().numpy()
            np.testing.assert_allclose(got, value, rtol=1e-10, atol=1e-10, err_msg=name)
        nelbo = losses.nelbo[episode].detach().numpy()
        np.testing.assert_allclose(nelbo, sum(expected.values()), rtol=1e-10)
    assert model.objective(losses).item() == pytest.approx(losses.nelbo.mean().item())


def test_the_loss_of_a_kanerva_machine_has_no_term_of_the_memory() -> None:
    torch.manual_seed(0)
    model, images = kanerva().eval(), episodes()
    losses = model.losses(images, seeded())
    assert (losses.kl_memory > 0).all()
    again = losses._replace(kl_memory=losses.kl_memory + 100)
    assert torch.equal(model.objective(again), model.objective(losses))


def test_what_is_logged_of_the_memory_is_its_divergence_from_the_prior() -> None:
    torch.manual_seed(0)
    model, images = kanerva().double().eval(), episodes(2, 3)
    losses = model.losses(images, seeded())
    written = model.write(images, seeded())
    torch.testing.assert_close(losses.kl_memory, kl_matrix_normal(written, model.memory.prior))
    logged = model.logged(losses)
    expected = losses.nelbo.mean() + losses.kl_memory.mean() / 3
    torch.testing.assert_close(logged["episode_nelbo"], expected)


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_loss_of_the_dynamic_machine_is_that_by_hand(iterations: int) -> None:
    torch.manual_seed(0)
    model, images = dynamic(write_iterations=iterations).double(), episodes(2, 3)
    losses = model.losses(images, seeded())
    *write, read = normal(5, *[(2, 1, 6)] * (3 * iterations), (2, 3, 6))
    total = 0.0
    for episode in range(2):
        expected = dynamic_nats(model, images[episode], [part[episode, 0] for part in write], read[episode])
        for name, value in expected.items():
            got = getattr(losses, name)[episode].detach().numpy()
            np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-9, err_msg=name)
        total += sum(np.sum(value) for value in expected.values())
    assert model.objective(losses).item() == pytest.approx(total / 6, rel=1e-10)


def test_the_loss_of_the_autoencoder_is_the_usual_bound() -> None:
    torch.manual_seed(0)
    model, images = vae().double(), episodes(2, 3)
    losses = model.losses(images, seeded())
    x = model.prepare(images)
    q = model.encode(x)
    codes = q.mean + (q.log_variance / 2).exp() * torch.from_numpy(normal(5, (2, 3, 5))[0])
    outputs = model.decoder(codes.flatten(0, 1)).view(2, 3, 1, *SHAPE)
    torch.testing.assert_close(losses.reconstruction, model.likelihood.nats(outputs, x))
    expected = 0.5 * (q.log_variance.exp() + q.mean.square() - 1 - q.log_variance).sum(-1)
    torch.testing.assert_close(losses.nelbo, losses.reconstruction + expected)


def test_reading_the_distribution_adds_the_spread_of_the_memory_to_the_prior_of_codes() -> None:
    torch.manual_seed(0)
    images, results = episodes(2, 3), {}
    for read in ("mean", "distribution"):
        torch.manual_seed(1)
        model = kanerva(read=read).double()
        results[read] = model.losses(images, seeded())
    noise = normal(5, *[(2, 3, size) for size in (4, 5, 4, 5)])
    y = model.encode(model.prepare(images))[0]
    weights = model.addresses(y.mean + (y.log_variance / 2).exp() * torch.from_numpy(noise[2]))
    memory = model.write(images, seeded())
    mean, variance = predict(memory, weights, model.memory.noise)
    q = model.read_head(torch.cat([model._features(model.prepare(images)), mean], -1))
    ratio = q.log_variance.exp() / variance
    kl = 0.5 * (ratio - 1 - ratio.log() + (q.mean - mean).square() / variance).sum(-1)
    torch.testing.assert_close(results["distribution"].kl_z, kl)
    torch.testing.assert_close(results["mean"].reconstruction, results["distribution"].reconstruction)
    assert not torch.allclose(results["mean"].kl_z, kl)


def test_reading_a_sample_draws_one_memory_for_an_episode() -> None:
    torch.manual_seed(1)
    model, images = kanerva(read="sample").double(), episodes(2, 3)
    losses = model.losses(images, seeded())
    shapes = [(2, 3, 4), (2, 3, 5), (2, 3, 4), (2, 6, 5)]
    _, _, y_noise, memory_noise = (torch.from_numpy(part) for part in normal(5, *shapes))
    memory = model.write(images, seeded())
    # the address is drawn before the memory
    drawn = memory.mean + torch.linalg.cholesky(memory.covariance) @ memory_noise
    y = model.encode(model.prepare(images))[0]
    mean = model.addresses(y.mean + (y.log_variance / 2).exp() * y_noise) @ drawn
    q = model.read_head(torch.cat([model._features(model.prepare(images)), mean], -1))
    ratio = q.log_variance.exp() / model.memory.noise
    kl = 0.5 * (ratio - 1 - ratio.log() + (q.mean - mean).square() / model.memory.noise).sum(-1)
    torch.testing.assert_close(losses.kl_z, kl)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_images_in_an_episode_or_of_episodes_does_not_reach_others(name: str) -> None:
    """Episodes are separate: what another episode holds changes nothing."""
    torch.manual_seed(0)
    model, images = MODELS[name]().eval(), episodes(2, 3)
    other = torch.cat([images[:1], episodes(1, 3, seed=9)])
    first, second = (model.losses(given, seeded()).nelbo for given in (images, other))
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


@pytest.mark.parametrize("name", MACHINES)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = MACHINES[name]()
    model.objective(model.losses(episodes())).backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("name", MACHINES)
def test_each_reading_is_the_query_of_the_next(name: str) -> None:
    torch.manual_seed(0)
    model, images = MACHINES[name](), episodes(2, 3)
    memory = model.write(images, seeded())
    queries = episodes(2, 4, seed=3)
    results = model.read(memory, queries, iterations=3)
    assert [tuple(result.shape) for result in results] == [(2, 4, *SHAPE)] * 3
    assert all(((result >= 0) & (result <= 1)).all() for result in results)
    model.likelihood.prepare = lambda images, generator=None: images.float() / 255  # type: ignore[method-assign]
    scaled = (results[0] * 255).round().to(torch.uint8)
    again = model.read(memory, scaled, iterations=1)[0]
    torch.testing.assert_close(again, results[1], rtol=0, atol=0.01)


@pytest.mark.parametrize("name", MACHINES)
def test_writing_and_generating_follow_the_generator_alone(name: str) -> None:
    torch.manual_seed(0)
    model, images = MACHINES[name](), episodes(2, 3)
    memories, drawn = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        memories.append(model.write(images, seeded()))
        drawn.append(model.generate(memories[-1], count=5, iterations=2, generator=seeded()))
    assert torch.equal(memories[0].mean, memories[1].mean)
    for first, second in zip(*drawn, strict=True):
        assert torch.equal(first, second)
        assert first.shape == (2, 5, *SHAPE)
    assert len(drawn[0]) == 2


def test_solving_anew_lowers_the_energy_of_the_address() -> None:
    """For given codes, no other address of the read memory explains them better."""
    torch.manual_seed(0)
    model, images = dynamic().double(), episodes(2, 3)
    memory, codes = model.write(images, seeded()), model.encode(model.prepare(images))

    def energy(weights: Tensor) -> Tensor:
        error = (codes - weights @ memory.mean).square().sum(-1)
        return error / model.memory.noise + weights.square().sum(-1)

    best = model.address(memory, codes).mean
    for _ in range(5):
        assert (energy(best + 0.1 * torch.randn_like(best)) > energy(best)).all()


def test_bits_per_dim_are_those_of_the_pixels_and_only_given_for_them() -> None:
    torch.manual_seed(0)
    model = kanerva(LogisticPixels(17)).eval()
    losses = model.losses(episodes(), seeded())
    expected = losses.nelbo.mean() / (64 * math.log(2))
    torch.testing.assert_close(model.logged(losses)["bits_per_dim"], expected)
    assert "bits_per_dim" not in kanerva().logged(losses)


@pytest.mark.parametrize("name", MODELS)
def test_losses_stay_close_to_float32_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    model, images = MODELS[name]().eval(), episodes(2, 3)
    expected = model.losses(images, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = model.losses(images, seeded())
    assert got.nelbo.dtype == torch.float32
    torch.testing.assert_close(got.nelbo, expected.nelbo, rtol=0.03, atol=0.3)


def test_reconstructions_of_the_autoencoder_are_fed_back() -> None:
    torch.manual_seed(0)
    model, images = vae(), episodes()
    first, second = model.reconstruct(images, iterations=2)
    torch.testing.assert_close(first, model.decode(model.encode(model.prepare(images)).mean))
    torch.testing.assert_close(second, model.decode(model.encode(first).mean))


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "shapes": (
        lambda: KanervaMachine(
            MLPImageEncoder((1, 8, 8)), MLPImageDecoder((1, 9, 8), 5), BinaryPixels(), *memories()
        ),
        r"decoder has image_shape=\(1, 9, 8\), but the encoder has \(1, 8, 8\)",
    ),
    "outputs": (
        lambda: KanervaMachine(
            MLPImageEncoder(SHAPE), MLPImageDecoder(SHAPE, 5, 1), LogisticPixels(), *memories()
        ),
        "decoder has outputs_per_value=1, but LogisticPixels needs 2",
    ),
    "codes": (
        lambda: KanervaMachine(*parts(code_size=4), *memories()),
        "decoder has code_size=4, but the memory has 5",
    ),
    "rows": (
        lambda: KanervaMachine(*parts(), KanervaMemory(7, 5), AddressNetwork(6)),
        "addresses has rows=6, but the memory has 7",
    ),
    "read": (lambda: kanerva(read="all"), "read must be 'mean', 'sample' or 'distribution', not 'all'"),
    "iterations": (lambda: dynamic(write_iterations=0), "write_iterations must be at least 1, not 0"),
    "deviation": (
        lambda: DynamicKanervaMachine(*parts(), KanervaMemory(6, 5), deviation=0.0),
        "deviation must be above 0, not 0.0",
    ),
}


def memories() -> tuple[KanervaMemory, AddressNetwork]:
    return KanervaMemory(6, 5), AddressNetwork(6, 4)


@pytest.mark.parametrize("name", WRONG)
def test_parts_that_do_not_fit_are_refused(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_memory_can_be_written_in_parts() -> None:
    """What `write` gives is the distribution itself, so that a user can go on from it."""
    torch.manual_seed(0)
    model, images = kanerva(), episodes(1, 4)
    memory = model.write(images[:, :2], seeded())
    address, code = model.encode(model.prepare(images[:, 2:]))
    more = model.memory.write(model.addresses(address.mean), code.mean, memory)
    assert isinstance(more, MatrixNormal)
    before, after = (part.covariance.diagonal(dim1=1, dim2=2).sum() for part in (memory, more))
    assert after < before


@pytest.mark.parametrize("name", MACHINES)
def test_a_reliable_pixel_is_kept_and_one_that_says_nothing_is_read(name: str) -> None:
    torch.manual_seed(0)
    model, images = MACHINES[name](), episodes(2, 3)
    memory = model.write(images, seeded())
    known = torch.rand(SHAPE) < 0.5
    plain = model.read(memory, images, iterations=1)[0]
    told = model.read(memory, images, iterations=1, reliability=torch.where(known, 1.0, 0.5))[0]
    torch.testing.assert_close(told[..., ~known[0]], plain[..., ~known[0]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told[..., known[0]], model.prepare(images)[..., known[0]], rtol=0, atol=1e-3)
    second = model.read(memory, images, iterations=2, reliability=0.5)[1]
    torch.testing.assert_close(second, model.read(memory, images, iterations=2)[1], rtol=1e-3, atol=1e-4)


def test_colours_cannot_be_told_how_reliable_they_are() -> None:
    model, images = kanerva(LogisticPixels(17)), episodes()
    with pytest.raises(ValueError, match="reliability must be None for LogisticPixels"):
        model.read(model.write(images), images, reliability=0.9)
