"""What a memory of images makes up, beside what it holds."""

from collections.abc import Sequence
from typing import Any, ClassVar

from lightning.pytorch import Trainer
from torch import Tensor

from graves_core.sheets import WIDTH, labelled_sheet
from graves_memory.callbacks.probes import ProbeCallback, block
from graves_memory.layers.network import check_sizes

COLUMNS = 8
"""Images in a row of a block."""


class KanervaSamples(ProbeCallback):
    """Writes images into memories and shows samples from each memory beside the images that it holds.

    Samples are from random addresses, and then from what they are read as, again and again. Works in any
    LightningModule with the methods `prepare`, `write` and `generate` of `KanervaMachine`, on batches of
    `ImageEpisodesDataModule`. The first validation batch lends the images, the addresses are the same each
    time.

    Args:
        episodes: how many memories are shown, one below the other.
        num_samples: samples from each; None for as many as it holds images.
        iterations: after how many iterations samples are shown, in columns.
        every_n_epochs: draw after every so many epochs.
        seed: of the addresses.
        name: what the picture is called.

    Raises:
        ValueError: when a number is out of range.

    Source: Wu et al. 2018, on iterative sampling.

    Example:
        >>> KanervaSamples(iterations=[1, 12]).iterations
        [1, 12]
    """

    methods: ClassVar[tuple[str, ...]] = ("prepare", "write", "generate")

    def __init__(
        self,
        episodes: int = 2,
        num_samples: int | None = None,
        iterations: Sequence[int] = (1, 4, 12),
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "samples",
    ) -> None:
        super().__init__(every_n_epochs, seed, name)
        check_sizes({"episodes": episodes, "num_samples": 1 if num_samples is None else num_samples})
        if not iterations:
            raise ValueError("iterations must hold at least one number")
        for number in iterations:
            check_sizes({"iterations": number})
        self.episodes = episodes
        self.num_samples = num_samples
        self.iterations = sorted(iterations)

    def show(self, trainer: Trainer, model: Any, images: Tensor, stage: str) -> None:
        """Draws the sheet.

        Args:
            trainer: the Trainer of the run.
            model: has all `methods`.
            images: the episodes of the first batch.
            stage: `"val"` or `"test"`.
        """
        images = images[: self.episodes]
        generator = self.generator(model)
        memory = model.write(images, generator=generator)
        count = self.num_samples or images.shape[1]
        samples = model.generate(memory, count, self.iterations[-1], generator=generator)
        shown = [model.prepare(images), *(samples[number - 1] for number in self.iterations)]
        cells = [[block(column[row], COLUMNS) for column in shown] for row in range(len(images))]
        names = [f"memory {row + 1}" for row in range(len(images))]
        columns = ["images in the memory", *(f"samples, {_times(number)}" for number in self.iterations)]
        self.keep(trainer, stage, labelled_sheet(cells, names, columns, WIDTH // len(columns)))


def _times(number: int) -> str:
    return f"{number} iteration" + "s" * (number > 1)
