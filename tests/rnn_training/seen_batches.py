"""Which training batches the ranks of a run see, and a tiny model that learns from them."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from graves_core.testing.quiet import QUIET

TWO_RANKS = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}


class Tagger(pl.LightningModule):
    """Guesses each target from the input of the same step, and writes the batches that it sees."""

    def __init__(self, symbols, classes, folder=None):
        super().__init__()
        self.table = nn.Embedding(symbols, classes)
        self.folder = folder
        self.batches = []

    def training_step(self, batch, batch_idx):
        if self.folder is not None:
            self.batches.append(batch)
        scores = self.table(batch["inputs"].long()).flatten(0, 1)
        loss = nn.functional.cross_entropy(scores, batch["targets"].flatten())
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", batch["inputs"].float().mean(), batch_size=1)

    def on_train_end(self):
        if self.folder is not None:
            torch.save(self.batches, self.folder / f"{self.global_rank}.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def seen(data, folder, ranks=1, callbacks=(), **arguments):
    """The batches of each rank in a run of one or two processes."""
    folder.mkdir(exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    try:
        settings = QUIET | {"max_epochs": 1, "enable_checkpointing": False} | arguments
        trainer = pl.Trainer(**(settings | (TWO_RANKS if ranks == 2 else {})), callbacks=[*callbacks])
        data.setup("fit")
        trainer.fit(Tagger(data.spec.levels, data.spec.classes, folder), data)
    finally:
        torch.set_num_threads(threads)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def on_rank(rank, world, loader_of):
    """The batches that a rank would get, without processes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("core.batches", "rnn_training.data.copying", "rnn_training.data.streams"):
            patch.setattr(f"graves_{module}.rank_and_world", lambda: (rank, world))
        return list(loader_of())


def equal(first, second):
    """Whether two batches are the same."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows(batch, places):
    """Some rows of a batch."""
    return {name: values[places] for name, values in batch.items()}
