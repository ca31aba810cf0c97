"""Agents' networks: a torso, and fully connected layers that may be noisy."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from graves_bayes.layers.noisy_linear import NoisyLinear
from graves_bayes.layers.torsos import Torso
from graves_bayes.returns.losses import dueling_values

HeadNoise = Literal["none", "factorised", "independent"]


class QNetwork(nn.Module):
    """Values of actions. All fully connected layers are noisy, or none.

    Args:
        torso: features of observations.
        actions: how many there are.
        hidden: sizes of the hidden layers; with dueling each of the two streams has them.
        dueling: whether values are V + A - mean A, of two streams.
        noise: kind of noise of the fully connected layers.
        sigma0: where sigma begins; see `NoisyLinear`.

    Raises:
        ValueError: when an argument is out of its range.

    Source: Fortunato et al. 2018; Wang et al. 2016.

    Example:
        >>> import torch
        >>> from graves_bayes import VectorTorso
        >>> QNetwork(VectorTorso(4), actions=2, hidden=[32], dueling=True)(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        torso: Torso,
        actions: int,
        hidden: Sequence[int] = (512,),
        dueling: bool = False,
        noise: HeadNoise = "factorised",
        sigma0: float = 0.5,
    ) -> None:
        super().__init__()
        check_head(actions, hidden, noise)
        self.torso = torso
        self.advantages = perceptron([torso.size, *hidden, actions], noise, sigma0)
        self.value = perceptron([torso.size, *hidden, 1], noise, sigma0) if dueling else None

    def forward(self, observations: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch actions"]:
        """Q of all actions.

        Args:
            observations: as the environment gives them.
        """
        features = self.torso(observations)
        advantages: Tensor = self.advantages(features)
        return advantages if self.value is None else dueling_values(self.value(features), advantages)


class PolicyNetwork(nn.Module):
    """A policy and values of states, with the hidden layers in common.

    Args:
        torso: features of observations.
        actions: how many there are.
        hidden: sizes of the hidden layers.
        noise: kind of noise of the fully connected layers.
        sigma0: where sigma begins; see `NoisyLinear`.

    Raises:
        ValueError: when an argument is out of its range.

    Source: Mnih et al. 2016; Fortunato et al. 2018.

    Example:
        >>> import torch
        >>> from graves_bayes import VectorTorso
        >>> logits, values = PolicyNetwork(VectorTorso(4), actions=2, hidden=[32])(torch.zeros(3, 4))
        >>> logits.shape, values.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """

    def __init__(
        self,
        torso: Torso,
        actions: int,
        hidden: Sequence[int] = (256,),
        noise: HeadNoise = "independent",
        sigma0: float = 0.5,
    ) -> None:
        super().__init__()
        check_head(actions, hidden, noise)
        self.torso = torso
        last = hidden[-1] if hidden else torso.size
        self.trunk = nn.Sequential(perceptron([torso.size, *hidden], noise, sigma0), nn.ReLU())
        self.policy = fully_connected(last, actions, noise, sigma0)
        self.value = fully_connected(last, 1, noise, sigma0)

    def forward(
        self, observations: Shaped[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch actions"], Float[Tensor, " batch"]]:
        """Logits of the policy, and V.

        Args:
            observations: as the environment gives them.
        """
        features = self.trunk(self.torso(observations))
        return self.policy(features), self.value(features).squeeze(1)


def fully_connected(inputs: int, outputs: int, noise: HeadNoise, sigma0: float) -> nn.Module:
    """A linear layer, noisy or not.

    Args:
        inputs: how many.
        outputs: how many.
        noise: kind of noise.
        sigma0: where sigma begins.
    """
    return nn.Linear(inputs, outputs) if noise == "none" else NoisyLinear(inputs, outputs, noise, sigma0)


def perceptron(sizes: Sequence[int], noise: HeadNoise, sigma0: float) -> nn.Sequential:
    """Fully connected layers with rectifiers between them.

    Args:
        sizes: of the inputs, the hidden layers and the outputs.
        noise: kind of noise of all layers.
        sigma0: where sigma begins.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [fully_connected(inputs, outputs, noise, sigma0), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def check_head(actions: int, hidden: Sequence[int], noise: str) -> None:
    """Checks the arguments that the networks have in common.

    Args:
        actions: at least 2.
        hidden: each at least 1.
        noise: one of the kinds, or `"none"`.

    Raises:
        ValueError: when one is out of its range.
    """
    if actions < 2:
        raise ValueError(f"actions must be at least 2, not {actions}")
    if any(size < 1 for size in hidden):
        raise ValueError(f"hidden must hold sizes of at least 1, not {list(hidden)}")
    if noise not in get_args(HeadNoise):
        raise ValueError(f"noise must be one of {', '.join(get_args(HeadNoise))}, not {noise!r}")
