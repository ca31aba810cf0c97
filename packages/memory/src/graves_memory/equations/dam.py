"""How the dense access memory, the dense twin of the sparse access memory, writes.

Source: Rae et al. 2016, section 3.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graves_memory.equations.addressing import Keys, Memory, Strengths, Weights

Usage = Float[Tensor, "batch rows"]


def least_used(usage: Usage, heads: int) -> Int[Tensor, "batch heads"]:
    """The rows of least usage, another one for each head; the first of equal ones.

    Args:
        usage: of each row.
        heads: how many rows.
    """
    left = usage.detach().clone()
    rows = []
    for _ in range(heads):
        rows.append(left.argmin(dim=1, keepdim=True))
        left.scatter_(1, rows[-1], torch.inf)
    return torch.cat(rows, dim=1)


def write_weights(
    reads: Weights, rows: Int[Tensor, "batch heads"], write_gates: Strengths, read_gates: Strengths
) -> Weights:
    """alpha (gamma w_R + (1 - gamma) 1_U): the rows read before, or the least used one.

    Args:
        reads: w_R of the step before.
        rows: the least used row of each head.
        write_gates: alpha, between 0 and 1.
        read_gates: gamma, between 0 and 1.
    """
    fresh = (write_gates * (1 - read_gates))[..., None]
    return (reads * (write_gates * read_gates)[..., None]).scatter_add(2, rows[..., None], fresh)


def written(memory: Memory, weights: Weights, rows: Int[Tensor, "batch heads"], words: Keys) -> Memory:
    """(1 - 1_U 1^T) M + w a^T: the least used rows of all heads are erased, then all heads add.

    Args:
        memory: the rows.
        weights: of the writes.
        rows: the least used row of each head.
        words: a, what each head writes.
    """
    kept = memory.masked_fill(_chosen(memory, rows)[..., None], 0.0)
    return torch.baddbmm(kept, weights.transpose(1, 2), words)


def discounted_usage(usage: Usage, writes: Weights, reads: Weights, discount: float) -> Usage:
    """lambda U + w_W + w_R, summed over the heads; no gradient passes.

    Args:
        usage: U of the step before.
        writes: w_W.
        reads: w_R.
        discount: lambda, between 0 and 1.
    """
    return usage.detach() * discount + writes.detach().sum(1) + reads.detach().sum(1)


def _chosen(memory: Memory, rows: Int[Tensor, "batch heads"]) -> Bool[Tensor, "batch rows"]:
    none = torch.zeros(memory.shape[:2], dtype=torch.bool, device=memory.device)
    return none.scatter(1, rows, True)
