"""OnlineRNN on two ranks computes what it computes on one."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from online_models import LEARNERS, QUIET, batch, make

from graves_core import ResumableLoader
from graves_core.testing import assert_same_gradients_ddp


@pytest.mark.parametrize("update_every", ["step", "sequence", 2])
@pytest.mark.parametrize("name", LEARNERS)
def test_two_ranks_compute_what_one_does(name: str, update_every: Any) -> None:
    data = batch(rows=10, silent=(1,))
    data["targets"][::2, 3] = -100  # the first rank has no target in this step
    data["targets"][3, 2] = -100
    assert_same_gradients_ddp(lambda: make(name, update_every=update_every), data)


class Rows(torch.utils.data.Dataset):
    """Batches of two sequences on each rank, of different lengths."""

    def __len__(self) -> int:
        return 4

    def __getitems__(self, indices: list[int]) -> Any:
        return batch(rows=len(indices), steps=3 + indices[0] % 2, seed=indices[0])


class Reductions(pl.Callback):
    """Counts how often gradients are reduced, and keeps what rank 0 counted."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.count = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def counted(state, bucket):
            self.count += 1
            done = torch.distributed.all_reduce(bucket.buffer().div_(2), async_op=True).get_future()
            return done.then(lambda future: future.value()[0])

        trainer.strategy.model.register_comm_hook(None, counted)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            torch.save((self.count, trainer.global_step), self.file)


def run(update_every: Any, file: Path) -> tuple[int, int]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = pl.Trainer(
            **(QUIET | {"devices": 2, "strategy": "ddp_fork", "max_epochs": 1}), callbacks=[Reductions(file)]
        )
        loader = ResumableLoader(Rows(), batch_size=2, shuffle=False, collate_fn=lambda rows: rows)
        trainer.fit(make(update_every=update_every), loader)
    finally:
        torch.set_num_threads(threads)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("update_every", "updates"), [("step", 4), ("sequence", 1), (2, 2)])
def test_gradients_are_reduced_once_per_update_whatever_the_lengths(
    update_every: Any, updates: int, tmp_path: Path
) -> None:
    """One batch, of three steps on one rank and of four on the other."""
    assert run(update_every, tmp_path / "count.pt") == (updates, updates)
