"""The state of sequences that go on from batch to batch, in checkpoints, one per rank."""

from typing import Any

import torch
from torch import Tensor

from graves_core.batches import rank_and_world
from graves_rnn_training.layers.learners.base import OnlineState

Saved = dict[str, Any]


def gathered_states(state: OnlineState | None) -> list[Saved]:
    """The states of all ranks as plain tensors on rank 0, in the order of the ranks; all ranks must call it.

    Args:
        state: this rank's; None if it has none, and then no rank has one.

    Returns:
        A dict of `hidden` and `traces` per rank; nothing on other ranks, which write no checkpoint.
    """
    if state is None:
        return []
    hidden = _on_first_rank(state.hidden)
    traces = [_on_first_rank(trace) for trace in state.traces]
    return [{"hidden": own, "traces": [trace[rank] for trace in traces]} for rank, own in enumerate(hidden)]


def own_state(saved: list[Saved], device: torch.device) -> OnlineState | None:
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
    hidden, *traces = (part.to(device) for part in (saved[rank]["hidden"], *saved[rank]["traces"]))
    return OnlineState(hidden, tuple(traces))


def fitting_state(state: OnlineState, like: OnlineState) -> OnlineState:
    """Moves a resumed state to where the learner is.

    Args:
        state: from a checkpoint.
        like: a state of the learner for the batch at hand.

    Raises:
        ValueError: when the learner or the number of sequences is not that of the checkpoint.
    """
    pairs = list(zip((state.hidden, *state.traces), (like.hidden, *like.traces), strict=False))
    same = len(state.traces) == len(like.traces) and all(a.shape == b.shape for a, b in pairs)
    if not same:
        shapes = [[tuple(part.shape) for part in (s.hidden, *s.traces)] for s in (state, like)]
        raise ValueError(
            f"the checkpoint's streams have shapes {shapes[0]}, but this learner and batch need "
            f"{shapes[1]}: resume with the same learner, batch_size and number of devices"
        )
    hidden, *traces = [a.to(b.device, b.dtype) for a, b in pairs]
    return OnlineState(hidden, tuple(traces))


def _on_first_rank(part: Tensor) -> list[Tensor]:
    """The tensor of every rank on rank 0; nothing on other ranks."""
    rank, world = rank_and_world()
    part = part.detach()
    if world == 1:
        return [part]
    parts = [torch.empty_like(part) for _ in range(world)] if rank == 0 else None
    torch.distributed.gather(part.contiguous(), parts)
    return [part.cpu() for part in parts or []]
