"""Further forward and backward passes over a batch, before the one that Lightning makes."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor


class ExtraSamples:
    """Gradients of further samples of the weights, kept until Lightning has cleared those of the step before.

    Args:
        parameters: whose gradients are meant.

    Example:
        >>> import torch
        >>> ExtraSamples(list(torch.nn.Linear(2, 1).parameters())).kept
        []
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.kept: list[Tensor | None] = []

    def run(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, draw: Callable[[], None], count: int
    ) -> None:
        """Draws weights and differentiates the loss of a batch, so many times; what it logs is not noted.

        Args:
            trainer: of the run.
            pl_module: the model.
            batch: the batch.
            batch_idx: its number.
            draw: puts a sample into the weights.
            count: how many times.
        """
        if count == 0:
            return
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        with _silent(pl_module):
            for _ in range(count):
                draw()
                _differentiate(trainer, pl_module, batch, batch_idx)
        self.kept = [parameter.grad for parameter in self.parameters]
        for parameter, gradient in zip(self.parameters, before, strict=True):
            parameter.grad = gradient

    def release(self) -> None:
        """Adds the gradients to those at hand."""
        for parameter, kept in zip(self.parameters, self.kept, strict=False):
            if kept is not None:
                parameter.grad = kept if parameter.grad is None else parameter.grad.add_(kept)
        self.kept = []


def _differentiate(trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
    step = pl_module.training_step
    arguments = (batch, batch_idx) if len(inspect.signature(step).parameters) > 1 else (batch,)
    with trainer.precision_plugin.train_step_context():
        output: Any = step(*arguments)
    loss = output["loss"] if isinstance(output, dict) else output
    if loss is not None:
        (loss / trainer.accumulate_grad_batches).backward()


@contextmanager
def _silent(pl_module: LightningModule) -> Iterator[None]:
    """In the block, `self.log` does nothing."""

    def ignore(*_: Any, **__: Any) -> None:
        return None

    pl_module.__dict__["log"] = ignore
    pl_module.__dict__["log_dict"] = ignore
    try:
        yield
    finally:
        del pl_module.__dict__["log"], pl_module.__dict__["log_dict"]
