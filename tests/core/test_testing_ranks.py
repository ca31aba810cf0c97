"""`assert_same_gradients_ddp` passes what is equal over ranks and fails what is not."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from graves_core.testing import assert_same_gradients_ddp


class Net(pl.LightningModule):
    """Draws noise, drops out, and takes the mean over examples."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 2))

    def training_step(self, batch, batch_idx):
        values, labels = batch["values"], batch["labels"]
        return nn.functional.cross_entropy(self.net(values + torch.randn_like(values)), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Manual(Net):
    """The same step by manual optimization."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


class Sum(Net):
    """Sums over examples, which ranks then average."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * len(batch["labels"])


class Flat(Net):
    """Draws the noise of all examples as one long row of numbers."""

    def training_step(self, batch, batch_idx):
        batch["values"] = batch["values"] + torch.randn(batch["values"].numel()).view_as(batch["values"])
        return super().training_step(batch, batch_idx)


class Normalised(Net):
    """Normalises over the examples of one rank, and counts."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.BatchNorm1d(5), self.net)


def batch(rows=6):
    return {"values": torch.randn(rows, 5), "labels": torch.arange(rows) % 2}


@pytest.mark.parametrize("make_module", [Net, Manual])
def test_a_mean_over_examples_is_the_same_on_two_ranks(make_module):
    assert_same_gradients_ddp(make_module, batch())


def test_three_ranks_and_closures_work():
    assert_same_gradients_ddp(lambda: Net(), batch(), world=3)


@pytest.mark.parametrize("make_module", [Sum, Normalised])
def test_what_depends_on_the_share_is_found(make_module):
    with pytest.raises(AssertionError, match=r"2 ranks and one process disagree: .* by"):
        assert_same_gradients_ddp(make_module, batch())


def test_random_draws_are_shared_out(monkeypatch):
    assert_same_gradients_ddp(Flat, batch())
    monkeypatch.setattr("graves_core.testing.ranks.GlobalDraws.__torch_dispatch__", plain)
    with pytest.raises(AssertionError, match="2 ranks and one process disagree"):
        assert_same_gradients_ddp(Net, batch())


def plain(self, func, types, args=(), kwargs=None):
    return func(*args, **(kwargs or {}))


def test_a_step_without_gradients_is_refused():
    class Idle(Manual):
        def training_step(self, batch, batch_idx):
            return None

    with pytest.raises(ValueError, match="computed no gradient"):
        assert_same_gradients_ddp(Idle, batch())


def test_ranks_must_divide_the_batch():
    with pytest.raises(ValueError, match="got world=2 and 5 examples"):
        assert_same_gradients_ddp(Net, batch(5))
