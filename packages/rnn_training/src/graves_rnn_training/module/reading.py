"""What a network says of sequences, without learning: validation, test and prediction."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from graves_rnn_training.layers.encoders import SymbolEncoder
from graves_rnn_training.layers.learners.base import Learner, OnlineState
from graves_rnn_training.layers.readouts import Readout
from graves_rnn_training.module.batches import IGNORED, Sequences, sequences


class ReadsSequences(LightningModule):
    """The part of `OnlineRNN` that reads, batch after batch where streams go on, and leaves training alone.

    Args:
        learner: makes the steps.
        readout: logits of classes from the output of the cell.
        encoder: inputs of the cell from symbols; without one, inputs are features already.

    Raises:
        ValueError: when the parts do not fit.
    """

    def __init__(self, learner: Learner, readout: Readout, encoder: SymbolEncoder | None) -> None:
        super().__init__()
        if encoder is not None and encoder.size != learner.input_size:
            raise ValueError(
                f"encoder has size={encoder.size}, but the learner's input_size is {learner.input_size}"
            )
        if readout.input_size != learner.hidden_size:
            raise ValueError(
                f"readout has input_size={readout.input_size}, but the learner's hidden_size is "
                f"{learner.hidden_size}"
            )
        self.learner = learner
        self.readout = readout
        self.encoder = encoder
        self._eval_state: OnlineState | None = None

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the loss per target."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the loss per target."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Int[Tensor, "batch time"]:
        """The most probable class at every step."""
        return self._read(sequences(batch, targets=False)).argmax(-1).T

    def on_validation_epoch_start(self) -> None:
        """Starts the streams of the evaluation anew."""
        self._eval_state = None

    def on_test_epoch_start(self) -> None:
        """Starts the streams of the evaluation anew."""
        self._eval_state = None

    def on_predict_epoch_start(self) -> None:
        """Starts the streams of the evaluation anew."""
        self._eval_state = None

    def _continued(self, state: OnlineState | None, data: Sequences) -> OnlineState:
        """The state after the batch before, but for sequences that start anew."""
        if state is None or data.reset is None:
            return self.learner.initial_state(data.size)
        if len(state.hidden) == data.size:
            return self.learner.reset(state, data.reset)
        if data.reset.all():
            return self.learner.initial_state(data.size)
        raise ValueError(
            f"{len(state.hidden)} streams are under way and cannot go on in a batch of {data.size} sequences"
        )

    def _encoded(self, inputs: Tensor) -> Tensor:
        return inputs if self.encoder is None else self.encoder(inputs)

    def _loss(self, logits: Float[Tensor, "batch classes"], data: Sequences, step: int) -> Float[Tensor, ""]:
        """The sum of -log p(target) over the targets of a step."""
        assert data.targets is not None
        return nn.functional.cross_entropy(logits, data.targets[step], ignore_index=IGNORED, reduction="sum")

    @torch.no_grad()
    def _read(self, data: Sequences) -> Float[Tensor, "time batch classes"]:
        """The logits of all steps, without learning and apart from the streams of training."""
        state, outputs = self._continued(self._eval_state, data), []
        for inputs in data.inputs:
            output, state = self.learner(self._encoded(inputs), state)
            outputs.append(output)
        self._eval_state = None if data.reset is None else state
        logits: Tensor = self.readout(torch.stack(outputs))
        return logits

    def _evaluate(self, batch: Any, stage: str) -> None:
        data = sequences(batch)
        assert data.targets is not None
        logits, classes = self._read(data).flatten(0, 1), data.targets.flatten()
        targets = int(data.counts().sum())
        total = nn.functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")
        loss = total / max(targets, 1)
        values = {f"{stage}/loss": loss, f"{stage}/bits_per_char": loss / math.log(2)}
        self.log_dict(values, prog_bar=True, on_epoch=True, sync_dist=True, batch_size=targets)
