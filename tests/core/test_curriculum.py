"""The curriculum: when it raises the level, from which batch on, on all ranks, and after an interruption."""

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graves_core import Curriculum, ExactResume, ResumableLoader
from graves_core.testing import assert_exact_resume
from graves_core.testing.quiet import QUIET


class Rows:
    """Rows that tell the level at the moment when they are read."""

    def __init__(self, data, count):
        self.data = data
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.tensor([float(self.data.level), float(index)])


class Leveled(pl.LightningDataModule):
    """Data that have a level and do not save it."""

    def __init__(self, level=1, rows=8, batch_size=1):
        super().__init__()
        self.level = level
        self.rows = rows
        self.batch_size = batch_size

    def train_dataloader(self):
        return ResumableLoader(Rows(self, self.rows), self.batch_size, shuffle=False)


class Scripted(pl.LightningModule):
    """Logs given values, one per step and rank, and notes the levels that it sees."""

    def __init__(self, *values, log=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.values = values
        self.arguments = log or {}
        self.seen = []

    def training_step(self, batch, batch_idx):
        step, share = self.trainer.global_step, self.values[self.trainer.global_rank]
        self.log("score", torch.tensor(share[step % len(share)]), **self.arguments)
        self.seen.append(int(batch[0, 0]))
        return self.weight * batch.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Noted(Scripted):
    """Writes the levels that each rank sees."""

    def __init__(self, *values, folder):
        super().__init__(*values)
        self.folder = folder

    def on_train_end(self):
        torch.save(self.seen, self.folder / f"{self.trainer.global_rank}.pt")


class ByHand(Scripted):
    """Optimizes manually: several steps of the optimizer per batch, none in the second batch."""

    def __init__(self, *values):
        super().__init__(*values)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.log("score", torch.tensor(self.values[0][batch_idx]))
        self.seen.append(int(batch[0, 0]))
        for _ in range(0 if batch_idx == 1 else 3):
            self.optimizers().zero_grad()
            self.manual_backward(self.weight * batch.mean())
            self.optimizers().step()


def fit(module, curriculum, data=None, **arguments):
    batches = len(module.values[0]) if isinstance(module, Scripted) else 4
    data = data or Leveled(rows=batches)
    settings = QUIET | {"max_epochs": 1, "enable_checkpointing": False} | arguments
    trainer = pl.Trainer(**settings, callbacks=[curriculum])
    trainer.fit(module, data)
    return trainer


def by_the_rules(values, threshold, mode, rule, patience, max_level):
    """The levels of all batches and the one after the last, written as plainly as can be."""
    levels, passed = [1], []
    for value in values:
        passed.append(value < threshold if mode == "below" else value > threshold)
        level = levels[-1]
        if len(passed) >= patience and all(passed[-patience:]):
            passed = []
            level = level + 1 if rule == "add" else level * 2
            level = level if max_level is None else min(level, max_level)
        levels.append(level)
    return levels


@settings(max_examples=12)
@given(
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), min_size=1, max_size=8),
    mode=st.sampled_from(["below", "above"]),
    rule=st.sampled_from(["add", "double"]),
    patience=st.integers(1, 3),
    max_level=st.sampled_from([None, 1, 3]),
)
def test_level_rises_by_the_rules_and_holds_from_the_next_batch(values, mode, rule, patience, max_level):
    data, module = Leveled(rows=len(values)), Scripted(values)
    fit(module, Curriculum("score", 0.5, mode, rule, patience, max_level), data)
    assert [*module.seen, data.level] == by_the_rules(values, 0.5, mode, rule, patience, max_level)


@pytest.mark.parametrize(("mode", "passes"), [("below", 0.0), ("above", 1.0)])
def test_equal_to_the_threshold_and_nan_are_not_enough(mode, passes):
    module = Scripted([0.5, float("nan"), passes, 0.5])
    fit(module, Curriculum("score", 0.5, mode))
    assert module.seen == [1, 1, 1, 2]


def test_batches_in_a_row_are_counted_over_the_ends_of_epochs():
    module = Scripted([0.0] * 6)
    fit(module, Curriculum("score", 0.5, patience=4), Leveled(rows=3), max_epochs=2)
    assert module.seen == [1, 1, 1, 1, 2, 2]


def test_level_is_logged():
    trainer = fit(Scripted([0.0, 0.0, 1.0]), Curriculum("score", 0.5))
    assert float(trainer.callback_metrics["curriculum/level"]) == 3


@pytest.mark.parametrize("name", ["score", "score_step"])
def test_values_that_are_also_averaged_over_the_epoch_are_read_per_batch(name):
    module = Scripted([1.0, 0.0, 1.0, 0.0, 0.0], log={"on_step": True, "on_epoch": True})
    fit(module, Curriculum(name, 0.5))
    assert module.seen == [1, 1, 2, 2, 3]


