"""Random numbers of training that do not notice whether the run was interrupted."""

# ruff: noqa: NPY002 -- users do draw from numpy's global generator

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from graves_core.batches import mix_seed


class ExactResume(pl.Callback):
    """Makes a resumed run draw the random numbers that the uninterrupted run would have drawn.

    Every training batch, every validation and every epoch starts its own stream of the global generators of
    torch (all devices), numpy and Python. The stream depends on the run's seed, the rank, and the place in
    the run alone, so that nothing that happens elsewhere (validation, samples for a picture, the building of
    loaders, an interruption) shifts the numbers that training sees. Ranks draw different numbers.

    The run's seed is drawn when fit starts, which makes it a consequence of `seed_everything`, and is kept
    in the checkpoint. With a loader that resumes in mid-epoch (`graves_core.ResumableLoader`) a run that is
    killed at any step and started again from its last checkpoint ends with the same weights, bit for bit.
    Draws from generators of the user's own are the user's to save.

    Example:
        >>> trainer = pl.Trainer(callbacks=[ExactResume()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
        self._seed = 0
        self._resumed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forgets what another run's checkpoint has brought."""
        self._resumed = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the run's seed unless a checkpoint brought it; all ranks take the one of rank 0."""
        if not self._resumed:
            self._seed = trainer.strategy.broadcast(int(torch.randint(2**62, ())))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins a new epoch if the checkpoint was saved at the end of one.

        With `max_steps`, Lightning would take the finished epoch for an unfinished one: it would train one
        batch in it, or none, and then skip an epoch of the data.
        """
        loop = trainer.fit_loop
        if loop.restarted_on_epoch_end:
            loop.epoch_progress.increment_completed()
            loop.reset_restart_stage()
            loop.epoch_loop.restarting = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the stream of the epoch's beginning."""
        self._start_stream("epoch", trainer.global_rank, trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Starts the stream of one training batch."""
        self._start_stream("batch", trainer.global_rank, trainer.global_step, batch_idx)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the stream of one validation inside fit."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._start_stream("validation", trainer.global_rank, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Tells the run's seed."""
        return {"seed": self._seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the seed of the run that is resumed."""
        self._seed = state_dict["seed"]
        self._resumed = True

    def _start_stream(self, *place: int | str) -> None:
        seed = mix_seed(self._seed, *place)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
