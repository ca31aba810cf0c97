"""The temporal links of the dense differentiable neural computer, with a backward pass that stores little."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from graves_memory.equations.addressing import Weights
from graves_memory.equations.dnc import Links, WriteWeights, followed, linked

Ways = Float[Tensor, "batch writers heads rows"]


class LinkStep(Function):
    """`linked` and then `followed`, of which only the links themselves are kept for the backward pass.

    Example:
        >>> links, writes = torch.zeros(2, 1, 8, 8), torch.rand(2, 1, 8)
        >>> new, forward, backward = LinkStep.apply(links, writes, writes, torch.rand(2, 4, 8))
        >>> new.shape, forward.shape
        (torch.Size([2, 1, 8, 8]), torch.Size([2, 1, 4, 8]))
    """

    @staticmethod
    def forward(
        ctx: Any, links: Links, writes: WriteWeights, precedence: WriteWeights, reads: Weights
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The new links, and the read weights moved along them, forward and backward."""
        new = torch.sub((1 - writes)[..., :, None], writes[..., None, :]).mul_(links)
        new.addcmul_(writes[..., :, None], precedence[..., None, :])
        new.diagonal(dim1=-2, dim2=-1).zero_()
        ctx.save_for_backward(links, writes, precedence, reads, new)
        return new, *followed(new, reads)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """The gradients by links, writes, precedence and reads."""
        *inputs, new = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_gradients(inputs, gradients)
        links, writes, precedence, reads = inputs
        by_links, by_on, by_back = gradients
        by_reads = (torch.matmul(by_on, new) + torch.matmul(by_back, new.transpose(2, 3))).sum(1)
        by_new = _added(by_links, reads[:, None].expand_as(by_on), by_on, by_back)
        by_precedence = torch.matmul(writes[..., None, :], by_new).squeeze(-2)
        by_writes = torch.matmul(precedence[..., None, :], by_new.transpose(2, 3)).squeeze(-2)
        scratch = by_new * links
        by_writes = by_writes - scratch.sum(-1) - scratch.sum(-2)
        before = torch.mul(by_new, (1 - writes)[..., None, :], out=scratch)
        before.addcmul_(by_new, writes[..., :, None], value=-1)
        return before, by_writes, by_precedence, by_reads


def _added(by_links: Links, reads: Ways, by_on: Ways, by_back: Ways) -> Links:
    """The gradient by the new links, with what comes through the moved read weights; 0 on the diagonal."""
    left = torch.cat([by_on, reads], dim=2).flatten(0, 1).transpose(1, 2)
    right = torch.cat([reads, by_back], dim=2).flatten(0, 1)
    total = torch.baddbmm(by_links.flatten(0, 1), left, right).view_as(by_links)
    total.diagonal(dim1=-2, dim2=-1).zero_()
    return total


def _differentiable_gradients(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same gradients with a graph, for derivatives of them."""
    links, writes, precedence, reads = (value.view_as(value) for value in inputs)
    new = linked(links, writes, precedence)
    outputs = (new, *followed(new, reads))
    return torch.autograd.grad(outputs, (links, writes, precedence, reads), gradients, create_graph=True)


def link_step(
    links: Links, writes: WriteWeights, precedence: WriteWeights, reads: Weights
) -> tuple[Links, Ways, Ways]:
    """The new links, and where each read head comes to along them, forward and backward in time.

    Args:
        links: L of the step before.
        writes: w_W.
        precedence: p of the step before.
        reads: w_R of the step before.
    """
    step = cast(Callable[..., tuple[Tensor, Tensor, Tensor]], LinkStep.apply)
    return step(links, writes, precedence, reads)
