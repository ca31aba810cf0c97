"""What a network reads at each step, made of the batches of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_core.spec import Spec


class StepEncoder(Spec, nn.Module, ABC):
    """Turns a batch of sequences into the inputs of a network, for all steps at once.

    A subclass calls this constructor and defines `forward`.

    Args:
        size: numbers that the network reads at a step.

    Raises:
        ValueError: when it is less than 1.

    Example:
        >>> class Angles(StepEncoder):
        ...     def __init__(self) -> None:
        ...         super().__init__(size=2)
        ...     def forward(self, batch):
        ...         return torch.stack([batch["angles"].cos(), batch["angles"].sin()], -1)
        >>> Angles()({"angles": torch.zeros(3, 5)}).shape
        torch.Size([3, 5, 2])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self.size = size

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch time size"]:
        """Encodes a batch.

        Args:
            batch: as the DataModule yields it.
        """


class TokenEncoder(StepEncoder):
    """Whole numbers, one per step, as vectors with a single one, or as learned vectors.

    Reads `tokens`, `(batch, time)`.

    Args:
        num_tokens: tokens are the whole numbers from 0 to `num_tokens - 1`.
        embedding: length of the learned vectors; None for vectors with a single one.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> TokenEncoder(3)({"tokens": torch.tensor([[2, 0]])}).tolist()
        [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]
        >>> TokenEncoder(160, embedding=64)({"tokens": torch.zeros(2, 7, dtype=torch.long)}).shape
        torch.Size([2, 7, 64])
    """

    def __init__(self, num_tokens: int, embedding: int | None = None) -> None:
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be at least 1, not {num_tokens}")
        if embedding is not None and embedding < 1:
            raise ValueError(f"embedding must be at least 1 or None, not {embedding}")
        super().__init__(num_tokens if embedding is None else embedding)
        self.num_tokens = num_tokens
        self.embedding = embedding
        if embedding is None:
            self.register_buffer("table", torch.eye(num_tokens), persistent=False)
        else:
            self.table = nn.Parameter(torch.randn(num_tokens, embedding) / embedding**0.5)

    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch time size"]:
        """Looks the vectors up.

        Args:
            batch: with `tokens`.
        """
        return nn.functional.embedding(batch["tokens"].long(), self.table)


class ImageStepEncoder(StepEncoder):
    """Images beside the label of the image before: the steps of one-shot classification.

    Reads `images`, bytes `(batch, time, channels, height, width)`, and `labels_before`, `(batch, time)` with
    -1 at the first step, which becomes a vector of zeros.

    Args:
        channels: of the images.
        height: of the images.
        width: of the images.
        num_classes: labels are the whole numbers from 0 to `num_classes - 1`.
        features: numbers that are made of an image by strided convolutions and a linear layer; None hands
            the pixels over as they are.
        convolutions: channels of the convolutions, each of which halves height and width.

    Raises:
        ValueError: when a number is less than 1.

    Source: Santoro et al. 2016 and Rae et al. 2016 hand over the pixels.

    Example:
        >>> encoder = ImageStepEncoder(1, 20, 20, num_classes=5, features=32)
        >>> images = torch.zeros(2, 7, 1, 20, 20, dtype=torch.uint8)
        >>> encoder({"images": images, "labels_before": torch.full((2, 7), -1)}).shape
        torch.Size([2, 7, 37])
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        num_classes: int,
        features: int | None = None,
        convolutions: Sequence[int] = (16, 32),
    ) -> None:
        sizes = {"channels": channels, "height": height, "width": width, "num_classes": num_classes}
        sizes |= {} if features is None else {"features": features}
        for name, value in [*sizes.items(), *(("convolutions", width) for width in convolutions)]:
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        pixels = channels * height * width
        super().__init__((pixels if features is None else features) + num_classes)
        self.shape = (channels, height, width)
        self.num_classes = num_classes
        self.layers = nn.Flatten() if features is None else _convolutions(self.shape, convolutions, features)

    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch time size"]:
        """Encodes all images at once and puts the labels beside them.

        Args:
            batch: with `images` and `labels_before`.

        Raises:
            ValueError: when the images have another shape.
        """
        images, labels = batch["images"], batch["labels_before"]
        if images.shape[2:] != self.shape:
            raise ValueError(f"images must have the shape {self.shape}, not {tuple(images.shape[2:])}")
        known = labels >= 0
        named = nn.functional.one_hot(labels.long().clamp(min=0), self.num_classes) * known[..., None]
        like = next(self.parameters(), torch.empty((), device=images.device))
        seen = self.layers(images.flatten(0, 1).to(like.dtype) / 255).unflatten(0, images.shape[:2])
        return torch.cat([seen, named.to(seen.dtype)], -1)


def _convolutions(shape: tuple[int, int, int], convolutions: Sequence[int], features: int) -> nn.Sequential:
    """Strided convolutions, each followed by a rectifier, then a linear layer."""
    before, height, width = shape
    layers: list[nn.Module] = []
    for channels in convolutions:
        layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.ReLU()]
        before, height, width = channels, (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(prod((before, height, width)), features), nn.ReLU())
