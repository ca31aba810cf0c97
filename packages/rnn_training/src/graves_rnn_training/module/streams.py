"""States of learners as plain tensors, as checkpoints hold them, and back."""

from typing import Any

from graves_core.streams import fitting_state
from graves_rnn_training.layers.learners.base import OnlineState


def plain_state(state: OnlineState | None) -> dict[str, Any] | None:
    """A state as a dict of `hidden` and `traces`.

    Args:
        state: of a learner; None gives None.

    Example:
        >>> import torch
        >>> plain_state(OnlineState(torch.zeros(2), ()))
        {'hidden': tensor([0., 0.]), 'traces': []}
    """
    return None if state is None else {"hidden": state.hidden, "traces": list(state.traces)}


def resumed_state(saved: dict[str, Any], like: OnlineState) -> OnlineState:
    """A state from a checkpoint, where the learner is.

    Args:
        saved: what `plain_state` returned.
        like: a state of the learner for the batch at hand.

    Raises:
        ValueError: when the learner or the number of sequences is not that of the checkpoint.
    """
    plain = plain_state(like)
    assert plain is not None
    fitting: Any = fitting_state(saved, plain)
    return OnlineState(fitting["hidden"], tuple(fitting["traces"]))
