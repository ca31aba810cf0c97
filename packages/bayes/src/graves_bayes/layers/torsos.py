"""What turns observations into features: the part of an agent's network that has no noise."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from graves_core.spec import Spec


class Torso(Spec, nn.Module, ABC):
    """Base of networks from observations to features.

    Args:
        observation_shape: of an observation.
        size: number of features.

    Example:
        >>> class Mean(Torso):
        ...     def __init__(self):
        ...         super().__init__((8, 8), size=1)
        ...     def forward(self, observations):
        ...         return observations.float().mean((1, 2))[:, None]
        >>> Mean()(torch.ones(3, 8, 8)).shape
        torch.Size([3, 1])
    """

    def __init__(self, observation_shape: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.observation_shape = tuple(observation_shape)
        self.size = size

    @abstractmethod
    def forward(self, observations: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """The features.

        Args:
            observations: as the environment gives them.
        """


class VectorTorso(Torso):
    """Observations that are vectors, and fully connected layers with rectifiers, if any.

    Without hidden layers, all layers of the agent's network are in its head, where they may be noisy.

    Args:
        size: numbers of an observation.
        hidden: sizes of the layers.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> VectorTorso(4)(torch.zeros(2, 4)).shape, VectorTorso(4, hidden=[32])(torch.zeros(2, 4)).shape
        (torch.Size([2, 4]), torch.Size([2, 32]))
    """

    def __init__(self, size: int, hidden: Sequence[int] = ()) -> None:
        sizes = [size, *hidden]
        if min(sizes) < 1:
            raise ValueError(f"size and hidden must be at least 1, not {size} and {list(hidden)}")
        super().__init__((size,), sizes[-1])
        layers = [(nn.Linear(inputs, outputs), nn.ReLU()) for inputs, outputs in pairwise(sizes)]
        self.layers = nn.Sequential(*(part for pair in layers for part in pair))

    def forward(self, observations: Shaped[Tensor, "batch size"]) -> Float[Tensor, "batch features"]:
        """The features."""
        features: Tensor = self.layers(_floating(observations, self))
        return features


class MinAtarTorso(Torso):
    """One convolution of 3 x 3 with 16 channels, for MinAtar's grids of 10 x 10.

    Args:
        channels: of the observations, which are `(10, 10, channels)`.

    Raises:
        ValueError: when there are none.

    Source: Young and Tian 2019, "MinAtar".

    Example:
        >>> MinAtarTorso(4)(torch.zeros(2, 10, 10, 4, dtype=torch.bool)).shape
        torch.Size([2, 1024])
    """

    def __init__(self, channels: int) -> None:
        if channels < 1:
            raise ValueError(f"channels must be at least 1, not {channels}")
        super().__init__((10, 10, channels), 16 * 8 * 8)
        self.convolution = nn.Conv2d(channels, 16, 3)

    def forward(
        self, observations: Shaped[Tensor, "batch 10 10 channels"]
    ) -> Float[Tensor, "batch features"]:
        """The features, none of them negative."""
        features: Tensor = self.convolution(_floating(observations, self).permute(0, 3, 1, 2))
        return features.relu().flatten(1)


class NatureTorso(Torso):
    """The three convolutions of DQN, for stacks of frames of 84 x 84.

    Args:
        stack: frames of an observation.

    Raises:
        ValueError: when there are none.

    Source: Mnih et al. 2015, methods.

    Example:
        >>> NatureTorso()(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).shape
        torch.Size([2, 3136])
    """

    def __init__(self, stack: int = 4) -> None:
        if stack < 1:
            raise ValueError(f"stack must be at least 1, not {stack}")
        super().__init__((stack, 84, 84), 64 * 7 * 7)
        self.convolutions = nn.Sequential(
            nn.Conv2d(stack, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
        )

    def forward(self, observations: Shaped[Tensor, "batch stack 84 84"]) -> Float[Tensor, "batch features"]:
        """The features, none of them negative."""
        features: Tensor = self.convolutions(_floating(observations, self) / 255)
        return features


def _floating(observations: Tensor, torso: Torso) -> Tensor:
    """Observations in the type of the weights."""
    weight = next(torso.parameters(), None)
    return observations.to(torch.get_default_dtype() if weight is None else weight.dtype)
