"""`fit_recipe` runs what the command line would run, and says why it refuses."""

import os

import pytest
import torch

from graves_core import EMA, MNISTDataModule
from graves_core.testing import assert_safe_checkpoint, fit_recipe

RECIPE = """
model:
  class_path: module_of_sums.Sums
data:
  class_path: graves_core.MNISTDataModule
  init_args:
    batch_size: 64
trainer:
  accelerator: gpu
  devices: 8
  max_epochs: 100
  callbacks:
    - class_path: graves_core.EMA
"""

MODULE = """
from lightning.pytorch.demos.boring_classes import BoringModel
from graves_core.spec import Spec


class Sums(Spec, BoringModel):
    '''Learns from the sums of rows.

    Args:
        scale: of the loss.
    '''

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def training_step(self, batch, batch_idx):
        images, labels = batch
        rows = images.float().mean((1, 3))
        return {"loss": self.scale * self.layer(rows.repeat(1, 2)[:, :32]).square().mean()}

    validation_step = training_step

    def train_dataloader(self):
        raise AssertionError("the recipe's data are to be used")

    val_dataloader = train_dataloader
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe for eight GPUs, and the module in which its model lives."""
    (tmp_path / "module_of_sums.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "sums.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_fits_on_fake_data(recipe, tmp_path):
    before = os.environ.get("GRAVES_DATA")
    trainer = fit_recipe(recipe, ["--data.batch_size=8", "--model.scale=2"], tmp_path / "root")
    assert trainer.global_step == 1
    assert isinstance(trainer.datamodule, MNISTDataModule)
    assert (trainer.datamodule.batch_size, trainer.lightning_module.scale) == (8, 2.0)
    assert any(isinstance(callback, EMA) for callback in trainer.callbacks)
    assert os.environ.get("GRAVES_DATA") == before
    trainer.save_checkpoint(tmp_path / "sums.ckpt")
    rebuilt = assert_safe_checkpoint(tmp_path / "sums.ckpt")
    assert torch.equal(rebuilt.layer.weight, trainer.lightning_module.layer.weight)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--model.scail=2"], "sums.yaml does not fit: error: .*scail"),
        (["--model=Summs"], "sums.yaml does not fit: error: .*Summs"),
        (["--trainer.max_steps=0", "--trainer.fast_dev_run=false"], "sums.yaml did not train: .* no step"),
        (["--trainer.callbacks=null"], "sums.yaml hides its Trainer"),
    ],
)
def test_what_the_command_line_refuses_is_told(recipe, tmp_path, wrong, message):
    with pytest.raises(AssertionError, match=message):
        fit_recipe(recipe, wrong, tmp_path / "root")
