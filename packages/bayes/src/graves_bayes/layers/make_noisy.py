"""Noise for the linear layers of a network that exists already."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn

from graves_bayes.layers.noisy_linear import NoisyLinear
from graves_bayes.noise.draws import NoiseKind

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def make_noisy(
    module: nn.Module,
    pattern: str | Sequence[str] = "*",
    kind: NoiseKind = "factorised",
    sigma0: float = 0.5,
) -> dict[str, NoisyLinear]:
    """Replaces linear layers of a network by noisy ones, which keep weights and biases as their means.

    The very parameters are kept, so what they are tied to stays tied; layers whose weights are tied share
    sigmas too, and a layer that has several names is replaced once. Sigmas learn where the means do. Layers
    of subclasses of `nn.Linear`, with parametrisations, or inside of `nn.MultiheadAttention` are left alone,
    because whoever made them does something else with the weights.

    Call it before the optimizer is made, or the optimizer will not know the sigmas.

    Args:
        module: the network, changed in place.
        pattern: names of layers, with wildcards, such as `"head.*"`, or several of them.
        kind: of the noise.
        sigma0: of `NoisyLinear`.

    Returns:
        The new layers, by their first names.

    Raises:
        TypeError: when the network itself is a linear layer, which cannot be replaced in place.
        ValueError: when no layer matches, or one has hooks, which would be lost.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> make_noisy(net, "2")
        {'2': NoisyLinear(8, 2, kind='factorised', sigma0=0.5, bias=True)}
    """
    if type(module) is nn.Linear:
        raise TypeError("module is itself a linear layer; use noisy_copy(module)")
    found = matching(module, pattern, nn.Linear)
    if not found:
        names = ", ".join(matching(module, "*", nn.Linear)) or "none"
        raise ValueError(f"no linear layer matches {pattern!r}; there are {names}")
    for name, layer in found.items():
        if any(getattr(layer, hooks) for hooks in HOOKS):
            raise ValueError(f"{name} has hooks, which would be lost; add them after make_noisy")
    made = {name: noisy_copy(cast(nn.Linear, layer), kind, sigma0) for name, layer in found.items()}
    _share_sigmas(made.values())
    _replace(module, {found[name]: layer for name, layer in made.items()})
    return made


def _share_sigmas(layers: Iterable[NoisyLinear]) -> None:
    """Gives layers whose means are tied the same sigmas."""
    sigmas: dict[int, nn.Parameter] = {}
    for layer in layers:
        layer.weight_sigma = sigmas.setdefault(id(layer.weight), layer.weight_sigma)
        if layer.bias is not None and layer.bias_sigma is not None:
            layer.bias_sigma = sigmas.setdefault(id(layer.bias), layer.bias_sigma)


def noisy_copy(linear: nn.Linear, kind: NoiseKind = "factorised", sigma0: float = 0.5) -> NoisyLinear:
    """A noisy layer whose means are the very parameters of a linear layer.

    Args:
        linear: the layer.
        kind: of the noise.
        sigma0: of `NoisyLinear`.

    Example:
        >>> linear = nn.Linear(3, 2)
        >>> noisy_copy(linear).weight is linear.weight
        True
    """
    with torch.device("meta"):
        layer = NoisyLinear(linear.in_features, linear.out_features, kind, sigma0, linear.bias is not None)
    layer.weight = cast(nn.Parameter, linear.weight)
    layer.weight_sigma = _sigma(linear.weight, layer.initial_sigma)
    if linear.bias is not None:
        layer.bias, layer.bias_sigma = linear.bias, _sigma(linear.bias, layer.initial_sigma)
    layer.resample()
    return layer.train(linear.training)


def _sigma(mean: Tensor, value: float) -> nn.Parameter:
    return nn.Parameter(torch.full_like(mean, value), requires_grad=mean.requires_grad)


def matching(module: nn.Module, pattern: str | Sequence[str], cls: type[nn.Module]) -> dict[str, nn.Module]:
    """The layers of a class, without its subclasses, that have a name which matches, each once.

    Args:
        module: the network.
        pattern: names with wildcards.
        cls: the class.

    Example:
        >>> list(matching(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "*", nn.Linear))
        ['0']
    """
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    found: dict[nn.Module, str] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        if type(layer) is cls and any(fnmatchcase(name, each) for each in patterns):
            found.setdefault(layer, name)
    return {name: layer for layer, name in found.items()}


def _replace(module: nn.Module, new: dict[nn.Module, NoisyLinear]) -> None:
    for parent in list(module.modules()):
        children = [(name, child) for name, child in parent._modules.items() if child in new]
        for name, child in children:
            setattr(parent, name, new[child])
        if children and isinstance(parent, nn.TransformerEncoderLayer):
            parent.activation_relu_or_gelu = 0  # its shortcut would use the means alone
