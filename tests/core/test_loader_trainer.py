"""The loader under a Trainer: who sees which rows, in every loop, with the Trainer's default settings."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from graves_core import ResumableLoader

ROWS = 23


class Seen(BoringModel):
    """Writes the rows of every batch that it sees."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def note(self, loop, batch, batch_idx):
        torch.save(batch, self.folder / f"{loop}-{self.current_epoch}-{self.global_rank}-{batch_idx}.pt")

    def training_step(self, batch, batch_idx):
        self.note("fit", batch, batch_idx)
        return self.layer(batch.float()[:, None].expand(-1, 32)).square().mean()

    def validation_step(self, batch, batch_idx):
        self.note("validate", batch, batch_idx)

    def test_step(self, batch, batch_idx):
        self.note("test", batch, batch_idx)

    def predict_step(self, batch, batch_idx):
        self.note("predict", batch, batch_idx)

    def rows(self, loop, epoch=0):
        """The rows of an epoch, by batch and rank."""
        files = sorted(self.folder.glob(f"{loop}-{epoch}-*"), key=lambda file: file.stem.split("-")[::-1])
        return [torch.load(file).tolist() for file in files]


def loader(batch_size, shuffle=False, num_workers=0):
    return ResumableLoader(range(ROWS), batch_size, shuffle, num_workers=num_workers, drop_last=shuffle)


def trainer_with(**arguments):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False, "num_sanity_val_steps": 0, "max_epochs": 2}
    return pl.Trainer(**(quiet | arguments))


def flat(batches):
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("loop", ["validate", "test", "predict"])
def test_two_ranks_evaluate_every_row_once(tmp_path, two_ranks, loop):
    module, data = Seen(tmp_path), loader(3)
    getattr(trainer_with(**two_ranks), loop)(module, data)
    assert sorted(flat(module.rows(loop))) == list(range(ROWS))


def test_two_ranks_train_on_the_batches_of_one(tmp_path, two_ranks):
    one, two = Seen(tmp_path / "one"), Seen(tmp_path / "two")
    for module in (one, two):
        module.folder.mkdir()
    trainer_with().fit(one, loader(8, shuffle=True), loader(8))
    trainer_with(**two_ranks).fit(two, loader(4, shuffle=True), loader(4))
    for epoch in (0, 1):
        alone, together = one.rows("fit", epoch), two.rows("fit", epoch)
        assert len(alone) == 2
        assert together == [batch[rank::2] for batch in alone for rank in (0, 1)]
    assert one.rows("fit", 0) != one.rows("fit", 1)
    assert sorted(flat(two.rows("validate", 1))) == list(range(ROWS))


def test_epochs_differ_when_they_are_cut_short(tmp_path):
    module = Seen(tmp_path)
    trainer_with(limit_train_batches=2).fit(module, loader(4, shuffle=True))
    assert len(module.rows("fit", 0)) == len(module.rows("fit", 1)) == 2
    assert module.rows("fit", 0) != module.rows("fit", 1)


def test_the_same_batches_are_overfitted(tmp_path):
    module = Seen(tmp_path)
    trainer_with(overfit_batches=2).fit(module, loader(4))
    assert module.rows("fit", 0) == module.rows("fit", 1) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_workers_end_with_the_run(tmp_path):
    data = loader(4, num_workers=1)
    trainer_with().fit(Seen(tmp_path), data)
    assert data._iterator is None
