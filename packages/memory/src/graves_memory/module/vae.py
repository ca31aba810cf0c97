"""A variational autoencoder of the same parts as the Kanerva machine, without its memory: the baseline."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_memory.kanerva.gaussian import DiagonalNormal, kl_standard
from graves_memory.layers.images.base import ImageDecoder, ImageEncoder
from graves_memory.layers.images.heads import GaussianHead
from graves_memory.layers.images.likelihoods import PixelLikelihood
from graves_memory.module.images import EpisodeLosses, Episodes, ImageEpisodeModel, Pixels


class ImageVAE(ImageEpisodeModel):
    """A variational autoencoder, which takes the images of an episode one by one.

    Logs `nelbo` (nats per image), `reconstruction` and `kl_z`, with `LogisticPixels` also `bits_per_dim`; and
    `train/loss`, the same as `train/nelbo`.

    Args:
        encoder: features of images.
        decoder: outputs from codes; says how large a code is.
        likelihood: what outputs mean, and what is modelled of the images.
        hidden_size: hidden units between features and the distribution of the code; None for none.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
        eval_seed: seed of what is drawn in validation and test, the same in every epoch.

    Raises:
        ValueError: when the parts do not fit.

    Source: Kingma and Welling 2014; the baseline of Wu et al. 2018, "The Kanerva Machine".

    Example:
        >>> from graves_memory import BinaryPixels, MLPImageDecoder, MLPImageEncoder
        >>> shape = (1, 8, 8)
        >>> networks = MLPImageEncoder(shape), MLPImageDecoder(shape, code_size=16)
        >>> model = ImageVAE(*networks, BinaryPixels(levels=17))
        >>> model.sample(4).shape
        torch.Size([4, 1, 8, 8])
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: ImageDecoder,
        likelihood: PixelLikelihood,
        hidden_size: int | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        eval_seed: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, optimizer, lr_scheduler, eval_seed)
        self.head = GaussianHead(encoder.size, decoder.code_size, hidden_size)

    def encode(self, images: Pixels) -> DiagonalNormal:
        """q(z | x) of each image.

        Args:
            images: from `prepare`.
        """
        q: DiagonalNormal = self.head(self._features(images))
        return q

    def losses(self, images: Episodes, generator: torch.Generator | None = None) -> EpisodeLosses:
        """What each image costs.

        Args:
            images: the episodes.
            generator: the source of all that is drawn; torch's global one by default.
        """
        x = self.prepare(images, generator)
        q = self.encode(x)
        reconstruction = self.likelihood.nats(self._outputs(q.sample(generator=generator)), x)
        return EpisodeLosses(reconstruction, kl_standard(q), torch.zeros_like(reconstruction))

    @torch.no_grad()
    def reconstruct(self, images: Episodes, iterations: int = 1) -> list[Pixels]:
        """What the means of codes are decoded to, and what becomes of that when it is encoded again.

        Args:
            images: the episodes.
            iterations: how many results.
        """
        x, results = self.prepare(images), []
        for _ in range(iterations):
            x = self.decode(self.encode(x).mean)
            results.append(x)
        return results

    @torch.no_grad()
    def sample(
        self, count: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "count channels height width"]:
        """Expected images of codes drawn from N(0, I).

        Args:
            count: how many.
            generator: the source of the draw.
        """
        shape = (1, count, self.decoder.code_size)
        codes = torch.randn(shape, generator=generator, device=self.device, dtype=self.head.dtype)
        return self.decode(codes)[0]
