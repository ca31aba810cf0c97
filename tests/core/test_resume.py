"""`ExactResume` and `ResumableLoader`: a killed run ends like one that was not."""

import random

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn

from graves_core import EMA, ExactResume, ResumableLoader
from graves_core.testing import assert_exact_resume

# ruff: noqa: NPY002 -- numpy's global generator is what is tested


class Rows:
    """Rows of noise that depend on numpy's and Python's generators, too."""

    def __len__(self):
        return 22

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        jitter = torch.randn(()) + np.random.rand() + random.random()
        return torch.randn(6, generator=generator) + 0.1 * jitter


class Net(pl.LightningModule):
    """Dropout, noise, a schedule, and validation that draws."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        return self.net(batch + torch.randn_like(batch)).square().mean() * (1 + random.random())

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.net(batch + torch.randn_like(batch)).square().mean())

    def on_train_epoch_end(self):
        torch.rand(3)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Data(pl.LightningDataModule):
    """Training and validation loaders of a few rows."""

    def __init__(self, num_workers=0, batch_size=4):
        super().__init__()
        self.num_workers = num_workers
        self.batch_size = batch_size

    def train_dataloader(self):
        return ResumableLoader(
            Rows(), self.batch_size, shuffle=True, drop_last=True, num_workers=self.num_workers
        )

    def val_dataloader(self):
        return ResumableLoader(Rows(), self.batch_size, shuffle=False)


class Stock(Data):
    """The same rows by torch's loader."""

    def train_dataloader(self):
        return torch.utils.data.DataLoader(Rows(), 4, shuffle=True)


def callbacks():
    return [ExactResume(), EMA(decay=0.9)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, num_workers):
    # epochs have 5 batches; steps 5 and 10 are ends of epochs
    assert_exact_resume(Net, lambda: Data(num_workers), [1, 3, 5, 7, 10], 12, tmp_path, callbacks)


@pytest.mark.parametrize(
    "trainer_args",
    [
        {"accumulate_grad_batches": 2},
        {"val_check_interval": 2},
        {"limit_train_batches": 3},
        {"check_val_every_n_epoch": 2, "gradient_clip_val": 0.1},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_resume_is_exact_under_other_settings_of_the_trainer(tmp_path, trainer_args):
    assert_exact_resume(Net, Data, [1, 2, 3, 4, 6, 7], 9, tmp_path, callbacks, trainer_args)


@pytest.mark.parametrize(
    ("moment", "trainer_args"),
    [
        ("validation", {}),
        ("epoch", {}),
        ("epoch", {"limit_val_batches": 0}),
        ("validation", {"max_epochs": 3, "max_steps": -1}),
        ("epoch", {"max_epochs": 3, "max_steps": -1}),
    ],
)
def test_resume_is_exact_from_ends_of_epochs(tmp_path, moment, trainer_args):
    assert_exact_resume(Net, Data, [5, 10], 15, tmp_path, callbacks, trainer_args, moment)


def test_resume_is_exact_from_validations_inside_an_epoch(tmp_path):
    settings = {"val_check_interval": 2}
    assert_exact_resume(Net, Data, [2, 4, 7], 12, tmp_path, callbacks, settings, moment="validation")


def test_resume_is_exact_on_two_ranks(tmp_path, two_ranks):
    assert_exact_resume(Net, lambda: Data(batch_size=2), [2, 5, 7], 8, tmp_path, callbacks, two_ranks)


def test_stock_loader_is_not_resumed_exactly(tmp_path):
    with pytest.raises(AssertionError, match="at step 6, resumed after step 3"):
        assert_exact_resume(Net, Stock, [3], 6, tmp_path, callbacks)


def test_without_the_callback_random_numbers_are_lost(tmp_path):
    with pytest.raises(AssertionError, match="at step 6, resumed after step 3"):
        assert_exact_resume(Net, Data, [3], 6, tmp_path, lambda: [EMA(decay=0.9)])


def test_a_counter_outside_the_checkpoint_is_noticed(tmp_path):
    class Forgetful(Net):
        steps = 0

        def training_step(self, batch, batch_idx):
            self.steps += 1
            return super().training_step(batch, batch_idx) * self.steps

    with pytest.raises(AssertionError, match=r"at step 6, resumed after step 3: checkpoint\['state_dict'\]"):
        assert_exact_resume(Forgetful, Data, [3], 6, tmp_path, callbacks)


def test_a_run_that_ends_too_early_is_noticed(tmp_path):
    with pytest.raises(AssertionError, match="never reached the end of a batch at step 9"):
        assert_exact_resume(Net, Data, [3], 9, tmp_path, callbacks, {"max_epochs": 1})


@pytest.mark.parametrize("steps", [[0, 3], [3, 3], [4, 2], [9]])
def test_steps_of_kills_must_rise(tmp_path, steps):
    with pytest.raises(ValueError, match="kill_at_steps must rise from 1 to less than 9"):
        assert_exact_resume(Net, Data, steps, 9, tmp_path, callbacks)


class Recorder(pl.Callback):
    """Writes what each rank draws in each training step."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, *_):
        drawn = torch.rand(()).item(), float(np.random.rand()), random.random()
        torch.save(drawn, self.folder / f"{trainer.global_rank}-{trainer.global_step}.pt")


def test_ranks_draw_from_streams_of_their_own(tmp_path, two_ranks):
    pl.seed_everything(3, verbose=False)
    arguments = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    recorder = Recorder(tmp_path)
    trainer = pl.Trainer(
        **arguments, **two_ranks, max_steps=4, enable_model_summary=False, callbacks=[ExactResume(), recorder]
    )
    trainer.fit(Net(), Data(batch_size=2))
    drawn = [number for file in tmp_path.iterdir() for number in torch.load(file)]
    assert len(drawn) == len(set(drawn)) == 2 * 4 * 3


def fit(callback, seed=None):
    if seed is not None:
        pl.seed_everything(seed, verbose=False)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = pl.Trainer(
        **quiet, accelerator="cpu", enable_model_summary=False, max_steps=1, callbacks=[callback]
    )
    trainer.fit(Net(), Data())
    return trainer


def test_the_seed_of_the_run_follows_seed_everything():
    def seed_of(seed):
        callback = ExactResume()
        fit(callback, seed)
        return callback.state_dict()

    assert seed_of(1) == seed_of(1) != seed_of(2)


def test_a_second_run_draws_other_numbers_than_the_first():
    callback = ExactResume()
    fit(callback, 1)
    first = callback.state_dict()
    fit(callback)
    assert callback.state_dict() != first


def test_evaluating_a_checkpoint_does_not_seed_a_later_fit(tmp_path):
    callback = ExactResume()
    trainer = fit(callback, 1)
    first = callback.state_dict()
    trainer.save_checkpoint(tmp_path / "first.ckpt")
    trainer.validate(Net(), Data(), ckpt_path=tmp_path / "first.ckpt", verbose=False)
    fit(callback)
    assert callback.state_dict() != first
