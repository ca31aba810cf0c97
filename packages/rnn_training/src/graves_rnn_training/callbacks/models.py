"""What a LightningModule must have for the callbacks of this folder, and what they make of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from graves_rnn_training.layers.learners.base import Learner, OnlineState
from graves_rnn_training.module.batches import IGNORED, sequences

Losses = Iterator[Tensor | None]


class LearningModel:
    """A LightningModule as the callbacks see it.

    It must have the attribute `learner`, a `Learner`, and either

    - `readout`, which turns outputs into logits, and perhaps `encoder`, which turns symbols into inputs, with
      batches of `inputs` and `targets` as `OnlineRNN` takes them; or
    - a method `step_losses(learner, batch)`, which reads a batch from a fresh state with the learner that it
      is given, and yields the loss of every step, or None where there is none.

    Args:
        module: the module.
        user: who asks, for the error.

    Raises:
        TypeError: naming what is missing.
    """

    def __init__(self, module: LightningModule, user: str) -> None:
        learner = getattr(module, "learner", None)
        self.own: Callable[[Learner, Any], Losses] | None = getattr(module, "step_losses", None)
        self.readout: Callable[[Tensor], Tensor] | None = getattr(module, "readout", None)
        self.encoder: Callable[[Tensor], Tensor] | None = getattr(module, "encoder", None)
        if not isinstance(learner, Learner):
            raise TypeError(f"{user}: {type(module).__name__} must have the attribute learner, a Learner")
        if self.own is None and not callable(self.readout):
            raise TypeError(
                f"{user}: {type(module).__name__} must have the attribute readout, which turns outputs "
                "into logits, or a method step_losses(learner, batch)"
            )
        self.learner = learner

    def losses(self, learner: Learner, batch: Any) -> Losses:
        """The loss of every step: the sum over the batch of -log p(target), or the module's own.

        Args:
            learner: reads the batch in the place of the module's, from a fresh state.
            batch: as the module takes it.
        """
        return self._losses(learner, batch) if self.own is None else self.own(learner, batch)

    def logits(self, learner: Learner, batch: Any) -> Iterator[Float[Tensor, "batch classes"]]:
        """What the readout makes of every step.

        Args:
            learner: reads the batch in the place of the module's, from a fresh state.
            batch: with `inputs`.
        """
        for output, _ in self._steps(learner, batch):
            yield output if self.readout is None else self.readout(output)

    def states(self, learner: Learner, batch: Any) -> Iterator[OnlineState]:
        """The states after every step.

        Args:
            learner: reads the batch in the place of the module's, from a fresh state.
            batch: with `inputs`.
        """
        for _, state in self._steps(learner, batch):
            yield learner.detach(state)

    def _steps(self, learner: Learner, batch: Any) -> Iterator[tuple[Tensor, OnlineState]]:
        data = sequences(batch, targets=False)
        state = learner.initial_state(data.size)
        for inputs in data.inputs:
            output, state = learner(inputs if self.encoder is None else self.encoder(inputs), state)
            yield output, state

    def _losses(self, learner: Learner, batch: Any) -> Losses:
        data = sequences(batch)
        assert data.targets is not None
        counts = data.counts().tolist()
        for logits, targets, count in zip(self.logits(learner, batch), data.targets, counts, strict=True):
            loss = nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
            yield loss if count else None


def preserved_random(module: nn.Module) -> AbstractContextManager[None]:
    """Gives the generators of the CPU and of the module's device back as they were.

    Args:
        module: with parameters.
    """
    device = next(module.parameters()).device
    return torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type)
