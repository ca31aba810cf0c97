"""`assert_safe_checkpoint` passes what loads anywhere and fails what does not."""

from fractions import Fraction
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from graves_core import EMA, ExactResume
from graves_core.spec import Spec
from graves_core.testing import assert_safe_checkpoint


class Described(Spec, BoringModel):
    """A module whose checkpoints say how to rebuild it."""

    def __init__(self, width: int = 2):
        super().__init__()
        self.extra = nn.Linear(width, width)


class Pickled(BoringModel):
    """A module that saves a live object as a hyperparameter, as Lightning proposes."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.save_hyperparameters()
        self.net = net


class Greedy(Described):
    """A module that puts an object into its checkpoint."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["sizes"] = [torch.Size([1]), torch.float32]


class Forgetful(Described):
    """A module that is rebuilt without its arguments."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["hyper_parameters"]["width"] = 5


def saved_by(module, folder):
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        max_steps=1,
        limit_val_batches=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[EMA(decay=0.5), ExactResume()],
    )
    trainer.fit(module)
    return Path(trainer.checkpoint_callback.best_model_path)


def test_a_described_module_is_rebuilt(tmp_path):
    module = Described(width=4)
    rebuilt = assert_safe_checkpoint(saved_by(module, tmp_path))
    assert type(rebuilt) is Described
    assert rebuilt.extra.in_features == 4
    assert torch.equal(rebuilt.layer.weight, module.layer.weight)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: Pickled(nn.Linear(1, 1)), "does not load with weights_only=True"),
        (lambda: BoringModel(), "does not rebuild its module"),
        (lambda: Forgetful(), "does not rebuild its module: .*size mismatch"),
        (lambda: Greedy(), r"more than tensors and plain values: checkpoint\['sizes'\]\[1\] is a dtype"),
    ],
    ids=["pickled", "bare", "forgetful", "greedy"],
)
def test_what_is_unsafe_is_named(tmp_path, module, message):
    path = saved_by(module(), tmp_path)
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        assert_safe_checkpoint(path)


def test_a_pickled_object_is_named(tmp_path):
    torch.save({"state_dict": {}, "ratio": Fraction(1, 3)}, tmp_path / "odd.ckpt")
    with pytest.raises(AssertionError, match=r"odd\.ckpt does not load with weights_only=True"):
        assert_safe_checkpoint(tmp_path / "odd.ckpt")
