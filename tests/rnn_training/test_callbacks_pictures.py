"""PredictionStrip leaves a picture of what it saw."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from online_models import QUIET

from graves_core.strips import Strip, strip_chart
from graves_rnn_training.callbacks import sequences
from graves_rnn_training.callbacks.sequences import PredictionStrip
from graves_rnn_training.data.copying import CopyDataModule

pytest.importorskip("matplotlib")


def test_the_strip_shows_inputs_targets_and_probabilities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[Any] = []

    def spy(strips: Any, title: str) -> torch.Tensor:
        found.append((strips, title))
        return strip_chart(strips, title)

    monkeypatch.setattr(sequences, "strip_chart", spy)
    trainer = pl.Trainer(
        **QUIET | {"default_root_dir": tmp_path, "max_epochs": 1, "callbacks": [PredictionStrip()]}
    )
    model = copy_model()
    data = CopyDataModule(batches_per_epoch=2, val_lengths=[3], val_sequences=2)
    trainer.fit(model, data)
    ((strips, title),) = found
    first = next(iter(data.val_dataloader()))
    shown = strips["inputs"].values.argmax(0)
    assert [strips["inputs"].symbols[i] for i in shown] == [data.spec.symbols[i] for i in first["inputs"][0]]
    assert strips["targets"].values[:, :4].sum() == 0
    probabilities = strips["predicted probabilities"].values
    assert probabilities[:, :4].sum() == 0
    expected = 0.0
    for step, target in enumerate(first["targets"][0, 4:].tolist(), start=4):
        row = strips["predicted probabilities"].symbols.index(str(target))
        expected -= float(probabilities[row, step].log2()) / 3
    assert title == f"{expected:.3g} bits per target"
    assert (tmp_path / "images" / f"predictions_step={trainer.global_step}.png").stat().st_size > 1000


def copy_model() -> Any:
    from graves_rnn_training.layers.cells.gru import GRUCell
    from graves_rnn_training.layers.encoders import OneHotEncoder
    from graves_rnn_training.layers.learners.snap import SnAp
    from graves_rnn_training.layers.readouts import LinearReadout
    from graves_rnn_training.module.online import OnlineRNN

    torch.manual_seed(0)
    return OnlineRNN(SnAp(GRUCell(4, 8)), LinearReadout(8, 2), OneHotEncoder(4))


def test_a_strip_is_as_high_as_its_rows_need() -> None:
    low = strip_chart({"a": Strip(torch.eye(3), "abc")}, "title")
    high = strip_chart({"a": Strip(torch.eye(3), "abc"), "b": Strip(torch.zeros(9, 3), "x" * 9)}, "title")
    assert low.shape[2] == high.shape[2] == 880
    assert high.shape[1] > low.shape[1] + 9 * 30


@pytest.mark.parametrize("argument", ["every_n_epochs", "steps"])
def test_wrong_arguments_of_the_strip_are_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, not 0"):
        PredictionStrip(**{argument: 0})
