"""Temporal links of sparse writes: who was written before and after whom, one formula a function.

Links are constants to the gradient. The dense matrices here say what the sparse ones hold.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

SMALLEST_DECAY = 1e-22
"""A row that is written with weight one keeps this share of its links, so that logarithms stay finite."""


class Follow(NamedTuple):
    """What links lead to from rows that were read.

    Args:
        forward: weights of rows that were written after those.
        backward: weights of rows that were written before those.
    """

    forward: Float[Tensor, "*batch rows"]
    backward: Float[Tensor, "*batch rows"]


def precedence(
    before: Float[Tensor, "*batch rows"], written: Float[Tensor, "*batch rows"]
) -> Float[Tensor, "*batch rows"]:
    """p_t = (1 - sum w) p_{t-1} + w: how much each row is the last one written.

    Args:
        before: p_{t-1}.
        written: w, whose sum is at most one.

    Source: Graves et al. 2016, "Temporal memory linkage"; Rae et al. 2016 keep the largest entries.
    """
    return (1 - written.sum(-1, keepdim=True)) * before + written


def predecessors(
    links: Float[Tensor, "*batch rows rows"],
    before: Float[Tensor, "*batch rows"],
    written: Float[Tensor, "*batch rows"],
) -> Float[Tensor, "*batch rows rows"]:
    """N_t(i, j) = (1 - w(i)) N_{t-1}(i, j) + w(i) p_{t-1}(j): row i says after which rows i was written.

    Args:
        links: N_{t-1}, with zeros on the diagonal.
        before: p_{t-1}.
        written: w.

    Source: Rae et al. 2016, supplement on the sparse DNC.
    """
    linked = (1 - written[..., :, None]) * links + written[..., :, None] * before[..., None, :]
    return _without_diagonal(linked)


def successors(
    links: Float[Tensor, "*batch rows rows"],
    before: Float[Tensor, "*batch rows"],
    written: Float[Tensor, "*batch rows"],
) -> Float[Tensor, "*batch rows rows"]:
    """P_t(i, j) = (1 - w(j)) P_{t-1}(i, j) + w(j) p_{t-1}(i): row i says which rows were written after i.

    As long as nothing is cut, P is the transpose of N.

    Args:
        links: P_{t-1}, with zeros on the diagonal.
        before: p_{t-1}.
        written: w.

    Source: Rae et al. 2016, supplement on the sparse DNC.
    """
    linked = (1 - written[..., None, :]) * links + written[..., None, :] * before[..., :, None]
    return _without_diagonal(linked)


def largest(values: Float[Tensor, "*batch rows"], count: int) -> Float[Tensor, "*batch rows"]:
    """The values with zeros for all but the `count` largest of the last axis.

    Args:
        values: not negative.
        count: how many are kept, K_L.
    """
    if count >= values.shape[-1]:
        return values
    kept = values.topk(count, -1)
    return torch.zeros_like(values).scatter_(-1, kept.indices, kept.values)


def follow(
    before: Float[Tensor, "*batch rows rows"],
    after: Float[Tensor, "*batch rows rows"],
    read: Float[Tensor, "*batch rows"],
) -> Follow:
    """The forward weights f = P^T r and the backward weights b = N^T r.

    They are N r and P r as printed, until rows of N and P are cut: the links of the rows that were read are
    then rows of a matrix, which a sparse one has at hand.

    Args:
        before: N.
        after: P.
        read: r, the weights of the rows that were read at the last step.

    Source: Rae et al. 2016, supplement on the sparse DNC.
    """
    forward, backward = ((read[..., None, :] @ links).squeeze(-2) for links in (after, before))
    return Follow(forward, backward)


def at_most_one(weights: Float[Tensor, "*batch rows"]) -> Float[Tensor, "*batch rows"]:
    """The weights, scaled down to the sum of one where they are more.

    The links of the dense DNC fade when either end is written, and weights along them add up to one at most.
    Those of N and P fade with one end only.

    Args:
        weights: not negative.
    """
    return weights / weights.sum(-1, keepdim=True).clamp_min(1)


def mix(
    modes: Float[Tensor, "*batch 3"], content: Float[Tensor, "*batch rows"], links: Follow
) -> Float[Tensor, "*batch rows"]:
    """w = pi_1 b + pi_2 c + pi_3 f.

    Args:
        modes: pi, a softmax.
        content: c.
        links: f and b.

    Source: Graves et al. 2016, "Temporal memory linkage"; the order of the modes is the paper's.
    """
    backward, by_content, forward = modes.unsqueeze(-1).unbind(-2)
    return backward * links.backward + by_content * content + forward * links.forward


def distinct(
    weights: Float[Tensor, "*batch entries"], owners: Int64[Tensor, "*batch entries"]
) -> Float[Tensor, "*batch entries"]:
    """All weight of a row at one of the entries that name it, and zeros at the others.

    Args:
        weights: of entries, several of which may name the same row.
        owners: for each entry the one that stands for its row.
    """
    return torch.zeros_like(weights).scatter_add_(-1, owners, weights)


def _without_diagonal(links: Tensor) -> Tensor:
    diagonal = torch.eye(links.shape[-1], dtype=torch.bool, device=links.device)
    return links.masked_fill(diagonal, 0)
