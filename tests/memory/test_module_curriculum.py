"""MemoryRNN, the tasks and the curriculum together: a killed run goes on in the middle of everything."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from memory_models import BITS, NETS

from graves_core import Curriculum, ExactResume
from graves_core.testing import assert_exact_resume
from graves_memory.data.generated import TaskDataModule
from graves_memory.data.tasks.copying import CopyTask
from graves_memory.module.memory import MemoryRNN


def model(name: str) -> MemoryRNN:
    net = NETS[name](BITS + 2, BITS)
    return MemoryRNN(net, optimizer=partial(torch.optim.Adam, lr=0.01))


def data(chunk: int | None) -> TaskDataModule:
    sizes: dict[str, Any] = {"batch_size": 2, "batches_per_epoch": 7, "val_sequences": 3}
    return TaskDataModule(CopyTask(BITS), level=1, chunk=chunk, val_levels=[2, 3], **sizes)


def callbacks() -> list[pl.Callback]:
    return [ExactResume(), Curriculum("train/loss", threshold=0.75, patience=3, rule="double")]


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("name", ["ntm", "sam"])
def test_a_killed_run_goes_on_in_mid_curriculum(name: str, chunk: int | None, tmp_path: Path) -> None:
    assert_exact_resume(
        partial(model, name),
        partial(data, chunk),
        kill_at_steps=[4, 7, 12],
        max_steps=17,
        root=tmp_path,
        make_callbacks=callbacks,
        trainer_args={"val_check_interval": 5},
    )
    saved = [torch.load(tmp_path / "whole" / f"{step}.ckpt", weights_only=True) for step in (4, 12)]
    levels = [checkpoint["TaskDataModule"]["level"] for checkpoint in saved]
    assert levels[0] < levels[1]
