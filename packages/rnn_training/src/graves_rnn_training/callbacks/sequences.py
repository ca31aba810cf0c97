"""One sequence after validation: what the network reads, what it should say, what it says."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from graves_core.media import log_images
from graves_core.plots import check_plots
from graves_core.strips import Strip, strip_chart
from graves_rnn_training.callbacks.models import LearningModel
from graves_rnn_training.module.batches import IGNORED, sequences


class PredictionStrip(Callback):
    """Draws one validation sequence: its inputs, its targets, and the probabilities that the network gives.

    Only symbols that occur have a row, and only steps with a target show what is predicted. Symbols are named
    by the `spec` of the DataModule, if it has one. Works in any LightningModule with a `learner`, a `readout`
    and perhaps an `encoder`, see `LearningModel`. Needs `pip install "graves-rnn-training[plots]"`.

    Args:
        every_n_epochs: draw after every so many epochs.
        steps: how many steps to draw, from the first one on.
        name: what the picture is called.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> PredictionStrip(steps=41).steps
        41
    """

    def __init__(self, every_n_epochs: int = 1, steps: int = 80, name: str = "predictions") -> None:
        for argument, value in {"every_n_epochs": every_n_epochs, "steps": steps}.items():
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, not {value}")
        self.every_n_epochs = every_n_epochs
        self.steps = steps
        self.name = name
        self._batch: dict[str, Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the module lacks something.
            ImportError: when nothing can be drawn.
        """
        LearningModel(pl_module, type(self).__name__)
        check_plots(type(self).__name__, "graves-rnn-training")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the first sequence."""
        if batch_idx == 0 and dataloader_idx == 0 and self._is_due(trainer):
            self._batch = {name: batch[name][:1, : self.steps] for name in ("inputs", "targets")}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, on every rank alike, and keeps the picture on the first."""
        if self._batch is None or not self._is_due(trainer):
            return
        batch, self._batch = self._batch, None
        model = LearningModel(pl_module, type(self).__name__)
        logits = torch.cat(list(model.logits(model.learner, batch)))
        data = sequences(batch)
        assert data.targets is not None
        picture = self._picture(data.inputs[:, 0], data.targets[:, 0], logits, _names(trainer))
        log_images(trainer, self.name, picture[None])

    def _is_due(self, trainer: Trainer) -> bool:
        last = trainer.state.fn != "fit" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return last and not trainer.sanity_checking

    def _picture(
        self,
        inputs: Int[Tensor, " time"] | Float[Tensor, "time features"],
        targets: Int[Tensor, " time"],
        logits: Float[Tensor, "time classes"],
        names: str | None,
    ) -> Tensor:
        bits = nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED) / math.log(2)
        said = torch.unique(targets[targets != IGNORED])
        strips = {
            "inputs": _features(inputs) if inputs.ndim == 2 else _strip(inputs, torch.unique(inputs), names),
            "targets": _strip(targets, said, names),
            "predicted probabilities": Strip(
                (logits.softmax(1)[:, said] * (targets != IGNORED)[:, None]).T, _texts(said, names)
            ),
        }
        return strip_chart(strips, f"{float(bits):.3g} bits per target")


def _strip(symbols: Int[Tensor, " time"], rows: Int[Tensor, " rows"], names: str | None) -> Strip:
    return Strip((rows[:, None] == symbols).float(), _texts(rows, names))


def _features(inputs: Float[Tensor, "time features"]) -> Strip:
    low, high = inputs.aminmax()
    scaled = (inputs - low) / (high - low).clamp(min=torch.finfo(inputs.dtype).tiny)
    return Strip(scaled.T, [str(feature) for feature in range(inputs.shape[1])])


def _texts(symbols: Int[Tensor, " rows"], names: str | None) -> Sequence[str]:
    shown = [str(symbol) if names is None else repr(names[symbol])[1:-1] for symbol in symbols.tolist()]
    return ["␣" if text == " " else text for text in shown]


def _names(trainer: Trainer) -> str | None:
    symbols = getattr(getattr(getattr(trainer, "datamodule", None), "spec", None), "symbols", None)
    return symbols if isinstance(symbols, str) else None
