"""How often tensors were changed in place: torch's own count, kept right for optimizers that forget it."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.autograd.graph import increment_version
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook


def _count_fused(optimizer: Optimizer, *_: Any) -> None:
    """Fused optimizers change weights without raising the version that torch keeps of them."""
    for group in optimizer.param_groups:
        if group.get("fused"):
            increment_version([weight for weight in group["params"] if weight.grad is not None])


register_optimizer_step_post_hook(_count_fused)


def versions_of(tensors: Iterable[Tensor]) -> list[int]:
    """A number for each tensor, which is another after a change in place, but for one through `.data`.

    Args:
        tensors: parameters, traces and the like.

    Example:
        >>> import torch
        >>> weight = torch.ones(2)
        >>> before = versions_of([weight])
        >>> versions_of([weight.mul_(2)]) == before
        False
    """
    return [tensor._version for tensor in tensors]
