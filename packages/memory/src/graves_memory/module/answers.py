"""What a network should have said, and how far it was from it."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

IGNORED = -100
"""The class of a step at which nothing is due, as in torch's losses."""

Kind = Literal["bits", "classes"]


class Scores(NamedTuple):
    """How well each step of each sequence was answered.

    Attributes:
        nats: -log p(answer), summed over the answers of the step.
        wrong: how many answers were wrong.
        due: how many there were: the bits of a word, or one class, or none.
    """

    nats: Float[Tensor, "batch time"]
    wrong: Float[Tensor, "batch time"]
    due: Float[Tensor, "batch time"]

    def sums(self) -> Float[Tensor, "3"]:
        """The totals of the three."""
        return torch.stack([part.detach().sum() for part in self])


def score(outputs: Float[Tensor, "batch time output"], batch: Mapping[str, Tensor], kind: Kind) -> Scores:
    """Compares outputs with the targets of a batch.

    Args:
        outputs: logits of bits or of classes.
        batch: with `targets`, and `mask` for bits.
        kind: what the targets are.

    Raises:
        ValueError: when the targets are of another kind or shape.
    """
    targets = batch["targets"]
    if kind == "classes":
        if targets.ndim != 2 or targets.is_floating_point():
            raise ValueError(
                f"targets must be classes (batch, time), not {targets.dtype} {tuple(targets.shape)}"
            )
        return class_scores(outputs, targets)
    if targets.shape != outputs.shape:
        raise ValueError(f"targets must be bits {tuple(outputs.shape)}, not {tuple(targets.shape)}")
    mask = batch.get("mask", torch.ones_like(targets[..., 0], dtype=torch.bool))
    return bit_scores(outputs, targets, mask)


def bit_scores(
    logits: Float[Tensor, "batch time bits"],
    targets: Float[Tensor, "batch time bits"],
    mask: Bool[Tensor, "batch time"],
) -> Scores:
    """Scores of words of bits, each bit an answer of its own; a logit above 0 says 1.

    Args:
        logits: of the bits.
        targets: 0 or 1.
        mask: at which steps a word is due.

    Example:
        >>> logits = torch.tensor([[[0.0, 9.0], [9.0, 9.0]]])
        >>> scores = bit_scores(logits, torch.ones(1, 2, 2), torch.tensor([[True, False]]))
        >>> scores.wrong.tolist(), scores.due.tolist()
        ([[1.0, 0.0]], [[2.0, 0.0]])
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    nats = nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    wrong = ((logits > 0) != (targets > 0.5)).sum(-1)
    due = mask.to(nats.dtype)
    return Scores(nats.sum(-1).where(mask, 0), wrong * due, due * targets.shape[-1])


def class_scores(logits: Float[Tensor, "batch time classes"], targets: Int[Tensor, "batch time"]) -> Scores:
    """Scores of classes, of which the largest logit is what was said.

    Args:
        logits: of the classes.
        targets: classes, or -100 where nothing is due.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    nats = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.long().flatten(), ignore_index=IGNORED, reduction="none"
    )
    due = (targets != IGNORED).to(nats.dtype)
    wrong = (logits.argmax(-1) != targets).to(nats.dtype) * due
    return Scores(nats.view(targets.shape), wrong, due)


def said(logits: Float[Tensor, "batch time output"], kind: Kind) -> Tensor:
    """The most probable answers: booleans `(batch, time, bits)`, or classes `(batch, time)`.

    Args:
        logits: outputs of a network.
        kind: what they are of.
    """
    return logits > 0 if kind == "bits" else logits.argmax(-1)


def checked_batch(batch: Any, needed: set[str]) -> Mapping[str, Tensor]:
    """A batch, if it is a dict with what is needed.

    Args:
        batch: from a DataModule.
        needed: keys.

    Raises:
        TypeError: when it is not.
    """
    if isinstance(batch, Mapping) and needed <= set(batch):
        return batch
    shown = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
    raise TypeError(f"a batch must be a dict with {' and '.join(sorted(needed)) or 'tensors'}, not {shown}")
