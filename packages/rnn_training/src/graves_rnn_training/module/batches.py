"""A batch of sequences, laid out for a loop over time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

IGNORED = -100
"""The target of a step without a loss, as in torch's losses."""


class Sequences(NamedTuple):
    """What a batch holds, time first.

    Attributes:
        inputs: symbols as int64, or features.
        targets: classes, or `IGNORED`; None if the batch has none.
        reset: which sequences start anew; None when all of them do and none goes on in the next batch.
    """

    inputs: Int[Tensor, "time batch"] | Float[Tensor, "time batch features"]
    targets: Int[Tensor, "time batch"] | None
    reset: Bool[Tensor, " batch"] | None

    @property
    def size(self) -> int:
        """Number of sequences."""
        return self.inputs.shape[1]

    def counts(self) -> Int[Tensor, " time"]:
        """How many targets each step has."""
        assert self.targets is not None
        return (self.targets != IGNORED).sum(1)

    def padded(self, length: int) -> "Sequences":
        """Adds steps without targets at the end.

        Args:
            length: number of steps afterwards.
        """
        missing = length - len(self.inputs)
        if missing == 0 or self.targets is None:
            return self
        inputs = nn.functional.pad(self.inputs, (0, 0) * (self.inputs.ndim - 1) + (0, missing))
        return Sequences(
            inputs, nn.functional.pad(self.targets, (0, 0, 0, missing), value=IGNORED), self.reset
        )


def sequences(batch: Any, targets: bool = True) -> Sequences:
    """Reads a batch with `inputs`, and perhaps `targets` and `reset`.

    Args:
        batch: a dict with `inputs`, `(batch, time)` symbols or `(batch, time, features)` numbers; `targets`,
            `(batch, time)` classes; `reset`, `(batch,)` booleans.
        targets: whether targets are needed.

    Raises:
        TypeError: when it is no such dict.

    Example:
        >>> import torch
        >>> batch = {"inputs": torch.zeros(2, 3, dtype=torch.uint8), "targets": torch.ones(2, 3)}
        >>> sequences(batch).inputs.shape
        torch.Size([3, 2])
    """
    needed = {"inputs", "targets"} if targets else {"inputs"}
    held = set(batch) if isinstance(batch, Mapping) else None
    if held is None or not needed <= held:
        shown = type(batch).__name__ if held is None else sorted(map(str, held))
        raise TypeError(f"a batch must be a dict with {' and '.join(sorted(needed))}, not {shown}")
    inputs, classes = batch["inputs"].transpose(0, 1), batch.get("targets")
    if not inputs.is_floating_point():
        inputs = inputs.long()
    return Sequences(inputs, None if classes is None else classes.T.long(), batch.get("reset"))
