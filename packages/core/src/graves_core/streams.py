"""The state of sequences that go on from batch to batch, in checkpoints, one per rank."""

from typing import Union

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from graves_core.batches import rank_and_world

Plain = Union[Tensor, list["Plain"], dict[str, "Plain"]]  # noqa: UP007 -- `|` needs types at run time
"""Lists and dicts of tensors, as a checkpoint may hold them."""


def gathered_states(state: Plain | None) -> list[Plain]:
    """The states of all ranks on rank 0, in the order of the ranks; all ranks must call it.

    The tensors of different ranks may have different sizes, but as many dimensions.

    Args:
        state: this rank's; None if it has none, and then no rank has one.

    Returns:
        A copy per rank on the CPU; nothing on other ranks, which write no checkpoint.
    """
    if state is None:
        return []
    leaves, structure = tree_flatten(state)
    ranks = zip(*(_on_first_rank(leaf.detach()) for leaf in leaves), strict=True)
    return [tree_unflatten(list(own), structure) for own in ranks]


def own_state(saved: list[Plain], device: torch.device) -> Plain | None:
    """This rank's state out of those in a checkpoint.

    Args:
        saved: what `gathered_states` returned on rank 0.
        device: where the state goes.

    Raises:
        ValueError: when the checkpoint was written by another number of ranks.
    """
    if not saved:
        return None
    rank, world = rank_and_world()
    if len(saved) != world:
        raise ValueError(
            f"the checkpoint holds the streams of {len(saved)} devices and cannot be resumed on {world}"
        )
    state: Plain = tree_map(lambda part: part.to(device), saved[rank])
    return state


def fitting_state(state: Plain, like: Plain) -> Plain:
    """Moves a resumed state to where the model is.

    Args:
        state: from a checkpoint.
        like: a state of the model for the batch at hand.

    Raises:
        ValueError: when the model or the number of sequences is not that of the checkpoint.
    """
    (leaves, structure), (wanted, expected) = tree_flatten(state), tree_flatten(like)
    pairs = list(zip(leaves, wanted, strict=False))
    if structure != expected or any(a.shape != b.shape for a, b in pairs):
        raise ValueError(
            f"the checkpoint's streams have shapes {shapes(state)}, but this model and batch need "
            f"{shapes(like)}: resume with the same model, batch_size and number of devices"
        )
    fitting: Plain = tree_unflatten([a.to(b.device, b.dtype) for a, b in pairs], structure)
    return fitting


def shapes(state: Plain) -> list[tuple[int, ...]]:
    """The shapes of all tensors of a state.

    Args:
        state: lists and dicts of tensors.

    Example:
        >>> shapes({"hidden": torch.zeros(2, 3), "traces": [torch.zeros(4)]})
        [(2, 3), (4,)]
    """
    return [tuple(leaf.shape) for leaf in tree_leaves(state)]


def _on_first_rank(part: Tensor) -> list[Tensor]:
    """The tensor of every rank on rank 0; nothing on other ranks."""
    rank, world = rank_and_world()
    if world == 1:
        return [part.cpu().clone()]
    sizes = _sizes(part, world)
    longest = max(size.numel() for size in sizes)
    padded = torch.nn.functional.pad(part.flatten(), (0, longest - part.numel()))
    parts = [torch.empty_like(padded) for _ in range(world)] if rank == 0 else None
    torch.distributed.gather(padded, parts)
    return [
        whole[: size.numel()].view(size).cpu() for whole, size in zip(parts or [], sizes, strict=rank == 0)
    ]


def _sizes(part: Tensor, world: int) -> list[torch.Size]:
    """The size of a tensor on every rank, on every rank."""
    own = torch.tensor([1, *part.shape], device=part.device)
    found = [torch.empty_like(own) for _ in range(world)]
    torch.distributed.all_gather(found, own)
    return [torch.Size(size.tolist()[1:]) for size in found]
