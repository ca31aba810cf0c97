"""What both Kanerva machines have in common: how they are read, and what is logged of the memory."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_memory.kanerva.matrix_normal import MatrixNormal
from graves_memory.layers.images.base import ImageDecoder, ImageEncoder
from graves_memory.layers.images.likelihoods import PixelLikelihood
from graves_memory.layers.kanerva import KanervaMemory
from graves_memory.module.images import EpisodeLosses, Episodes, ImageEpisodeModel, Pixels

Reliability = float | Float[Tensor, "*#shape"]


class ImageMemoryModel(ImageEpisodeModel):
    """Base of models that write episodes of images into a Kanerva memory and read it.

    Args:
        encoder: features of images.
        decoder: outputs from codes.
        likelihood: what outputs mean, and what is modelled of the images.
        memory: prior and noise of the memory.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
        eval_seed: seed of what is drawn in validation and test, the same in every epoch.

    Raises:
        ValueError: when the parts do not fit.

    Example:
        >>> from graves_memory import DynamicKanervaMachine, KanervaMachine
        >>> issubclass(KanervaMachine, ImageMemoryModel), issubclass(DynamicKanervaMachine, ImageMemoryModel)
        (True, True)
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: ImageDecoder,
        likelihood: PixelLikelihood,
        memory: KanervaMemory,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None,
        eval_seed: int,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, optimizer, lr_scheduler, eval_seed)
        if memory.code_size != decoder.code_size:
            raise ValueError(
                f"decoder has code_size={decoder.code_size}, but the memory has {memory.code_size}"
            )
        self.memory = memory

    @abstractmethod
    def write(self, images: Episodes, generator: torch.Generator | None = None) -> MatrixNormal:
        """The memory of each episode.

        Args:
            images: the episodes.
            generator: the source of all that is drawn; torch's global one by default.
        """

    @abstractmethod
    def recall(self, memory: MatrixNormal, images: Pixels) -> Pixels:
        """What the memory makes of images, read once, with nothing drawn.

        Args:
            memory: from `write`.
            images: queries with values in [0, 1], any number for each memory.
        """

    @abstractmethod
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
            generator: the source of all that is drawn; torch's global one by default.
        """

    @torch.no_grad()
    def read(
        self,
        memory: MatrixNormal,
        images: Episodes,
        iterations: int = 1,
        generator: torch.Generator | None = None,
        reliability: Reliability | None = None,
    ) -> list[Pixels]:
        """What the memory makes of images, which may be damaged; each result is the query of the next.

        By itself the memory forgets the images once it has read them the first time. With `reliability` each
        result weighs what the memory says of a pixel against what was seen of it, by Bayes's rule.

        Args:
            memory: from `write`.
            images: queries, any number for each memory.
            iterations: how many results.
            generator: the source of the draw, where binarisation is stochastic.
            reliability: how probable it is that a pixel of a query is right, one number or one for each
                pixel; 1/2 for pixels that say nothing, such as hidden ones. For `BinaryPixels`.

        Raises:
            ValueError: when `reliability` is given for other pixels than black and white ones.
        """
        seen = self.prepare(images, generator)
        x, results = seen, []
        for _ in range(iterations):
            x = self.recall(memory, x)
            if reliability is not None:
                x = self.likelihood.believed(x, seen, reliability)
            results.append(x)
        return results

    def logged(self, losses: EpisodeLosses) -> dict[str, Tensor]:
        """The numbers of a batch, by name.

        Args:
            losses: of its episodes.
        """
        values = super().logged(losses) | {"noise": self.memory.noise.detach()}
        if losses.kl_memory is not None:
            kl = losses.kl_memory.detach().mean()
            share = kl / losses.nelbo.shape[1]
            values |= {"kl_memory": kl, "episode_nelbo": losses.nelbo.detach().mean() + share}
        return values
