"""The dynamic Kanerva machine: addresses are solved for, again whenever the memory has changed."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_memory.kanerva.addressing import solve_address
from graves_memory.kanerva.gaussian import DiagonalNormal, kl_standard
from graves_memory.kanerva.matrix_normal import MatrixNormal, kl_matrix_normal
from graves_memory.kanerva.precision import at_least_float32
from graves_memory.kanerva.update import read_codes, update_one
from graves_memory.layers.images.base import ImageDecoder, ImageEncoder
from graves_memory.layers.images.likelihoods import PixelLikelihood
from graves_memory.layers.kanerva import KanervaMemory
from graves_memory.layers.network import check_sizes
from graves_memory.module.images import EpisodeLosses, Episodes, Pixels
from graves_memory.module.memories import ImageMemoryModel


class DynamicKanervaMachine(ImageMemoryModel):
    """A Kanerva machine without an address network: the address of a code is the most probable one.

    Codes are functions of the images, and q(w) = N(mu, s^2 I) with mu the solution of a ridge regression on
    the memory's mean and s a trained number. Images are written one after the other. An episode costs the sum
    of -ln p(x | w^T R) - ln p(x | e(x)) + KL(q(w) || N(0, I)) over its images, and KL(q(M) || p(M)) with all
    of both covariances.

    Logs the means of `nelbo`, `reconstruction` and `kl_y`, all given the memory and in nats per image;
    `kl_memory`, in nats for an episode, and `episode_nelbo`, nats per image with the memory's share added;
    `autoencoder`, the second of the terms above; `noise`; and with `LogisticPixels` `bits_per_dim`.
    `train/loss` is `episode_nelbo` with `autoencoder` added.

    Args:
        encoder: features of images.
        decoder: outputs from codes.
        likelihood: what outputs mean, and what is modelled of the images.
        memory: prior and noise of the memory.
        write_iterations: how often the address of an item is solved for while it is written, each time with
            the memory that the last solution leads to.
        deviation: s at the start.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
        eval_seed: seed of what is drawn in validation and test, the same in every epoch.

    Raises:
        ValueError: when the parts do not fit or a number is out of range.

    Source: Wu et al. 2018, "Learning Attractor Dynamics for Generative Memory".

    Example:
        >>> from graves_memory import BinaryPixels, MLPImageDecoder, MLPImageEncoder
        >>> shape = (1, 8, 8)
        >>> model = DynamicKanervaMachine(
        ...     MLPImageEncoder(shape),
        ...     MLPImageDecoder(shape, code_size=16),
        ...     BinaryPixels(levels=17),
        ...     KanervaMemory(rows=8, code_size=16, covariance="scalar", train_noise=False),
        ... )
        >>> episodes = torch.randint(17, (2, 5, 1, 8, 8), dtype=torch.uint8)
        >>> memory = model.write(episodes)
        >>> [tuple(images.shape) for images in model.generate(memory, count=3, iterations=2)]
        [(2, 3, 1, 8, 8), (2, 3, 1, 8, 8)]
    """

    terms = ("reconstruction", "kl_y", "autoencoder")

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: ImageDecoder,
        likelihood: PixelLikelihood,
        memory: KanervaMemory,
        write_iterations: int = 1,
        deviation: float = 0.3,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        eval_seed: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, memory, optimizer, lr_scheduler, eval_seed)
        check_sizes({"write_iterations": write_iterations})
        if not deviation > 0:
            raise ValueError(f"deviation must be above 0, not {deviation}")
        self.write_iterations = write_iterations
        self.code = nn.Linear(encoder.size, memory.code_size)
        self.log_variance = nn.Parameter(torch.tensor(2 * math.log(deviation)))

    def encode(self, images: Pixels) -> Float[Tensor, "batch items code"]:
        """The code of each image.

        Args:
            images: from `prepare`.
        """
        return at_least_float32(self.code(self._features(images)))

    def address(self, memory: MatrixNormal, codes: Float[Tensor, "batch items code"]) -> DiagonalNormal:
        """q(w): the most probable weights over the memory's rows, and their variance.

        Args:
            memory: from `write`.
            codes: from `encode`.
        """
        return DiagonalNormal(
            solve_address(memory.mean, codes, self.memory.noise), self.log_variance.expand(1, 1, 1)
        )

    def losses(self, images: Episodes, generator: torch.Generator | None = None) -> EpisodeLosses:
        """What each image costs, with the episode in memory, and the memory itself.

        Args:
            images: the episodes.
            generator: the source of all that is drawn; torch's global one by default.
        """
        x = self.prepare(images, generator)
        codes = self.encode(x)
        memory = self._written(codes, generator)
        address = self.address(memory, codes)
        read = read_codes(memory.mean, address.sample(generator=generator))
        reconstruction = self.likelihood.nats(self._outputs(read), x)
        full = DiagonalNormal(address.mean, address.log_variance.expand_as(address.mean))
        return EpisodeLosses(
            reconstruction,
            torch.zeros_like(reconstruction),
            kl_standard(full),
            kl_matrix_normal(memory, self.memory.prior),
            self.likelihood.nats(self._outputs(codes), x),
        )

    def objective(self, losses: EpisodeLosses) -> Float[Tensor, ""]:
        """What training minimises, for each image: all terms, the memory's divided by the number of images.

        Args:
            losses: of the episodes.
        """
        assert losses.autoencoder is not None
        assert losses.kl_memory is not None
        items = losses.nelbo.shape[1]
        return (losses.nelbo + losses.autoencoder).mean() + losses.kl_memory.mean() / items

    @torch.no_grad()
    def write(self, images: Episodes, generator: torch.Generator | None = None) -> MatrixNormal:
        """The memory of each episode.

        Args:
            images: the episodes.
            generator: the source of the addresses; torch's global one by default.
        """
        return self._written(self.encode(self.prepare(images, generator)), generator)

    @torch.no_grad()
    def recall(self, memory: MatrixNormal, images: Pixels) -> Pixels:
        """What the memory makes of images, read once.

        Args:
            memory: from `write`.
            images: queries with values in [0, 1], any number for each memory.
        """
        return self.decode(read_codes(memory.mean, self.address(memory, self.encode(images)).mean))

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
            memory: from `write`.
            count: how many for each memory.
            iterations: how many results.
            generator: the source of the addresses; torch's global one by default.
        """
        mean = memory.mean
        shape = (len(mean), count, memory.rows)
        weights = torch.randn(shape, generator=generator, device=mean.device, dtype=mean.dtype)
        results = [self.decode(read_codes(mean, weights))]
        while len(results) < iterations:
            results.append(self.recall(memory, results[-1]))
        return results

    def _written(
        self, codes: Float[Tensor, "batch items code"], generator: torch.Generator | None
    ) -> MatrixNormal:
        """Item by item: solve for the address, draw from q(w), update what was known before the item."""
        prior, noise = self.memory.prior, self.memory.noise
        memory = MatrixNormal(*(part.expand(len(codes), *part.shape) for part in prior))
        for code in codes.unbind(1):
            before = memory
            for _ in range(self.write_iterations):
                address = self.address(memory, code.unsqueeze(1)).sample(generator=generator)
                memory = update_one(before, address.squeeze(1), code, noise)
        return memory
