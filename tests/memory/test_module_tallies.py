"""What evaluations count, in total and by groups."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from memory_models import QUIET, bits, classes, loader, make
from torch import Tensor

from graves_core import ResumableLoader
from graves_memory.module.answers import Scores
from graves_memory.module.memory import MemoryRNN
from graves_memory.module.tallies import Tally


def validated(model: MemoryRNN, *loaders: list[Any]) -> dict[str, float]:
    (logged, *_) = pl.Trainer(**QUIET).validate(model, [loader(one) for one in loaders], verbose=False)
    return logged


def wrong_bits(model: MemoryRNN, batch: dict[str, Tensor]) -> Tensor:
    """For each sequence."""
    wrong = ((model(batch)[0] > 0) != (batch["targets"] == 1)).sum(-1)
    return (wrong * batch["mask"]).sum(1).double()


def test_validation_counts_sequences_over_batches_of_different_sizes() -> None:
    model, batches = make(), [bits(rows=5), bits(rows=2, steps=7, seed=2)]
    logged = validated(model, batches)
    expected = torch.cat([wrong_bits(model, batch) for batch in batches])
    assert logged["val/wrong_bits"] == pytest.approx(expected.mean().item())
    assert logged["val/accuracy"] == pytest.approx(1 - expected.sum().item() / (5 * 4 * 3 + 2 * 6 * 3))
    assert logged["val/bits_per_sequence"] == pytest.approx(
        logged["val/loss"] / math.log(2) * (5 * 4 * 3 + 2 * 6 * 3) / 7, rel=1e-5
    )


def test_levels_are_told_apart() -> None:
    model, batches = make(), [bits(rows=3), bits(rows=3, steps=7, seed=2)]
    levels = [torch.tensor([4, 4, 6]), torch.tensor([6, 4, 6])]
    logged = validated(
        model, [batch | {"level": level} for batch, level in zip(batches, levels, strict=True)]
    )
    each = torch.cat([wrong_bits(model, batch) for batch in batches])
    for level in (4, 6):
        expected = each[torch.cat(levels) == level].mean().item()
        assert logged[f"val/wrong_bits_level_{level}"] == pytest.approx(expected)
    assert "val/wrong_bits_level_5" not in logged


def test_several_loaders_count_together() -> None:
    model, batches = make(), [bits(rows=5), bits(rows=2, seed=2)]
    assert validated(model, *[[batch] for batch in batches]) == pytest.approx(validated(model, batches))


def test_sights_are_told_apart_step_by_step() -> None:
    model, data = make(answers="classes"), classes(rows=4)
    data["sight"] = torch.tensor([[0, 0, 1, 0, 2]] * 4)
    data["targets"][:, 0] = 1
    logged = validated(model, [data])
    right = (model(data)[0].argmax(-1) == data["targets"]).double().mean(0)
    assert logged["val/accuracy_sight_1"] == pytest.approx(right[[0, 1, 3]].mean().item())
    assert logged["val/accuracy_sight_2"] == pytest.approx(right[2].item())
    assert logged["val/accuracy_sight_3"] == pytest.approx(right[4].item())
    assert "val/loss_sight_1" not in logged


def test_steps_of_no_group_count_in_total_only() -> None:
    ones, tally = torch.ones(1, 3), Tally()
    wrong = torch.tensor([[1.0, 0.0, 1.0]])
    tally.add(Scores(ones, wrong, ones), torch.ones(1), {"sight": torch.tensor([[-1, 0, 1]])})
    values = tally.values("classes", lambda table, how: table)
    assert values["error"] == pytest.approx(2 / 3)
    assert (values["accuracy_sight_1"], values["accuracy_sight_2"]) == (1, 0)


def test_tasks_have_an_error_each_and_fail_above_five_per_cent() -> None:
    due, tally = torch.ones(3, 20), Tally()
    wrong = torch.zeros(3, 20)
    wrong[0, :10] = wrong[1, 0] = 1  # tasks 7 and 2; 1 of 20 is not more than 5 per cent
    tally.add(Scores(due, wrong, due), torch.ones(3), {"task": torch.tensor([7, 2, 19])})
    values = tally.values("classes", lambda table, how: table)
    tasks = {name: value for name, value in values.items() if "task" in name}
    expected = {"error_task_2": 0.05, "error_task_7": 0.5, "error_task_19": 0.0}
    expected |= {"mean_task_error": 0.55 / 3, "failed_tasks": 1.0}
    assert tasks == pytest.approx(expected)


class Rows(torch.utils.data.Dataset[Any]):
    """Eight sequences, of which the ranks know different levels."""

    whole = bits(rows=8) | {"level": torch.tensor([1, 2, 1, 9, 1, 2, 1, 4])}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[index] for name, values in self.whole.items()}


class Keeps(pl.Callback):
    """Writes down what rank 0 has logged, for the process that forked it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            torch.save(dict(trainer.callback_metrics), self.file)


def test_two_ranks_log_what_one_does(tmp_path: Path) -> None:
    for devices, strategy in ((1, "auto"), (2, "ddp_fork")):
        keeps = Keeps(tmp_path / f"{devices}.pt")
        trainer = pl.Trainer(**QUIET | {"devices": devices, "strategy": strategy, "callbacks": [keeps]})
        trainer.validate(make(), ResumableLoader(Rows(), 4 // devices, shuffle=False), verbose=False)
    one, two = (torch.load(tmp_path / f"{devices}.pt", weights_only=True) for devices in (1, 2))
    assert {"val/wrong_bits_level_9", "val/loss_level_4", "val/accuracy"} <= set(one)
    torch.testing.assert_close(two, one)
