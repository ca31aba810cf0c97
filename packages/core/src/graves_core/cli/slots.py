"""The top keys of an experiment file."""

from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_core.cli.classes import parameters

SLOTS: dict[str, type] = {
    "model": LightningModule,
    "data": LightningDataModule,
    "optimizer": Optimizer,
    "lr_scheduler": LRScheduler,
}


def run_arguments(*words: str) -> dict[str, Any]:
    """The types of the top keys that are arguments of `Trainer.fit` and its siblings.

    Args:
        words: some of fit, validate, test and predict; all of them by default.
    """
    found = {}
    for word, left_out in LightningCLI.subcommands().items():
        if word in words or not words:
            named, hints, _ = parameters(getattr(Trainer, word))
            found.update({name: hints.get(name, Any) for name in named if name not in left_out})
    return found
