"""What the callbacks of this folder have in common."""

from lightning.pytorch import Callback, LightningModule, Trainer

from graves_bfn.callbacks.models import FlowModel
from graves_bfn.codecs.base import Codec
from graves_bfn.samplers.base import Sampler


class FlowCallback(Callback):
    """Looks at a model with a flow, and refuses any other before the first batch.

    Args:
        codec: takes the place of the model's.
    """

    def __init__(self, codec: Codec | None = None) -> None:
        self.codec = codec

    def model(self, pl_module: LightningModule) -> FlowModel:
        """What the callback needs of the model.

        Raises:
            TypeError: naming what is missing.
        """
        return FlowModel(pl_module, self.codec, type(self).__name__)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the model lacks something.
        """
        self.model(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later; not in `setup`, because models may be made after it."""
        self.check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later."""
        self.check(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later."""
        self.check(trainer, pl_module)


class DrawingCallback(FlowCallback):
    """Draws after validation, from the same noise each time.

    Args:
        num_samples: how many to draw.
        num_steps: steps per sample; the model's `sample_steps` by default.
        every_n_epochs: draw after every so many epochs.
        seed: seed of the noise.
        sampler: how to generate; the model's by default.
        batch_size: how many to draw at a time; all at once by default.
        codec: takes the place of the model's.

    Raises:
        ValueError: when a number is less than 1.
    """

    def __init__(
        self,
        num_samples: int,
        num_steps: int | None,
        every_n_epochs: int,
        seed: int,
        sampler: Sampler | None,
        batch_size: int | None,
        codec: Codec | None,
    ) -> None:
        super().__init__(codec)
        check_positive(
            num_samples=num_samples, num_steps=num_steps, every_n_epochs=every_n_epochs, batch_size=batch_size
        )
        self.num_samples = num_samples
        self.num_steps = num_steps
        self.every_n_epochs = every_n_epochs
        self.seed = seed
        self.sampler = sampler
        self.batch_size = batch_size

    def is_due(self, trainer: Trainer) -> bool:
        """Whether to draw after this validation; always when it is no part of training."""
        last = trainer.state.fn != "fit" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return last and not trainer.sanity_checking


def check_positive(**numbers: int | None) -> None:
    """Refuses numbers that are less than 1; None is no number.

    Raises:
        ValueError: naming the argument.
    """
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
