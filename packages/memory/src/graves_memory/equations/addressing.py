"""How a head finds rows by their content, and how weights are made sharper."""

from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

EPSILON = 1e-6
"""Stands inside square roots, logarithms and running products, so that their gradients stay finite at 0."""

Weights = Float[Tensor, "batch heads rows"]
Memory = Float[Tensor, "batch rows width"]
Keys = Float[Tensor, "batch heads width"]
Strengths = Float[Tensor, "batch heads"]


def oneplus(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 + log(1 + e^x), a number that is at least 1.

    Source: Graves et al. 2016 (Nature 538), Methods.

    Args:
        x: any numbers.
    """
    return 1 + softplus(x)


def cosine_similarity(memory: Memory, keys: Keys) -> Weights:
    """The cosine between each key and each row, 0 where one of them is 0.

    Lengths are sqrt(|x|^2 + epsilon), so that rows and keys of zeros have a gradient.

    Args:
        memory: the rows.
        keys: one for each head.
    """
    lengths = (memory.square().sum(-1) + EPSILON).rsqrt()
    directions = keys * (keys.square().sum(-1, keepdim=True) + EPSILON).rsqrt()
    return torch.matmul(directions, memory.transpose(1, 2)) * lengths[:, None]


def masked_cosine_similarity(memory: Memory, keys: Keys, masks: Keys) -> Weights:
    """The cosine between each key and each row, of the parts of both that the head's mask lets through.

    Source: Csordas and Schmidhuber 2019, masked content-based addressing.

    Args:
        memory: the rows.
        keys: one for each head.
        masks: between 0 and 1, one for each head.
    """
    squares = masks.square()
    lengths = (torch.matmul(squares, memory.square().transpose(1, 2)) + EPSILON).rsqrt()
    masked = masks * keys
    directions = masks * masked * (masked.square().sum(-1, keepdim=True) + EPSILON).rsqrt()
    return torch.matmul(directions, memory.transpose(1, 2)) * lengths


def content_weights(similarity: Weights, strengths: Strengths) -> Weights:
    """softmax over the rows of strength times similarity.

    Args:
        similarity: of each key and each row.
        strengths: beta, at least 0.
    """
    return torch.softmax(similarity * strengths[..., None], dim=-1)


def sharpened(
    weights: Float[Tensor, "*batch heads rows"], powers: Float[Tensor, "*batch heads"]
) -> Float[Tensor, "*batch heads rows"]:
    """w^gamma / sum of w^gamma, computed from logarithms of w + epsilon.

    Weights that are all 0 become equal ones.

    Args:
        weights: at least 0.
        powers: gamma, at least 1.
    """
    return torch.softmax((weights + EPSILON).log() * powers[..., None], dim=-1)


def read_words(memory: Memory, weights: Weights) -> Keys:
    """r = w^T M, for each head.

    Args:
        memory: the rows.
        weights: of each head.
    """
    return torch.matmul(weights, memory)


def erase_and_add(memory: Memory, weights: Weights, erase: Keys, words: Keys) -> Memory:
    """M (1 - w e^T) + w a^T, one head after the other.

    Args:
        memory: the rows.
        weights: of each head.
        erase: which part of the width each head erases, between 0 and 1.
        words: what each head adds.
    """
    for weight, gone, word in zip(weights.unbind(1), erase.unbind(1), words.unbind(1), strict=True):
        change = torch.addcmul(word[:, None], memory, gone[:, None], value=-1)
        memory = torch.addcmul(memory, weight[..., None], change)
    return memory


def product(factors: Weights) -> Float[Tensor, "batch rows"]:
    """The product over the heads, whose gradient needs no division.

    Args:
        factors: one for each head.
    """
    return reduce(torch.mul, factors.unbind(1))
