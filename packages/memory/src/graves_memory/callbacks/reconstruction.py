"""What a memory gives back of the images that it holds, reading after reading."""

from typing import Any, ClassVar

from lightning.pytorch import Trainer
from torch import Tensor

from graves_core.sheets import labelled_sheet
from graves_memory.callbacks.probes import ProbeCallback, picture
from graves_memory.layers.network import check_sizes


class ReadIterations(ProbeCallback):
    """Writes images into a memory and shows them, and below them what is read, first by them and then again.

    Works in any LightningModule with the methods `prepare`, `write` and `read` of `KanervaMachine`, on
    batches of `ImageEpisodesDataModule`. The first episode of the first validation batch is written as a
    whole.

    Args:
        num_images: how many of its images are shown.
        iterations: how often each is read; what was read is what the next reading begins with.
        every_n_epochs: draw after every so many epochs.
        seed: of what the model draws.
        name: what the picture is called.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> ReadIterations(iterations=3).name
        'reconstructions'
    """

    methods: ClassVar[tuple[str, ...]] = ("prepare", "write", "read")

    def __init__(
        self,
        num_images: int = 12,
        iterations: int = 4,
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "reconstructions",
    ) -> None:
        super().__init__(every_n_epochs, seed, name)
        check_sizes({"num_images": num_images, "iterations": iterations})
        self.num_images = num_images
        self.iterations = iterations

    def show(self, trainer: Trainer, model: Any, images: Tensor, stage: str) -> None:
        """Draws the sheet.

        Args:
            trainer: the Trainer of the run.
            model: has all `methods`.
            images: the episodes of the first batch.
            stage: `"val"` or `"test"`.
        """
        generator = self.generator(model)
        memory = model.write(images[:1], generator=generator)
        shown = images[:1, : self.num_images]
        read = model.read(memory, shown, self.iterations, generator=generator)
        rows = {"image": model.prepare(shown)} | reading_rows(read)
        self.keep(trainer, stage, sheet(rows))


def reading_rows(read: list[Tensor]) -> dict[str, Tensor]:
    """The readings with their names."""
    return {f"reading {number}": images for number, images in enumerate(read, start=1)}


def sheet(rows: dict[str, Tensor]) -> Tensor:
    """A sheet with a row for the first episode of each `(B, T, C, H, W)`, with values from 0 to 1."""
    cells = [list(picture(images[0])) for images in rows.values()]
    return labelled_sheet(cells, list(rows), [""] * len(cells[0]))
