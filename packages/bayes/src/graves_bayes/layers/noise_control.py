"""Noise of all noisy layers of a network at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from graves_bayes.layers.noisy_linear import NoisyLinear


def noisy_layers(module: nn.Module) -> dict[str, NoisyLinear]:
    """The noisy layers of a network by name, each once, in the order in which they draw.

    Args:
        module: the network, or a noisy layer.

    Example:
        >>> list(noisy_layers(nn.Sequential(nn.Linear(2, 2), NoisyLinear(2, 2))))
        ['1']
    """
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, NoisyLinear)}


def resample_noise(
    module: nn.Module, generator: torch.Generator | None = None, count: int | None = None
) -> None:
    """Draws new noise in all noisy layers; a network without any is left as it is.

    Args:
        module: the network.
        generator: source of the draws; by default torch's global one.
        count: draw noise for each row of a batch of so many rows.

    Raises:
        ValueError: when count is less than 1.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), NoisyLinear(4, 2))
        >>> resample_noise(net, count=5)
        >>> net(torch.zeros(5, 3)).unique(dim=0).shape
        torch.Size([5, 2])
    """
    for layer in noisy_layers(module).values():
        layer.resample(generator, count)


def hold_noise(module: nn.Module) -> None:
    """Says to all noisy layers that their noise will be used many times, so that they keep their matrices.

    Args:
        module: the network.
    """
    for layer in noisy_layers(module).values():
        layer.hold()


def zero_noise(module: nn.Module) -> None:
    """Removes the noise of all noisy layers, until they are resampled.

    Args:
        module: the network.
    """
    for layer in noisy_layers(module).values():
        layer.zero()


@contextmanager
def noise_off(module: nn.Module) -> Iterator[None]:
    """Removes the noise for a while, then puts back what was there.

    What is drawn in the meantime is forgotten at the end.

    Args:
        module: the network.

    Example:
        >>> net = NoisyLinear(4, 2)
        >>> with noise_off(net):
        ...     still = net(torch.ones(4))
        >>> bool(torch.equal(still, nn.functional.linear(torch.ones(4), net.weight, net.bias)))
        True
    """
    before = [(layer, layer.noise, layer.holding) for layer in noisy_layers(module).values()]
    zero_noise(module)
    try:
        yield
    finally:
        for layer, noise, holding in before:
            layer.noise = noise
            if holding:
                layer.hold()
