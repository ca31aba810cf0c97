"""Batches whose gradients are accumulated, each under a sample of the weights."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from graves_bayes.layers.ivon import IVON


class IVONSamples(Callback):
    """Puts a sample of the weights into the network before each training batch, and the means back after it.

    With `IVON` as optimizer, this is what `accumulate_grad_batches` needs: batches that make no step are not
    seen by the optimizer. It changes nothing without accumulation. With several samples for each step, each
    batch before the last has one.

    Example:
        >>> import lightning.pytorch as pl
        >>> trainer = pl.Trainer(
        ...     accumulate_grad_batches=4,
        ...     callbacks=[IVONSamples()],
        ...     logger=False,
        ...     enable_checkpointing=False,
        ... )
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks for the optimizer.

        Raises:
            ValueError: when the run has no `IVON`.
        """
        if not _optimizers(trainer):
            raise ValueError("IVONSamples needs a module whose configure_optimizers returns an IVON")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Puts a sample into the network."""
        for optimizer in _optimizers(trainer):
            optimizer.sample_()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Puts the means back, unless the optimizer has done so in its step."""
        self._restore(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Puts the means back."""
        self._restore(trainer)

    def _restore(self, trainer: Trainer) -> None:
        for optimizer in _optimizers(trainer):
            optimizer.restore_()


def _optimizers(trainer: Trainer) -> list[IVON]:
    return [optimizer for optimizer in trainer.optimizers if isinstance(optimizer, IVON)]
