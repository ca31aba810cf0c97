"""Noisy layers and inputs in double precision, and what they should compute."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from graves_bayes.layers.noisy_linear import NoisyLinear
from graves_bayes.noise.draws import FactorisedNoise


def make(kind: Any = "factorised", p: int = 6, q: int = 4, **arguments: Any) -> NoisyLinear:
    torch.manual_seed(0)
    return NoisyLinear(p, q, kind, **arguments).double()


def stated(layer: NoisyLinear, x: Tensor) -> Tensor:
    """The plain formula, for noise that all rows share."""
    noise = layer.noise
    if noise is None:
        return linear(x, layer.weight, layer.bias)
    each = torch.outer(noise.outputs, noise.inputs) if isinstance(noise, FactorisedNoise) else noise.weight
    bias = None if layer.bias is None else layer.bias + layer.bias_sigma * noise[1]
    return linear(x, layer.weight + layer.weight_sigma * each, bias)


def inputs(rows: int = 5, p: int = 6) -> Tensor:
    return torch.randn(rows, p, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
