"""What models of images with a memory and without have in common: training, evaluation, what is logged."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_core.spec import Spec
from graves_memory.layers.images.base import ImageDecoder, ImageEncoder
from graves_memory.layers.images.likelihoods import PixelLikelihood

Episodes = UInt8[Tensor, "batch items channels height width"]
Pixels = Float[Tensor, "batch items channels height width"]


class EpisodeLosses(NamedTuple):
    """The terms of the bound, in nats.

    Attributes:
        reconstruction: -ln p(x | z), `(batch, items)`.
        kl_z: of codes, `(batch, items)`.
        kl_y: of addresses, `(batch, items)`; zero where there are none.
        kl_memory: of the memory, `(batch,)`, once for an episode; None where it is not asked for.
        autoencoder: -ln p(x | e(x)) of models that are trained with it as well, `(batch, items)`; not in the
            bound.

    Example:
        >>> one = torch.ones(2, 3)
        >>> EpisodeLosses(one, one, one).nelbo[0, 0]
        tensor(3.)
    """

    reconstruction: Tensor
    kl_z: Tensor
    kl_y: Tensor
    kl_memory: Tensor | None = None
    autoencoder: Tensor | None = None

    @property
    def nelbo(self) -> Tensor:
        """-ELBO of each image given the memory, `(batch, items)`."""
        return self.reconstruction + self.kl_z + self.kl_y


class ImageEpisodeModel(Spec, LightningModule, ABC):
    """Base of models of episodes of images: a subclass says what they cost.

    Batches are dicts with `images`, uint8 `(batch, items, channels, height, width)`.

    Logs `loss`, what is minimised, with `train/` before it in training; and `nelbo` (nats per image, given
    the memory where there is one), `reconstruction`, `kl_z` and the other terms with `train/`, `val/` or
    `test/`. With `LogisticPixels` also `bits_per_dim`.

    Args:
        encoder: features of images.
        decoder: outputs from codes.
        likelihood: what outputs mean, and what is modelled of the images.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
        eval_seed: seed of what is drawn in validation and test, the same in every epoch.

    Raises:
        ValueError: when the parts do not fit.

    Example:
        >>> from graves_memory import ImageVAE
        >>> issubclass(ImageVAE, ImageEpisodeModel)
        True
    """

    terms: tuple[str, ...] = ("reconstruction", "kl_z")
    """Which of the losses are logged."""

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: ImageDecoder,
        likelihood: PixelLikelihood,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None,
        eval_seed: int,
    ) -> None:
        super().__init__()
        if encoder.image_shape != decoder.image_shape:
            raise ValueError(
                f"decoder has image_shape={decoder.image_shape}, but the encoder has {encoder.image_shape}"
            )
        if decoder.outputs_per_value != likelihood.outputs_per_value:
            raise ValueError(
                f"decoder has outputs_per_value={decoder.outputs_per_value}, but "
                f"{type(likelihood).__name__} needs {likelihood.outputs_per_value}"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.eval_seed = eval_seed
        self._eval_generator: torch.Generator | None = None

    def setup(self, stage: str) -> None:
        """Compares the networks with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when they do not fit.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        if spec is None:
            return
        if spec.kind != "image":
            raise ValueError(
                f"{type(self).__name__} is made for image data, but the DataModule yields {spec.kind}"
            )
        if spec.shape != self.encoder.image_shape:
            raise ValueError(
                f"encoder has image_shape={self.encoder.image_shape}, but the images have {spec.shape}"
            )
        if spec.levels != self.likelihood.levels:
            raise ValueError(
                f"{type(self.likelihood).__name__} was given levels={self.likelihood.levels}, but the "
                f"DataModule's values have {spec.levels} levels"
            )

    @abstractmethod
    def losses(self, images: Episodes, generator: torch.Generator | None = None) -> EpisodeLosses:
        """What each image costs, and each memory.

        Args:
            images: the episodes.
            generator: the source of all that is drawn; torch's global one by default.
        """

    def objective(self, losses: EpisodeLosses) -> Float[Tensor, ""]:
        """What training minimises: the mean over all images.

        Args:
            losses: of the episodes.
        """
        return losses.nelbo.mean()

    def prepare(self, images: Episodes, generator: torch.Generator | None = None) -> Pixels:
        """What is modelled of images, in [0, 1]: black and white ones, or as they are.

        Args:
            images: as the DataModule yields them.
            generator: the source of the draw, where binarisation is stochastic.
        """
        return self.likelihood.prepare(images, generator)

    def decode(self, codes: Float[Tensor, "batch items code"]) -> Pixels:
        """The expected images, in [0, 1].

        Args:
            codes: z.
        """
        return self.likelihood.mean(self._outputs(codes))

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch of episodes."""
        losses = self.losses(batch["images"])
        loss = self.objective(losses)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch["images"]))
        self._log("train", losses, on_epoch=False)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Starts the draws of the evaluation anew."""
        self._restart_evaluation()

    def on_test_epoch_start(self) -> None:
        """Starts the draws of the evaluation anew."""
        self._restart_evaluation()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Logs the bound."""
        self._log("val", self.losses(batch["images"], self._eval_generator), on_epoch=True)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Logs the bound."""
        self._log("test", self.losses(batch["images"], self._eval_generator), on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters, and its scheduler if there is one."""
        optimizer = self.optimizer(self.parameters())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def logged(self, losses: EpisodeLosses) -> dict[str, Tensor]:
        """The numbers of a batch, by name.

        Args:
            losses: of its episodes.
        """
        nelbo = losses.nelbo.mean()
        values = {"nelbo": nelbo} | {name: getattr(losses, name).mean() for name in self.terms}
        if self.likelihood.compares_pixels:
            values["bits_per_dim"] = nelbo / (math.prod(self.encoder.image_shape) * math.log(2))
        return {name: value.detach() for name, value in values.items()}

    def _features(self, images: Pixels) -> Float[Tensor, "batch items features"]:
        features: Tensor = self.encoder(images.flatten(0, 1).to(self.dtype))
        return features.view(*images.shape[:2], -1)

    def _outputs(self, codes: Tensor) -> Tensor:
        outputs: Tensor = self.decoder(codes.flatten(0, 1).to(self.dtype))
        return outputs.view(*codes.shape[:2], *outputs.shape[1:])

    def _restart_evaluation(self) -> None:
        generator = torch.Generator(self.device)
        self._eval_generator = generator.manual_seed(self.eval_seed + self.global_rank)

    def _log(self, stage: str, losses: EpisodeLosses, on_epoch: bool) -> None:
        values = {f"{stage}/{name}": value for name, value in self.logged(losses).items()}
        self.log_dict(
            values, on_epoch=on_epoch, sync_dist=on_epoch, batch_size=losses.reconstruction.shape[0]
        )
