"""Five faults of Lightning's own EMA callback, as tests that it fails and ours passes."""

import pickle

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import LightningCLI, OptimizerCallable
from torch import nn

from graves_core import EMA, ResumableLoader

ROWS = torch.linspace(-1, 1, 32).reshape(32, 1)

fails = pytest.mark.xfail(strict=True, reason="a fault of the stock callback")


def both(ours, stock):
    """A test's two callbacks: ours passes, the stock one fails."""
    return pytest.mark.parametrize(
        "make", [pytest.param(ours, id="ours"), pytest.param(stock, id="stock", marks=fails)]
    )


class Line(pl.LightningModule):
    """A line with a counter, whose optimizer may come from the command line.

    Args:
        optimizer: makes the optimizer of the parameters.
    """

    def __init__(self, optimizer: OptimizerCallable = torch.optim.Adam):
        super().__init__()
        self.optimizer = optimizer
        self.net = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.validated, self.tested = None, None

    def training_step(self, batch, batch_idx):
        self.count += 1
        return (self.net(batch) - 3 * batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.validated = self.net[0].weight.detach().clone()

    def test_step(self, batch, batch_idx):
        self.tested = self.net[0].weight.detach().clone()

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


class Lines(pl.LightningDataModule):
    """Eight batches for training, and one for validation; a large data set is not to be copied."""

    def __deepcopy__(self, memo):
        raise AssertionError("the data set is copied")

    def train_dataloader(self):
        return ResumableLoader(ROWS, 4, shuffle=True)

    def val_dataloader(self):
        return ResumableLoader(ROWS, 32, shuffle=False)

    test_dataloader = val_dataloader


def trainer_with(*callbacks, **arguments):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": 1}
    return pl.Trainer(**(quiet | arguments), callbacks=list(callbacks))


@both(lambda: EMA(decay=0.999), lambda: EMAWeightAveraging(decay=0.999, update_starting_at_step=100))
def test_a_short_run_keeps_what_it_has_learned(make):
    """(a) Before its start step, the stock one validates the initial weights, and ends fit with them."""
    module = Line()
    initial = module.net[0].weight.detach().clone()
    trainer_with(make()).fit(module, datamodule=Lines())
    assert not torch.equal(module.validated, initial)
    assert not torch.equal(module.net[0].weight, initial)


@both(lambda: EMA(decay=0.999), lambda: EMAWeightAveraging(decay=0.999))
def test_counters_are_not_averaged(make):
    """(b) The stock one averages integer buffers."""
    module = Line()
    trainer_with(make()).fit(module, datamodule=Lines())
    assert module.count == 8
    assert module.net[1].num_batches_tracked == 8


@both(lambda: EMA(), lambda: EMAWeightAveraging())
def test_the_callback_pickles(make):
    """(c) The stock one cannot be sent to the processes of `ddp_spawn`."""
    pickle.dumps(make())


@both("graves_core.EMA", "lightning.pytorch.callbacks.EMAWeightAveraging")
def test_a_module_made_by_the_command_line_is_not_copied(make):
    """(d) The stock one deep-copies the module, and with its optimizer the trainer and the data set."""
    words = ["fit", "--model.optimizer=SGD", "--model.optimizer.lr=0.1", f"--trainer.callbacks={make}"]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False, "max_epochs": 1}
    LightningCLI(Line, Lines, args=words, save_config_callback=None, trainer_defaults=quiet)


@both(lambda: EMA(decay=0.999), lambda: EMAWeightAveraging(decay=0.999))
def test_an_interrupted_run_is_tested_with_an_average_that_left_the_start(make):
    """(e) The stock one knows no warm-up, and leaves `test` before the end of fit with the raw weights."""

    class Stop(pl.Callback):
        def on_train_end(self, trainer, pl_module):
            raise AssertionError("fit is to be interrupted before its end")

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 5:
                self.raw = pl_module.net[0].weight.detach().clone()
                raise KeyboardInterrupt

    module, stop = Line(), Stop()
    initial = module.net[0].weight.detach().clone()
    trainer = trainer_with(make(), stop)
    with pytest.raises(SystemExit):
        trainer.fit(module, datamodule=Lines())
    trainer.test(module, datamodule=Lines(), verbose=False)
    moved = (module.tested - initial).norm() / (stop.raw - initial).norm()
    assert 0.5 < moved < 1
