"""The losses of both Kanerva machines once more, in numpy, for one episode after the other."""

import numpy as np
import torch
from torch import Tensor, nn

from graves_memory.module.dynamic import DynamicKanervaMachine
from graves_memory.module.kanerva import KanervaMachine

Array = np.ndarray


def linear(layer: nn.Linear, x: Array) -> Array:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def perceptron(layers: nn.Sequential, x: Array) -> Array:
    for layer in layers:
        x = linear(layer, x) if isinstance(layer, nn.Linear) else np.maximum(x, 0)
    return x


def head(layers: nn.Sequential, x: Array) -> tuple[Array, Array]:
    """Mean and variance."""
    mean, raw = np.split(perceptron(layers, x), 2, axis=-1)
    return mean, np.exp(12 * np.tanh(raw / 12))


def bernoulli(model: KanervaMachine | DynamicKanervaMachine, codes: Array, x: Array) -> Array:
    """-ln p(x | z) of each image."""
    hidden = perceptron(model.decoder.layers, codes)
    chance = 1 / (1 + np.exp(-linear(model.decoder.output, hidden)))
    return -(x * np.log(chance) + (1 - x) * np.log(1 - chance)).sum(-1)


def kl(mean: Array, variance: Array, prior_mean: Array | float, prior_variance: Array | float) -> Array:
    ratio = variance / prior_variance
    return 0.5 * (ratio + (mean - prior_mean) ** 2 / prior_variance - 1 - np.log(ratio)).sum(-1)


def black_and_white(images: Tensor) -> Array:
    return (images.flatten(1).numpy() > 8).astype(float)


def prior(model: KanervaMachine | DynamicKanervaMachine) -> tuple[Array, Array, float]:
    memory = model.memory.prior
    return (
        memory.mean.detach().numpy(),
        memory.covariance.detach().numpy(),
        model.memory.noise.item(),
    )


def weights(model: KanervaMachine, y: Array) -> Array:
    key = linear(model.addresses.key, np.maximum(linear(model.addresses.hidden, y), 0))
    rows = model.addresses.locations.detach().numpy()
    return key @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T


def kanerva_nats(model: KanervaMachine, images: Tensor, noise: list[Array]) -> dict[str, Array]:
    """The terms of each image of an episode, from given standard normal numbers."""
    x = black_and_white(images)
    features = perceptron(model.encoder.layers, 2 * x - 1)
    (y, y_variance), (z, z_variance) = (
        head(part.layers, features) for part in (model.address_head, model.write_head)
    )
    w = weights(model, y + np.sqrt(y_variance) * noise[0])
    written = z + np.sqrt(z_variance) * noise[1]
    mean, covariance, sigma2 = prior(model)
    for address, code in zip(w, written, strict=True):
        spread = covariance @ address
        gain = spread / (address @ spread + sigma2)
        mean = mean + np.outer(gain, code - address @ mean)
        covariance = covariance - np.outer(gain, spread)
    read = weights(model, y + np.sqrt(y_variance) * noise[2]) @ mean
    q, q_variance = head(model.read_head.layers, np.concatenate([features, read], -1))
    return {
        "reconstruction": bernoulli(model, q + np.sqrt(q_variance) * noise[3], x),
        "kl_z": kl(q, q_variance, read, sigma2),
        "kl_y": kl(y, y_variance, 0.0, 1.0),
    }


def dynamic_nats(
    model: DynamicKanervaMachine, images: Tensor, write_noise: list[Array], read_noise: Array
) -> dict[str, Array]:
    """The terms of an episode; `write_noise` has a row for each item and iteration."""
    x = black_and_white(images)
    codes = linear(model.code, perceptron(model.encoder.layers, 2 * x - 1))
    deviation = np.exp(model.log_variance.item() / 2)
    start, start_covariance, sigma2 = prior(model)

    def solve(mean: Array, code: Array) -> Array:
        return np.linalg.solve(mean @ mean.T + sigma2 * np.eye(len(mean)), mean @ code)

    mean, covariance, drawn = start, start_covariance, iter(write_noise)
    for code in codes:
        old, old_covariance = mean, covariance
        for _ in range(model.write_iterations):
            address = solve(mean, code) + deviation * next(drawn)
            precision = np.linalg.inv(old_covariance) + np.outer(address, address) / sigma2
            covariance = np.linalg.inv(precision)
            mean = covariance @ (np.linalg.solve(old_covariance, old) + np.outer(address, code) / sigma2)
    best = np.stack([solve(mean, code) for code in codes])
    inverse = np.linalg.inv(start_covariance)
    volume = np.linalg.slogdet(start_covariance)[1] - np.linalg.slogdet(covariance)[1]
    spread = np.trace(inverse @ covariance) - len(mean) + volume
    shift = np.trace((mean - start).T @ inverse @ (mean - start))
    return {
        "reconstruction": bernoulli(model, (best + deviation * read_noise) @ mean, x),
        "autoencoder": bernoulli(model, codes, x),
        "kl_y": kl(best, np.full_like(best, deviation**2), 0.0, 1.0),
        "kl_memory": 0.5 * (codes.shape[1] * spread + shift),
    }


def normal(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    """What a generator with this seed draws for tensors of these shapes, in turn."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).numpy() for shape in shapes]
