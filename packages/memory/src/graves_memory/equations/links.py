"""Temporal links of sparse writes: which rows were written before and after which, one formula a function.

Links are constants to the gradient. The precedence is that of the dense DNC, `dnc.precedence_after`. Matrices
of all rows say here what sparse ones hold, whose rows are cut to their largest entries.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

SMALLEST_DECAY = 1e-22
"""A row that is written with weight one keeps this share of its links, so that logarithms stay finite."""


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
) -> tuple[Float[Tensor, "*batch rows"], Float[Tensor, "*batch rows"]]:
    """The backward weights b = N^T r and the forward weights f = P^T r.

    They are P r and N r as printed, until rows of N and P are cut: the links of the rows that were read are
    then rows of a matrix, which a sparse one has at hand.

    Args:
        before: N.
        after: P.
        read: r, the weights of the rows that were read at the last step.

    Source: Rae et al. 2016, supplement on the sparse DNC.
    """
    row = read[..., None, :]
    return (row @ before).squeeze(-2), (row @ after).squeeze(-2)


def at_most_one(weights: Float[Tensor, "*batch rows"]) -> Float[Tensor, "*batch rows"]:
    """The weights, scaled down to the sum of one where they are more.

    The links of the dense DNC fade when either end is written, and weights along them add up to one at most.
    Those of N and P fade with one end only.

    Args:
        weights: not negative.
    """
    return weights / weights.sum(-1, keepdim=True).clamp_min(1)


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
