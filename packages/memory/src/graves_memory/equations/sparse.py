"""How the sparse access memory reads, writes and ages.

Source: Rae et al. 2016, section 3.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_memory.equations.addressing import EPSILON

Words = Float[Tensor, "batch heads reads width"]
Queries = Float[Tensor, "batch heads width"]
Gates = Float[Tensor, "batch heads"]
Weights = Float[Tensor, "batch heads reads"]


def cosine_of_words(words: Words, queries: Queries) -> Weights:
    """The cosine between each query and the few rows that its head reads, 0 where one of them is 0.

    Args:
        words: the rows.
        queries: one for each head.
    """
    lengths = (words.square().sum(-1) + EPSILON) * (queries.square().sum(-1, keepdim=True) + EPSILON)
    return torch.matmul(words, queries.unsqueeze(3)).squeeze(3) * lengths.rsqrt()


def read_weights(words: Words, queries: Queries, strengths: Gates) -> Weights:
    """w_R: softmax of strength times cosine over the rows that a head reads; all others have 0.

    Args:
        words: the rows.
        queries: one for each head.
        strengths: beta, at least 0.
    """
    return torch.softmax(cosine_of_words(words, queries) * strengths.unsqueeze(2), dim=2)


def read_few(weights: Weights, words: Words) -> Queries:
    """r = sum of w_R(i) M(i), for each head.

    Args:
        weights: of the rows that a head reads.
        words: the rows.
    """
    return torch.matmul(weights.unsqueeze(2), words).squeeze(2)


def write_weights(
    reads: Weights, write_gates: Gates, read_gates: Gates
) -> Float[Tensor, "batch heads written"]:
    """w_W = alpha (gamma w_R + (1 - gamma) 1_U): of the rows read before, and last of the oldest one.

    Args:
        reads: w_R of the step before.
        write_gates: alpha, between 0 and 1.
        read_gates: gamma, between 0 and 1.
    """
    again = (write_gates * read_gates).unsqueeze(2) * reads
    return torch.cat((again, (write_gates * (1 - read_gates)).unsqueeze(2)), dim=2)


def ages(weights: Float[Tensor, "time *rows"], delta: float) -> Int64[Tensor, "*rows"]:
    """U(i) = T - max {t: w_W,t(i) + w_R,t(i) > delta}: steps since the last access that counts.

    T is the last step. A row that was never accessed has the age T + 1. What is to be overwritten is the row
    with the largest age; that is what the paper's "least recently accessed" says, though it prints argmin.

    Args:
        weights: w_W + w_R of each step.
        delta: up to which weight an access does not count.
    """
    steps = torch.arange(1, len(weights) + 1, device=weights.device)
    counts = (weights > delta) * steps.view(-1, *[1] * (weights.dim() - 1))
    return len(weights) - counts.amax(0)
