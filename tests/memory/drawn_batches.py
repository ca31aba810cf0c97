"""Batches as ranks and runs get them, and a tiny model that remembers which ones it saw."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from graves_core.testing.quiet import QUIET

TWO_RANKS = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}


class Guesser(pl.LightningModule):
    """Guesses each bit from the channels of the same step; the loss tells every batch from every other."""

    def __init__(self, channels, bits, folder=None):
        super().__init__()
        self.layer = nn.Linear(channels, bits)
        self.folder = folder
        self.batches = []

    def training_step(self, batch, batch_idx):
        if self.folder is not None:
            self.batches.append(batch)
        loss = nn.functional.binary_cross_entropy_with_logits(self.layer(batch["inputs"]), batch["targets"])
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", batch["inputs"].mean(), batch_size=1)

    def on_train_end(self):
        if self.folder is not None:
            torch.save(self.batches, self.folder / f"{self.global_rank}.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def seen(model, data, folder, ranks=1, callbacks=(), **arguments):
    """The batches of each rank in a run of one or two processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = QUIET | {"max_epochs": 1, "enable_checkpointing": False} | arguments
        trainer = pl.Trainer(**(settings | (TWO_RANKS if ranks == 2 else {})), callbacks=[*callbacks])
        trainer.fit(model, data)
    finally:
        torch.set_num_threads(threads)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def on_rank(rank, world, loader_of, *modules):
    """The batches that a rank would get, without processes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("graves_core.batches", *modules):
            patch.setattr(f"{module}.rank_and_world", lambda: (rank, world))
        return list(loader_of())


def equal(first, second):
    """Whether two batches are the same."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows(batch, places):
    """Some rows of a batch."""
    return {name: values[places] for name, values in batch.items()}
