"""A plain classifier of small images, which knows nothing of posteriors."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from graves_core.spec import Spec

Batch = Sequence[Tensor]


class ImageClassifier(Spec, LightningModule):
    """A perceptron that tells the class of an image.

    The loss is the mean of -ln p(label) over the batch. Logs `train/loss`, and in validation and test `loss`
    and `accuracy`. `predict` gives the probabilities of the classes. Batches are `[images, labels]`.

    Args:
        image_shape: (channels, height, width).
        classes: labels are the whole numbers from 0 to `classes - 1`.
        levels: pixels are the whole numbers from 0 to `levels - 1`.
        hidden: units of each hidden layer.
        optimizer: makes the optimizer from the parameters.

    Raises:
        ValueError: when a size is too small.

    Example:
        >>> model = ImageClassifier((1, 8, 8), classes=10, levels=17, hidden=[32])
        >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
        >>> model(images).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
        levels: int = 256,
        hidden: Sequence[int] = (100,),
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
    ) -> None:
        super().__init__()
        for name, value, least in (("classes", classes, 2), ("levels", levels, 2)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")
        sizes = [math.prod(image_shape), *hidden, classes]
        if min(sizes) < 1:
            raise ValueError(f"image_shape and hidden must be at least 1, not {image_shape} and {hidden}")
        self.image_shape = tuple(image_shape)
        self.classes = classes
        self.levels = levels
        self.optimizer = optimizer
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(classes, average="micro")

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when they do not fit.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        if spec is None:
            return
        if spec.kind != "image":
            raise ValueError(f"ImageClassifier is made for image data, but the DataModule yields {spec.kind}")
        mine = (self.image_shape, self.levels, self.classes)
        if mine != (spec.shape, spec.levels, spec.classes):
            raise ValueError(
                f"image_shape={self.image_shape}, levels={self.levels}, classes={self.classes}, but the data "
                f"have {spec.shape}, {spec.levels} and {spec.classes}"
            )

    def forward(
        self, images: Shaped[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch {self.classes}"]:
        """The logits of the classes."""
        pixels = images.flatten(1).to(self.dtype) / (self.levels - 1)
        logits: Tensor = self.layers(pixels)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss in nats per image."""
        loss = self._loss(self(batch[0]), batch[1])
        self.log("train/loss", loss.detach(), batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs loss and accuracy."""
        self._evaluate(batch, "val", self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs loss and accuracy."""
        self._evaluate(batch, "test", self.test_accuracy)

    def predict_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "batch {self.classes}"]:
        """The probabilities of the classes."""
        probabilities: Tensor = self(batch[0]).softmax(-1)
        return probabilities

    def configure_optimizers(self) -> Optimizer:
        """The optimizer over all parameters."""
        return self.optimizer(self.parameters())

    def _evaluate(self, batch: Batch, stage: str, accuracy: MulticlassAccuracy) -> None:
        logits = self(batch[0])
        accuracy(logits, batch[1])
        loss, count = self._loss(logits, batch[1]), len(batch[1])
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=count, sync_dist=True)
        self.log(f"{stage}/accuracy", accuracy, prog_bar=True, batch_size=count)

    def _loss(self, logits: Tensor, labels: Int64[Tensor, " batch"]) -> Tensor:
        return nn.functional.cross_entropy(logits.float(), labels)
