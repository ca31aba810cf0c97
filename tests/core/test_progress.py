"""ProgressChart leaves a picture of what was logged, and resumes."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from graves_core import ProgressChart, progress

pytest.importorskip("matplotlib")


class Counter(pl.LightningModule):
    """Logs the batches seen, ten times that, and its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        number = float(self.trainer.global_step + 1)
        self.log_dict({"train/batches": number, "train/tokens": 10 * number, "train/weight": self.weight})
        return self.weight * batch.mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def run(
    root: Path, *charts: pl.Callback, epochs: int = 1, path: Path | None = None, model: Counter | None = None
) -> pl.Trainer:
    """Trains on five batches per epoch."""
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": root}
    trainer = pl.Trainer(**quiet, max_epochs=epochs, callbacks=list(charts))
    data = DataLoader(torch.arange(1.0, 6.0))
    trainer.fit(model or Counter(), data, data if model else None, ckpt_path=path)
    return trainer


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the callback hands over to be drawn."""
    found: list[Any] = []

    def line_chart(curves: Any, *labels: Any) -> Tensor:
        found.append((curves, labels))
        return torch.zeros(3, 4, 4, dtype=torch.uint8)

    monkeypatch.setattr(progress, "line_chart", line_chart)
    return found


def test_the_chart_shows_logged_values_against_another_one(drawn: list[Any], tmp_path: Path) -> None:
    run(tmp_path, ProgressChart(["train/batches"], "train/tokens", every_n_batches=2))
    ((curves, labels),) = drawn
    assert labels == ("train/tokens", "batches")
    assert list(curves["train/batches"].x) == [20.0, 40.0, 50.0]
    assert list(curves["train/batches"].y) == [2.0, 4.0, 5.0]


def test_the_chart_counts_steps_of_the_optimizer_by_itself(drawn: list[Any], tmp_path: Path) -> None:
    run(tmp_path, ProgressChart(["train/tokens", "train/weight"], every_n_batches=2))
    ((curves, labels),) = drawn
    assert labels == ("step", "value")
    assert list(curves["train/tokens"].x) == [2.0, 4.0, 5.0]
    assert list(curves["train/tokens"].y) == [20.0, 40.0, 50.0]
    before = [1.0 - 0.5 * sum(range(1, batch)) for batch in (2, 4, 5)]
    assert list(curves["train/weight"].y) == before


def test_the_chart_ends_with_the_last_validation(drawn: list[Any], tmp_path: Path) -> None:
    class Validated(Counter):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("val/step", float(self.trainer.global_step))

    run(tmp_path, ProgressChart(["val/step"], every_n_batches=5), epochs=3, model=Validated())
    ((curves, _),) = drawn
    assert list(curves["val/step"].x) == [10.0, 15.0]
    assert list(curves["val/step"].y) == [5.0, 15.0]


def test_a_long_run_keeps_fewer_points(
    drawn: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(progress, "MOST", 3)
    run(tmp_path, ProgressChart(["train/batches"], every_n_batches=1))
    assert list(drawn[0][0]["train/batches"].x) == [2.0, 4.0, 5.0]


def test_a_resumed_run_draws_the_curve_of_both(drawn: list[Any], tmp_path: Path) -> None:
    for epochs, path in ((2, None), (1, None), (2, tmp_path / "last.ckpt")):
        chart = ProgressChart(["train/weight"], every_n_batches=1)
        run(tmp_path, chart, epochs=epochs, path=path).save_checkpoint(tmp_path / "last.ckpt")
    assert drawn[2] == drawn[0]
    assert len(drawn[0][0]["train/weight"].x) == 10


def test_the_picture_lies_in_the_folder_of_the_run(tmp_path: Path) -> None:
    run(tmp_path, ProgressChart(["train/weight"], every_n_batches=1, name="far"))
    assert (tmp_path / "images" / "far_step=5.png").stat().st_size > 1000


def test_nothing_logged_leaves_no_picture(drawn: list[Any], tmp_path: Path) -> None:
    none = ProgressChart(["no/such"], every_n_batches=1)
    run(tmp_path, none, ProgressChart(["train/weight"], "no/such", every_n_batches=1, name="other"))
    assert not drawn


def test_several_charts_keep_their_own_points(drawn: list[Any], tmp_path: Path) -> None:
    for epochs, path in ((1, None), (2, tmp_path / "last.ckpt")):
        charts = [
            ProgressChart([f"train/{name}"], every_n_batches=1, name=name) for name in ("batches", "weight")
        ]
        run(tmp_path, *charts, epochs=epochs, path=path).save_checkpoint(tmp_path / "last.ckpt")
    lengths = [{name: len(curve.x) for name, curve in curves.items()} for curves, _ in drawn]
    assert lengths == [{"train/batches": 5}, {"train/weight": 5}, {"train/batches": 10}, {"train/weight": 10}]


@pytest.mark.parametrize("wrong", [{"metrics": []}, {"metrics": ["a"], "every_n_batches": 0}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        ProgressChart(**wrong)
