"""How many images a memory holds before it gets worse."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from graves_core.plots import Curve, check_plots, line_chart
from graves_memory.callbacks.probes import ProbeCallback
from graves_memory.layers.network import check_sizes


class CapacityCurve(ProbeCallback):
    """Writes more and more images into one memory and shows the loss per image against their number.

    Works in any LightningModule with the method `losses` of `KanervaMachine`, on batches of
    `ImageEpisodesDataModule`. The images of the first validation batch are dealt out anew, one after another,
    into memories of each size, so that every size is measured on the same images, but for a rest smaller
    than one memory; sizes of which there are not enough images are left out. Logged is the mean over all
    ranks as `val/nelbo_of_<number>`, in nats per image; the picture is of rank 0, with standard errors over
    images. Needs `pip install "graves-memory[plots]"`.

    Args:
        patterns: numbers of images in a memory.
        levels: values to compare with, such as the loss of a model without memory, by name.
        every_n_epochs: look after every so many epochs.
        seed: of what the model draws.
        name: what the picture is called.

    Raises:
        ValueError: when there are no numbers, or one is less than 1.

    Source: Wu et al. 2018, on capacity.

    Example:
        >>> CapacityCurve([1, 8, 64], levels={"VAE": 17.9}).patterns
        [1, 8, 64]
    """

    methods: ClassVar[tuple[str, ...]] = ("losses",)

    def __init__(
        self,
        patterns: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
        levels: Mapping[str, float] | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "capacity",
    ) -> None:
        super().__init__(every_n_epochs, seed, name)
        if not patterns:
            raise ValueError("patterns must hold at least one number")
        for number in patterns:
            check_sizes({"patterns": number})
        self.patterns = sorted(patterns)
        self.levels = dict(levels or {})

    def check(self, pl_module: LightningModule) -> None:
        """Refuses a model that lacks something, and to begin where no chart can be drawn.

        Raises:
            TypeError: naming the methods.
            ImportError: naming the extra that is missing.
        """
        super().check(pl_module)
        check_plots(type(self).__name__, "graves-memory")

    def show(self, trainer: Trainer, model: Any, images: Tensor, stage: str) -> None:
        """Logs the losses and draws the curve.

        Args:
            trainer: the Trainer of the run.
            model: has all `methods`.
            images: the episodes of the first batch.
            stage: `"val"` or `"test"`.
        """
        points: list[tuple[int, float, float]] = []
        for number in self.patterns:
            losses = self._losses(model, images.flatten(0, 1), number)
            if losses is not None:
                model.log(f"{stage}/nelbo_of_{number}", losses.mean(), sync_dist=True)
                points.append(
                    (number, float(losses.mean()), float(losses.std(correction=0)) / len(losses) ** 0.5)
                )
        if points:
            x, y, error = (list(values) for values in zip(*points, strict=True))
            curves = {type(model).__name__: Curve(x, y, error)}
            chart = line_chart(
                curves, "images in the memory", "nats per image", log_x=True, levels=self.levels
            )
            self.keep(trainer, stage, chart)

    def _losses(self, model: Any, images: Tensor, number: int) -> Tensor | None:
        """The loss of each image, in memories of so many; None where there are too few."""
        memories = len(images) // number
        if memories < 1:
            return None
        dealt = images[: memories * number].reshape(memories, number, *images.shape[1:])
        losses: Tensor = model.losses(dealt, generator=self.generator(model)).nelbo
        return losses.flatten().float()
