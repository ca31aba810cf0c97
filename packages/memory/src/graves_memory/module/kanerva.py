"""The Kanerva machine: a variational autoencoder whose prior is a memory of the episode."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_memory.kanerva.gaussian import DiagonalNormal, kl_gaussian, kl_standard
from graves_memory.kanerva.matrix_normal import MatrixNormal, sample_matrix_normal
from graves_memory.kanerva.update import read_codes
from graves_memory.layers.images.base import ImageDecoder, ImageEncoder
from graves_memory.layers.images.heads import GaussianHead
from graves_memory.layers.images.likelihoods import PixelLikelihood
from graves_memory.layers.kanerva import AddressNetwork, KanervaMemory
from graves_memory.module.images import EpisodeLosses, Episodes, Pixels
from graves_memory.module.memories import ImageMemoryModel

Read = Literal["mean", "sample", "distribution"]


class KanervaMachine(ImageMemoryModel):
    """Writes the images of an episode into a memory, all at once, and explains each of them with it.

    The images' codes are drawn from q(z | x), their addresses from q(y | x), and the memory becomes the exact
    posterior. Then addresses are drawn afresh, and each image costs -ln p(x | z) + KL(q(y | x) || N(0, I)) +
    KL(q(z | x, y, M) || p(z | y, M)), with z from q(z | x, y, M). The memory has no term of its own in this
    loss, which is conditional on it.

    Logs the means of `nelbo` (nats per image), `reconstruction`, `kl_z`, `kl_y` and `noise`; in validation
    and test also `kl_memory`, in nats for an episode, and `episode_nelbo`, nats per image with the memory's
    share added. With `LogisticPixels` also `bits_per_dim`. `train/loss` is the same as `train/nelbo`.

    Args:
        encoder: features of images.
        decoder: outputs from codes.
        likelihood: what outputs mean, and what is modelled of the images.
        memory: prior and noise of the memory.
        addresses: from y to weights over the memory's rows.
        hidden_size: hidden units of q(z | x, y, M).
        read: what stands for M in p(z | y, M): the "mean" R of the posterior; a "sample" from it, one for
            each episode; or its whole "distribution", with w^T U w added to the variance of z.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
        eval_seed: seed of what is drawn in validation and test, the same in every epoch.

    Raises:
        ValueError: when the parts do not fit, or `read` is unknown.

    Source: Wu et al. 2018, "The Kanerva Machine".

    Example:
        >>> from graves_memory import BinaryPixels, MLPImageDecoder, MLPImageEncoder
        >>> shape = (1, 8, 8)
        >>> model = KanervaMachine(
        ...     MLPImageEncoder(shape),
        ...     MLPImageDecoder(shape, code_size=16),
        ...     BinaryPixels(levels=17),
        ...     KanervaMemory(rows=8, code_size=16),
        ...     AddressNetwork(rows=8, size=4),
        ... )
        >>> episodes = torch.randint(17, (2, 5, 1, 8, 8), dtype=torch.uint8)
        >>> memory = model.write(episodes)
        >>> [tuple(images.shape) for images in model.read(memory, episodes[:, :3], iterations=2)]
        [(2, 3, 1, 8, 8), (2, 3, 1, 8, 8)]
    """

    terms = ("reconstruction", "kl_z", "kl_y")

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: ImageDecoder,
        likelihood: PixelLikelihood,
        memory: KanervaMemory,
        addresses: AddressNetwork,
        hidden_size: int = 128,
        read: Read = "mean",
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        eval_seed: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, memory, optimizer, lr_scheduler, eval_seed)
        if addresses.rows != memory.rows:
            raise ValueError(f"addresses has rows={addresses.rows}, but the memory has {memory.rows}")
        if read not in ("mean", "sample", "distribution"):
            raise ValueError(f"read must be 'mean', 'sample' or 'distribution', not {read!r}")
        self.addresses = addresses
        self.reads = read
        self.address_head = GaussianHead(encoder.size, addresses.size)
        self.write_head = GaussianHead(encoder.size, memory.code_size)
        self.read_head = GaussianHead(encoder.size + memory.code_size, memory.code_size, hidden_size)

    def encode(self, images: Pixels) -> tuple[DiagonalNormal, DiagonalNormal]:
        """q(y | x), the address of each image, and q(z | x), the code that it is written with.

        Args:
            images: from `prepare`.
        """
        features = self._features(images)
        return self.address_head(features), self.write_head(features)

    def losses(self, images: Episodes, generator: torch.Generator | None = None) -> EpisodeLosses:
        """What each image costs, with the episode in memory, and what is known of the memory.

        Args:
            images: the episodes.
            generator: the source of all that is drawn; torch's global one by default.
        """
        x = self.prepare(images, generator)
        features = self._features(x)
        address, code = self.address_head(features), self.write_head(features)
        written = self.addresses(address.sample(generator=generator)), code.sample(generator=generator)
        memory = self.memory.write(*written)
        q, p = self._codes(features, address, memory, generator)
        return EpisodeLosses(
            self.likelihood.nats(self._outputs(q.sample(generator=generator)), x),
            kl_gaussian(q, p),
            kl_standard(address),
            None if self.training else self._kl_memory(*written),
        )

    @torch.no_grad()
    def write(self, images: Episodes, generator: torch.Generator | None = None) -> MatrixNormal:
        """The memory of each episode.

        Args:
            images: the episodes.
            generator: the source of addresses and codes; torch's global one by default.
        """
        address, code = self.encode(self.prepare(images, generator))
        weights = self.addresses(address.sample(generator=generator))
        return self.memory.write(weights, code.sample(generator=generator))

    @torch.no_grad()
    def recall(self, memory: MatrixNormal, images: Pixels) -> Pixels:
        """What the memory makes of images, read once.

        Addresses are the means of q(y | x), codes the means of p(z | y, M), so that all comes from the
        memory.

        Args:
            memory: from `write`.
            images: queries with values in [0, 1], any number for each memory.
        """
        address, _ = self.encode(images)
        return self.decode(read_codes(memory.mean, self.addresses(address.mean)))

    @torch.no_grad()
    def generate(
        self,
        memory: MatrixNormal,
        count: int,
        iterations: int = 1,
        generator: torch.Generator | None = None,
    ) -> list[Pixels]:
        """Draws images from each memory; each result is the query of the next.

        Args:
            memory: from `write`, with one leading axis.
            count: how many for each memory.
            iterations: how many results.
            generator: the source of addresses and codes; torch's global one by default.
        """
        shape = (len(memory.mean), count, self.addresses.size)
        y = torch.randn(shape, generator=generator, device=self.device, dtype=memory.mean.dtype)
        results: list[Pixels] = []
        for _ in range(iterations):
            if results:
                y = self.encode(results[-1])[0].sample(generator=generator)
            mean, variance = self.memory.read(memory, self.addresses(y))
            code = DiagonalNormal(mean, variance.log())
            results.append(self.decode(code.sample(generator=generator)))
        return results

    def _codes(
        self,
        features: Float[Tensor, "batch items features"],
        address: DiagonalNormal,
        memory: MatrixNormal,
        generator: torch.Generator | None,
    ) -> tuple[DiagonalNormal, DiagonalNormal]:
        """q(z | x, y, M) and p(z | y, M), for addresses drawn afresh."""
        weights = self.addresses(address.sample(generator=generator))
        if self.reads == "distribution":
            mean, variance = self.memory.read(memory, weights)
        else:
            draws = self.reads == "sample"
            matrix = sample_matrix_normal(memory, generator=generator) if draws else memory.mean
            mean, variance = read_codes(matrix, weights), self.memory.noise
        q = self.read_head(torch.cat([features, mean.to(features.dtype)], -1))
        return q, DiagonalNormal(mean, variance.log())

    @torch.no_grad()
    def _kl_memory(self, weights: Tensor, codes: Tensor) -> Tensor:
        return self.memory.kl_write(weights, codes)
