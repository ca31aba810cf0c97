"""What the callbacks for memories of images have in common: fixed images, and when to look at them."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graves_core.media import log_images
from graves_core.pictures import image_grid
from graves_memory.layers.network import check_sizes


class ProbeCallback(Callback):
    """Looks after validation and after a test at what a model makes of the first batch, the same each time.

    Args:
        every_n_epochs: look after every so many epochs.
        seed: of all that is drawn.
        name: what the pictures are called.

    Raises:
        ValueError: when a number is out of range.
    """

    methods: ClassVar[tuple[str, ...]] = ()
    """What the model must be able to do."""

    def __init__(self, every_n_epochs: int, seed: int, name: str) -> None:
        check_sizes({"every_n_epochs": every_n_epochs})
        self.every_n_epochs = every_n_epochs
        self.seed = seed
        self.name = name
        self._probe: Tensor | None = None

    @abstractmethod
    def show(
        self,
        trainer: Trainer,
        model: Any,
        images: UInt8[Tensor, "batch time channels height width"],
        stage: str,
    ) -> None:
        """Draws, on every rank alike, and logs.

        Args:
            trainer: the Trainer of the run.
            model: has all `methods`.
            images: the episodes of the first batch.
            stage: `"val"` or `"test"`.
        """

    def check(self, pl_module: LightningModule) -> None:
        """Refuses a model that lacks something.

        Raises:
            TypeError: naming the methods.
        """
        missing = [name for name in self.methods if not callable(getattr(pl_module, name, None))]
        if missing:
            raise TypeError(
                f"{type(self).__name__}: {type(pl_module).__name__} must have the methods "
                f"{', '.join(self.methods)}; it lacks {', '.join(missing)}"
            )

    def generator(self, pl_module: LightningModule) -> torch.Generator:
        """A source of random numbers of its own on the model's device, the same at each call."""
        return torch.Generator(pl_module.device).manual_seed(self.seed)

    def is_due(self, trainer: Trainer) -> bool:
        """Whether to look after this validation; always when it is no part of training."""
        last = trainer.state.fn != "fit" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return last and not trainer.sanity_checking

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later."""
        self.check(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later."""
        self.check(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later."""
        self.check(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the first batch."""
        self._remember(trainer, batch, batch_idx + dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the first batch."""
        self._remember(trainer, batch, batch_idx + dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at it, if it is time."""
        self._show(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at it."""
        self._show(trainer, pl_module, "test")

    def keep(
        self,
        trainer: Trainer,
        stage: str,
        image: UInt8[Tensor, "3 height width"],
        name: str | None = None,
    ) -> None:
        """Keeps a picture; those of a test have names of their own.

        Args:
            trainer: the Trainer of the run.
            stage: `"val"` or `"test"`.
            image: the picture.
            name: what it is called; the name of the callback by default.
        """
        name = name or self.name
        log_images(trainer, name if stage == "val" else f"{stage}_{name}", image[None])

    def _remember(self, trainer: Trainer, batch: Any, number: int) -> None:
        if number == 0 and self.is_due(trainer):
            self._probe = _images(batch, type(self).__name__)

    def _show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._probe is not None:
            with torch.no_grad():
                self.show(trainer, pl_module, self._probe, stage)
            self._probe = None


def picture(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Images with values from 0 to 1 as pixels, on the host."""
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def block(images: Float[Tensor, "count channels height width"], columns: int) -> UInt8[Tensor, "c h w"]:
    """Several images as one, with grey lines between."""
    return image_grid(picture(images), columns, padding=1, pad_value=160)


def _images(batch: Any, user: str) -> Tensor:
    images = batch.get("images") if isinstance(batch, dict) else None
    if not isinstance(images, Tensor) or images.ndim != 5:
        raise TypeError(
            f"{user} needs batches that hold episodes of images under 'images', (B, T, C, H, W), as those of "
            f"ImageEpisodesDataModule; got {type(batch).__name__}"
        )
    return images