def test_manual_optimization_counts_batches_and_not_steps():
    module = ByHand([0.0, 0.0, 1.0, 0.0])
    fit(module, Curriculum("score", 0.5, patience=2))
    assert module.seen == [1, 1, 2, 2]


class Skipping(Scripted):
    """Skips every other batch, from the first one on, and logs nothing in it."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) if batch_idx % 2 else self.seen.append(0)


def test_batches_that_are_skipped_do_not_count():
    module = Skipping([9.0, 0.0, 9.0, 0.0, 9.0, 9.0, 9.0, 0.0])
    fit(module, Curriculum("score", 1.0, patience=2))
    assert module.seen == [0, 1, 0, 1, 0, 2, 0, 2]


def test_ranks_decide_alike_by_the_mean_of_their_values(tmp_path, two_ranks):
    # means 0.4, 0.6, 0.45, 0.45; neither rank alone would decide so
    module = Noted([0.0, 0.9, 0.9, 0.0], [0.8, 0.3, 0.0, 0.9], folder=tmp_path)
    fit(module, Curriculum("score", 0.5), Leveled(rows=8), **two_ranks)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second == [1, 2, 2, 3]


class Learner(Scripted):
    """Its weight and its value depend on the levels that it saw, and a level comes every few batches."""

    def __init__(self):
        super().__init__([0.0])

    def training_step(self, batch, batch_idx):
        loss = (self.weight - batch[:, 0].mean()).square()
        self.log("score", loss.detach() % 1.0)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_run_takes_the_steps_of_the_uninterrupted_one(tmp_path, two_ranks, ranks):
    assert_exact_resume(
        Learner,
        lambda: Leveled(rows=5 * ranks),
        [1, 3, 4, 5, 8],
        12,
        tmp_path,
        lambda: [ExactResume(), Curriculum("score", 0.6, patience=2)],
        two_ranks if ranks == 2 else None,
    )
    last = torch.load(tmp_path / "whole" / "12.ckpt", weights_only=True)["callbacks"]["Curriculum"]
    assert last["level"] > 2


def test_a_second_fit_without_a_checkpoint_goes_on_at_the_level_of_the_data():
    curriculum, data = Curriculum("score", 0.5, patience=2), Leveled(rows=3)
    for seen in ([1, 1, 2], [2, 2, 3]):
        module = Scripted([0.0, 0.0, 0.0])
        fit(module, curriculum, data)
        assert module.seen == seen


def test_checkpoints_hold_plain_values(tmp_path):
    trainer = fit(Scripted([0.0, 0.0]), Curriculum("score", 0.5, patience=3), enable_checkpointing=True)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["callbacks"]["Curriculum"]
    assert state == {"level": 1, "passed": 2}


def test_a_value_that_is_not_logged_is_named():
    with pytest.raises(ValueError, match="no 'bits' after a training batch; log it in each") as error:
        fit(Scripted([0.0]), Curriculum("bits", 0.5))
    assert "score" in str(error.value)


def test_data_without_a_level_are_refused_before_training():
    module = Scripted([0.0])
    trainer = pl.Trainer(**QUIET, enable_checkpointing=False, callbacks=[Curriculum("score", 0.5)])
    with pytest.raises(TypeError, match="integer attribute `level`, got loaders without a DataModule"):
        trainer.fit(module, Leveled().train_dataloader())
    with pytest.raises(TypeError, match="integer attribute `level`, got LightningDataModule"):
        fit(module, Curriculum("score", 0.5), pl.LightningDataModule())
    assert module.seen == []


@pytest.mark.parametrize(
    ("level", "error", "message"),
    [
        (1.0, TypeError, "level of the data must be an integer, got 1.0"),
        (0, ValueError, r"level of the data must be at least 1, got 0"),
        (9, ValueError, r"level of the data must be at most 8 \(max_level\), got 9"),
    ],
)
def test_a_level_that_cannot_be_is_refused_before_training(level, error, message):
    with pytest.raises(error, match=message):
        fit(Scripted([0.0]), Curriculum("score", 0.5, max_level=8), Leveled(level))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": ""}, ValueError, "metric must be the name of a logged value, got ''"),
        ({"threshold": "0.1"}, TypeError, "threshold must be a number, got '0.1'"),
        ({"threshold": float("nan")}, ValueError, "threshold must be a number, got nan"),
        ({"mode": "under"}, ValueError, "mode must be 'below' or 'above', got 'under'"),
        ({"rule": "triple"}, ValueError, "rule must be 'add' or 'double', got 'triple'"),
        ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be an integer, got 1.5"),
        ({"max_level": 0}, ValueError, "max_level must be at least 1, got 0"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        Curriculum(**({"metric": "score", "threshold": 0.5} | arguments))
