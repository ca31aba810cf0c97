"""Recognition of label sequences in speech."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from graves_bayes.layers.ragged import RaggedBLSTM
from graves_core.spec import Spec

Batch = Mapping[str, Tensor]


class SequenceRecognizer(Spec, LightningModule):
    """A bidirectional LSTM with connectionist temporal classification (CTC), which needs no alignment.

    The loss of a batch is the mean of `-ln Pr(labels | inputs)` over its sequences. Logged in training,
    validation and test: `loss`, `bits_per_label`, and in the latter two `label_error`, edits over labels,
    of the best path. A code that knows nothing needs `log2(classes)` bits per label.

    Batches have `inputs` `(B, T, features)`, `lengths` `(B,)`, `labels` `(B, L)` and `label_lengths` `(B,)`.

    Args:
        input_size: features of a step.
        classes: labels are the whole numbers from 0 to `classes - 1`.
        hidden_size: units of each direction.
        num_layers: one above the other.
        optimizer: makes an optimizer from parameters.

    Raises:
        ValueError: when a number is less than 1.

    Source: Graves, Fernandez, Gomez and Schmidhuber 2006, "Connectionist temporal classification".

    Example:
        >>> model = SequenceRecognizer(input_size=4, classes=3, hidden_size=8)
        >>> batch = {"inputs": torch.zeros(2, 6, 4), "lengths": torch.tensor([6, 3])}
        >>> model(batch["inputs"], batch["lengths"]).shape
        torch.Size([2, 6, 4])
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        hidden_size: int = 64,
        num_layers: int = 1,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
    ) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes must be at least 1, got {classes}")
        self.classes = classes
        self.input_size = input_size
        self.optimizer = optimizer
        self.net = RaggedBLSTM(input_size, hidden_size, num_layers)
        self.output = nn.Linear(2 * hidden_size, classes + 1)

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when the data have other features or classes than the network.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        if spec is None:
            return
        if spec.kind != "sequence" or spec.shape != (self.input_size,):
            raise ValueError(f"input_size={self.input_size}, but the data are {spec.kind} {spec.shape}")
        if spec.classes != self.classes:
            raise ValueError(f"classes={self.classes}, but the data have {spec.classes}")

    def forward(
        self, inputs: Float[Tensor, "batch time features"], lengths: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch time classes_and_blank"]:
        """Log-probabilities of the labels and, last, of the blank."""
        scores: Tensor = self.output(self.net(inputs, lengths))
        return functional.log_softmax(scores.float(), -1)

    def losses(self, log_probs: Tensor, batch: Batch) -> Float[Tensor, " batch"]:
        """`-ln Pr(labels | inputs)` of each sequence; infinite where there are fewer steps than it takes."""
        return functional.ctc_loss(
            log_probs.transpose(0, 1),
            batch["labels"],
            batch["lengths"],
            batch["label_lengths"],
            blank=self.classes,
            reduction="none",
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of the sequences of a batch."""
        loss, bits, _ = self._step(batch, "train")
        self.log("train/bits_per_label", bits, prog_bar=True, batch_size=1)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs loss, bits and label error."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs loss, bits and label error."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> list[list[int]]:
        """The labels of each sequence."""
        return best_paths(self(batch["inputs"], batch["lengths"]), batch["lengths"])

    def configure_optimizers(self) -> Optimizer:
        """The optimizer over all parameters."""
        return self.optimizer(self.parameters())

    def _step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean loss of a sequence, bits of a label, log-probabilities."""
        log_probs = self(batch["inputs"], batch["lengths"])
        losses = self.losses(log_probs, batch)
        bits = losses.detach().sum() / batch["label_lengths"].sum() / math.log(2)
        self.log(f"{stage}/loss", losses.detach().mean(), batch_size=len(losses))
        return losses.mean(), bits, log_probs

    def _evaluate(self, batch: Batch, stage: str) -> None:
        _, bits, log_probs = self._step(batch, stage)
        found = best_paths(log_probs, batch["lengths"])
        edits, labels = label_errors(found, batch["labels"], batch["label_lengths"])
        self.log(f"{stage}/bits_per_label", bits, batch_size=labels)
        self.log(f"{stage}/label_error", edits / labels, batch_size=labels, prog_bar=True)


def best_paths(
    log_probs: Float[Tensor, "batch time classes_and_blank"], lengths: Int64[Tensor, " batch"]
) -> list[list[int]]:
    """The labels along the most probable path: repetitions count once, blanks (the last class) not at all.

    Example:
        >>> path = functional.one_hot(torch.tensor([[0, 0, 2, 0, 1, 1]]), 3).float()
        >>> best_paths(path, torch.tensor([6]))
        [[0, 0, 1]]
    """
    blank = log_probs.shape[-1] - 1
    best = log_probs.argmax(-1)
    kept = best != blank
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    kept &= torch.arange(best.shape[1], device=best.device) < lengths[:, None].to(best.device)
    rows = best.where(kept, blank).tolist()
    return [[label for label in row if label != blank] for row in rows]


def label_errors(
    found: list[list[int]], labels: Int64[Tensor, "batch most"], label_lengths: Int64[Tensor, " batch"]
) -> tuple[int, int]:
    """Edits that turn what was found into the labels, and how many labels there are.

    Example:
        >>> label_errors([[1, 2], [3]], torch.tensor([[1, 2, 2], [4, 0, 0]]), torch.tensor([3, 1]))
        (2, 4)
    """
    from torchmetrics.functional.text import edit_distance

    lengths = label_lengths.tolist()
    wanted = [row[:length] for row, length in zip(labels.tolist(), lengths, strict=True)]
    texts = [["".join(chr(label + 1) for label in row) for row in rows] for rows in (found, wanted)]
    return int(edit_distance(texts[0], texts[1], reduction="sum")), sum(lengths)
