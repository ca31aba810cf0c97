"""What a memory makes of damaged images whose originals it holds."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from graves_memory.callbacks.damage import Damaged, occlude, salt_and_pepper
from graves_memory.callbacks.probes import ProbeCallback
from graves_memory.callbacks.reconstruction import reading_rows, sheet
from graves_memory.layers.network import check_sizes

Damage = Literal["salt_and_pepper", "occlusion"]
_KINDS: dict[Damage, Callable[[Tensor, float, torch.Generator], Damaged]] = {
    "salt_and_pepper": salt_and_pepper,
    "occlusion": occlude,
}


class Denoising(ProbeCallback):
    """Writes images into memories, damages them, and reads the memories by what is left, again and again.

    Works in any LightningModule with the methods `prepare`, `write` and `read` of `KanervaMachine`, on
    batches of `ImageEpisodesDataModule`. The first validation batch lends the images, and the damage is the
    same each time. Logged are the mean squared errors per pixel, between 0 and 1, over all images of the
    batch and all ranks: `val/<damage>_error_0` of the damaged images themselves, `val/<damage>_error_1` after
    the first reading, and so on. A picture per kind of damage shows images of the first episode.

    Args:
        damage: kinds of damage: pixels that are as bright or as dark as any, or a square painted over.
        noise: share of the pixels that salt and pepper change, in [0, 1].
        square: side of the square as a share of the image's, in [0, 1].
        iterations: how often each is read; what was read is what the next reading begins with.
        tell: whether the model is told how reliable each pixel is, as the argument `reliability` of `read`;
            for black and white images.
        num_images: how many images are shown.
        every_n_epochs: look after every so many epochs.
        seed: of the damage, and of what the model draws.
        name: what the pictures are called, before the kind of damage.

    Raises:
        ValueError: when a number is out of range, or a kind of damage is unknown.

    Source: Wu et al. 2018, on denoising.

    Example:
        >>> Denoising(["occlusion"], square=0.5).damage
        ['occlusion']
    """

    methods: ClassVar[tuple[str, ...]] = ("prepare", "write", "read")

    def __init__(
        self,
        damage: Sequence[Damage] = ("salt_and_pepper", "occlusion"),
        noise: float = 0.15,
        square: float = 0.4,
        iterations: int = 3,
        tell: bool = False,
        num_images: int = 12,
        every_n_epochs: int = 1,
        seed: int = 0,
        name: str = "denoising",
    ) -> None:
        super().__init__(every_n_epochs, seed, name)
        check_sizes({"iterations": iterations, "num_images": num_images})
        if not damage or set(damage) - set(_KINDS):
            raise ValueError(f"damage must hold 'salt_and_pepper', 'occlusion' or both, got {list(damage)}")
        for argument, share in (("noise", noise), ("square", square)):
            if not 0 <= share <= 1:
                raise ValueError(f"{argument} must lie in [0, 1], got {share}")
        self.damage = list(damage)
        self.noise = noise
        self.square = square
        self.iterations = iterations
        self.tell = tell
        self.num_images = num_images

    def show(self, trainer: Trainer, model: Any, images: Tensor, stage: str) -> None:
        """Logs the errors and draws a sheet per kind of damage.

        Args:
            trainer: the Trainer of the run.
            model: has all `methods`.
            images: the episodes of the first batch.
            stage: `"val"` or `"test"`.
        """
        generator = self.generator(model)
        memory = model.write(images, generator=generator)
        clean = model.prepare(images)
        for kind in self.damage:
            share = self.noise if kind == "salt_and_pepper" else self.square
            damaged, reliability = _KINDS[kind](images, share, generator)
            told = {"reliability": reliability} if self.tell else {}
            read = model.read(memory, damaged, self.iterations, generator=generator, **told)
            seen = model.prepare(damaged)
            for number, guess in enumerate([seen, *read]):
                error = (guess.float() - clean.float()).square().mean()
                model.log(f"{stage}/{kind}_error_{number}", error, sync_dist=True)
            rows = {"image": clean, "damaged": seen} | reading_rows(read)
            shown = {name: row[:1, : self.num_images] for name, row in rows.items()}
            self.keep(trainer, stage, sheet(shown), f"{self.name}_{kind}")
