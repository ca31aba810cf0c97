"""Further forward and backward passes over a batch, before the one that Lightning makes."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule
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
        self,
        pl_module: LightningModule,
        batch: tuple[Any, int],
        parts: int,
        passes: Callable[[Callable[[], None]], None],
    ) -> None:
        """Lets `passes` differentiate the loss of a batch as often as it likes; what it logs is not noted.

        Args:
            pl_module: the model.
            batch: the batch and its number.
            parts: number of accumulated batches, by which losses are divided.
            passes: is given what makes a forward and a backward pass.
        """
        before = [parameter.grad for parameter in self.parameters]
        self._put([None] * len(before))
        with _silent(pl_module):
            passes(lambda: _differentiate(pl_module, batch, parts))
        self.kept = [parameter.grad for parameter in self.parameters]
        self._put(before)

    def release(self) -> None:
        """Adds the gradients to those at hand."""
        for parameter, kept in zip(self.parameters, self.kept, strict=False):
            if kept is not None:
                parameter.grad = kept if parameter.grad is None else parameter.grad.add_(kept)
        self.kept = []

    def _put(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient


def _differentiate(pl_module: LightningModule, batch: tuple[Any, int], parts: int) -> None:
    step: Callable[..., Any] = pl_module.training_step
    wanted = len(inspect.signature(step).parameters)
    with pl_module.trainer.precision_plugin.train_step_context():
        output = step(*batch[:wanted])
    loss = output["loss"] if isinstance(output, dict) else output
    if loss is not None:
        (loss / parts).backward()


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
