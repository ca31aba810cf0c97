"""How the differentiable neural computer chooses rows to write and to read.

Source: Graves, Wayne et al. 2016 (Nature 538), Methods. Several write heads are those of the code that
DeepMind released with it; with one, the equations are the paper's.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.equations.addressing import EPSILON, Memory, Strengths, Weights, product

Usage = Float[Tensor, "batch rows"]
Links = Float[Tensor, "batch writers rows rows"]
WriteWeights = Float[Tensor, "batch writers rows"]


def retention(free_gates: Strengths, reads: Weights) -> Usage:
    """psi, the product over the read heads of 1 - f w_R: how much of each row is not freed.

    Args:
        free_gates: f, between 0 and 1.
        reads: w_R of the step before.
    """
    return product(1 - free_gates[..., None] * reads)


def usage_after(usage: Usage, writes: WriteWeights, kept: Usage) -> Usage:
    """(u + w - u w) psi, where w is 1 - the product over the write heads of 1 - w_W.

    Args:
        usage: u of the step before.
        writes: w_W of the step before.
        kept: psi.
    """
    return (1 - (1 - usage) * product(1 - writes)) * kept


def allocation(usage: Usage) -> Usage:
    """a[phi_j] = (1 - u[phi_j]) times the product over i < j of u[phi_i], phi the rows by ascending usage.

    The usage is first moved away from 0, u <- epsilon + (1 - epsilon) u, and the product is the exponential
    of a sum of logarithms. Of rows used equally, the first comes first.

    Args:
        usage: u, between 0 and 1.
    """
    ascending, order = (EPSILON + (1 - EPSILON) * usage).sort(dim=-1, stable=True)
    logs = ascending.log()
    before = (logs.cumsum(-1) - logs).exp()
    return torch.zeros_like(usage).scatter(-1, order, (1 - ascending) * before)


def allocations(usage: Usage, gates: Float[Tensor, "batch writers"]) -> WriteWeights:
    """The allocation of each write head: the next one sees the rows of the last one as used.

    Args:
        usage: u, between 0 and 1.
        gates: how much each head writes to its allocation, write gate times allocation gate.
    """
    found = []
    for gate in gates[..., None].unbind(1):
        found.append(allocation(usage))
        if len(found) < gates.shape[1]:
            usage = usage + (1 - usage) * gate * found[-1]
    return torch.stack(found, dim=1)


def write_weights(
    allocated: WriteWeights,
    content: WriteWeights,
    write_gates: Float[Tensor, "batch writers"],
    allocation_gates: Float[Tensor, "batch writers"],
) -> WriteWeights:
    """g_w (g_a a + (1 - g_a) c).

    Args:
        allocated: a.
        content: c, weights by content.
        write_gates: g_w, between 0 and 1.
        allocation_gates: g_a, between 0 and 1.
    """
    return write_gates[..., None] * torch.lerp(content, allocated, allocation_gates[..., None])


def written(
    memory: Memory,
    writes: WriteWeights,
    erase: Float[Tensor, "batch writers width"],
    words: Float[Tensor, "batch writers width"],
) -> Memory:
    """M (1 - w e^T) + w v^T: all write heads erase, then all add.

    Args:
        memory: M of the step before.
        writes: w_W.
        erase: e, between 0 and 1.
        words: v, what each head adds.
    """
    for weights, gone in zip(writes.unbind(1), erase.unbind(1), strict=True):
        memory = torch.addcmul(memory, weights[..., None], memory * gone[:, None], value=-1)
    return torch.baddbmm(memory, writes.transpose(1, 2), words)


def linked(links: Links, writes: WriteWeights, precedence: WriteWeights) -> Links:
    """L[i, j] = (1 - w[i] - w[j]) L[i, j] + w[i] p[j] and L[i, i] = 0: i was written right after j.

    Args:
        links: L of the step before.
        writes: w_W.
        precedence: p of the step before.
    """
    into, out = writes[..., :, None], writes[..., None, :]
    new = (1 - into - out) * links + into * precedence[..., None, :]
    return new * (1 - torch.eye(links.shape[-1], dtype=links.dtype, device=links.device))


def followed(
    links: Links, reads: Weights
) -> tuple[Float[Tensor, "batch writers heads rows"], Float[Tensor, "batch writers heads rows"]]:
    """L w_R and L^T w_R: where each read head comes to, forward and backward in time.

    Args:
        links: L.
        reads: w_R of the step before.
    """
    before = reads[:, None]
    return torch.matmul(before, links.transpose(2, 3)), torch.matmul(before, links)


def precedence_after(precedence: WriteWeights, writes: WriteWeights) -> WriteWeights:
    """(1 - sum of w) p + w: how far each row is the one last written.

    Args:
        precedence: p of the step before.
        writes: w_W.
    """
    return torch.addcmul(writes, 1 - writes.sum(-1, keepdim=True), precedence)


def mixed(ways: Sequence[Weights], modes: Float[Tensor, "batch heads ways"]) -> Weights:
    """The sum over the ways to read of mode times weights.

    Args:
        ways: weights of all read heads, for each way: backward in time, by content, forward in time.
        modes: for each head a distribution over the ways.
    """
    (first, share), *others = zip(ways, modes[..., None].unbind(2), strict=True)
    total = first * share
    for weights, mode in others:
        total = torch.addcmul(total, weights, mode)
    return total
