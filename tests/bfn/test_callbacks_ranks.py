"""Two ranks give what one gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import Foreign, Rows, Table, files, images, table, trainer
from lightning.pytorch import Callback

from graves_bfn import (
    BFNLikelihood,
    BFNMarginals,
    BFNQuality,
    BFNSamples,
    MessageSampler,
    ODESolver,
)
from graves_bfn.callbacks.examples import Examples
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.callbacks.ranks import drawn, gathered
from graves_bfn.quality import FrechetQuality


@pytest.fixture
def two_ranks() -> Iterator[dict[str, Any]]:
    """Arguments of a Trainer with two processes on this machine's CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {"devices": 2, "strategy": "ddp_fork"}
    torch.set_num_threads(threads)


class Gather(Callback):
    """Writes what is gathered of the first batch of each rank."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        x = {"kind": batch["kind"], "sizes": batch["sizes"]}
        examples = Examples(x, batch["kind"][:, 0], {"kind": batch["kind"] > 0})
        whole = gathered(FlowModel(pl_module, None, "Test"), examples)
        if trainer.is_global_zero:
            torch.save(whole._asdict(), self.file)


def test_examples_of_all_ranks_stand_in_the_order_of_the_data(tmp_path: Path, two_ranks: Any) -> None:
    rows = table(7)  # one rank has four of them, the other three
    trainer(tmp_path, Gather(tmp_path / "all"), **two_ranks).test(Table(), Rows(rows, 4), verbose=False)
    whole = torch.load(tmp_path / "all", weights_only=True)
    kinds = torch.stack([row["kind"] for row in rows])
    assert torch.equal(whole["x"]["sizes"], torch.stack([row["sizes"] for row in rows]))
    assert torch.equal(whole["condition"], kinds[:, 0])
    assert torch.equal(whole["valid"]["kind"], kinds > 0)


class Draw(Callback):
    """Writes what is drawn where everything is padding: the examples themselves."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        x = torch.arange(7 * 64).view(7, 8, 8, 1)
        like = Examples(x, None, torch.zeros_like(x, dtype=torch.bool))
        whole = drawn(FlowModel(pl_module, None, "Test"), like, 1, None, 2, 0)
        if trainer.is_global_zero:
            torch.save(whole, self.file)


def test_what_ranks_draw_stands_in_the_order_of_the_examples(tmp_path: Path, two_ranks: Any) -> None:
    run = trainer(tmp_path, Draw(tmp_path / "all"), **two_ranks)
    run.test(Foreign(), Rows(images(torch.arange(4)), 2), verbose=False)
    whole = torch.load(tmp_path / "all", weights_only=True)
    assert torch.equal(whole, torch.arange(7 * 64).view(7, 8, 8, 1))


def test_qualities_do_not_depend_on_the_number_of_ranks(tmp_path: Path, two_ranks: Any) -> None:
    """13 examples; 6 samples in three batches, so that the ranks have unequal shares."""
    samplers = [MessageSampler(), ODESolver()]
    results = []
    for batch_size, settings in ((5, {}), (3, two_ranks)):
        torch.manual_seed(0)
        callback = BFNQuality(FrechetQuality(2), samplers, [2], 6, 2, shown=0, chart=False)
        run = trainer(tmp_path, callback, **settings)
        (logged,) = run.test(Table(), Rows(table(13), batch_size), verbose=False)
        results.append({name: value for name, value in logged.items() if "quality" in name})
    assert len(results[0]) == 3
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_marginals_do_not_depend_on_the_number_of_ranks(tmp_path: Path, two_ranks: Any) -> None:
    pytest.importorskip("matplotlib")
    results = []
    for batch_size, settings in ((5, {}), (3, two_ranks)):
        callback = BFNMarginals(num_samples=10, num_steps=2, batch_size=4)
        run = trainer(tmp_path, callback, **settings)
        (logged,) = run.validate(Table(), Rows(table(13), batch_size), verbose=False)
        results.append(logged)
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_all_callbacks_end_on_two_ranks_and_keep_one_of_each_file(tmp_path: Path, two_ranks: Any) -> None:
    callbacks = [
        BFNSamples(num_samples=3, num_steps=2, frames=0),
        BFNLikelihood(steps=[2]),
        BFNQuality(steps=[2], num_samples=3, chart=False, shown=2),
    ]
    run = trainer(tmp_path, *callbacks, **two_ranks)
    run.fit(Foreign(), Rows(images(torch.arange(9)), 2))
    run.test(Foreign(), Rows(images(torch.arange(9)), 2), verbose=False)
    kinds = sorted(name.partition("_step")[0] for name in files(tmp_path))
    assert kinds == ["quality", "quality_samples", "samples"]
