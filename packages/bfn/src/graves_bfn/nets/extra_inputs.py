"""What a network may be told beside the parameters of the input distribution and the time."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from graves_bfn.nets.checks import check_dropout, check_positive
from graves_core.spec import Spec


class ConditionEmbedding(nn.Module, ABC):
    """Turns conditions into vectors; in training it puts a learned null vector in place of some of them.

    The null vector starts at zero, so a network loaded from unconditional weights begins by computing what it
    did before. A subclass defines `embed`.

    Args:
        width: size of the vectors.
        dropout: probability of replacing the condition of an example in training.
        size: shape of one condition, () for labels.
    """

    def __init__(self, width: int, dropout: float, size: tuple[int, ...]) -> None:
        super().__init__()
        self.dropout = dropout
        self.size = size
        self.null = nn.Parameter(torch.zeros(width))

    @abstractmethod
    def embed(self, condition: Shaped[Tensor, "batch *size"]) -> Float[Tensor, "batch width"]:
        """Computes one vector per condition.

        Args:
            condition: conditions of the right shape.
        """

    def forward(
        self, condition: Shaped[Tensor, "given *size"] | None, batch: int
    ) -> Float[Tensor, "{batch} width"]:
        """Computes the vector of each example, the null vector where there is no condition.

        Args:
            condition: one condition per example, or None for no condition in the whole batch.
            batch: number of examples.

        Raises:
            ValueError: when `condition` has another shape or kind than the network was built for.
        """
        null = self.null.expand(batch, -1)
        if condition is None:
            return null
        wanted, given = (batch, *self.size), tuple(condition.shape)
        if given != wanted:
            raise ValueError(f"condition must have the shape {wanted}, got {given}")
        embedded = self.embed(condition)
        if not self.training:
            return embedded
        dropped = torch.rand(batch, 1, device=embedded.device) < self.dropout
        return torch.where(dropped, null, embedded)


class Condition(Spec, ABC):
    """What an example is conditioned on, and how often training hides it.

    Hiding it from some examples makes one network learn the conditional and the unconditional distribution,
    as classifier-free guidance needs. Subclasses define `embedding`.

    Args:
        dropout: probability of hiding the condition of an example in training, in [0, 1).

    Raises:
        ValueError: when `dropout` is outside [0, 1).

    Example:
        >>> import torch
        >>> embedding = ClassCondition(num_classes=10).embedding(width=4)
        >>> embedding(torch.tensor([3, 7]), batch=2).shape
        torch.Size([2, 4])
        >>> embedding(None, batch=2).shape
        torch.Size([2, 4])

    Source: Ho and Salimans 2022, "Classifier-free diffusion guidance".
    """

    def __init__(self, dropout: float = 0.1) -> None:
        check_dropout(dropout)
        self.dropout = dropout

    @abstractmethod
    def embedding(self, width: int) -> ConditionEmbedding:
        """Makes the layer from `(condition or None, batch)` to `(batch, width)`.

        Args:
            width: size of the vectors, that of the network's time embedding.
        """


class ClassCondition(Condition):
    """Class labels: integers `(batch,)` from 0 to `num_classes - 1`.

    Args:
        num_classes: number of classes.
        dropout: probability of hiding the label of an example in training.

    Raises:
        ValueError: when `num_classes` is below 1 or `dropout` outside [0, 1).

    Example:
        >>> import torch
        >>> from graves_bfn import BFNMLP
        >>> net = BFNMLP((2,), 1, 1, width=16, extra_inputs=ExtraInputs(condition=ClassCondition(10)))
        >>> net(torch.randn(3, 2), torch.rand(3), condition=torch.tensor([0, 9, 4])).shape
        torch.Size([3, 2, 1])
    """

    def __init__(self, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__(dropout)
        check_positive("num_classes", num_classes)
        self.num_classes = num_classes

    def embedding(self, width: int) -> ConditionEmbedding:
        """Makes a table of one vector per class; see `Condition`."""
        return _ClassEmbedding(width, self)


class VectorCondition(Condition):
    """Vectors `(batch, size)`: attributes, measurements, or the output of another network.

    Args:
        size: numbers per vector.
        dropout: probability of hiding the vector of an example in training.

    Raises:
        ValueError: when `size` is below 1 or `dropout` outside [0, 1).

    Example:
        >>> import torch
        >>> from graves_bfn import BFNMLP
        >>> net = BFNMLP((2,), 1, 1, width=16, extra_inputs=ExtraInputs(condition=VectorCondition(5)))
        >>> net(torch.randn(3, 2), torch.rand(3), condition=torch.randn(3, 5)).shape
        torch.Size([3, 2, 1])
    """

    def __init__(self, size: int, dropout: float = 0.1) -> None:
        super().__init__(dropout)
        check_positive("size", size)
        self.size = size

    def embedding(self, width: int) -> ConditionEmbedding:
        """Makes a linear layer; see `Condition`."""
        return _VectorEmbedding(width, self)


class _ClassEmbedding(ConditionEmbedding):
    """A table of one vector per class."""

    def __init__(self, width: int, condition: ClassCondition) -> None:
        super().__init__(width, condition.dropout, size=())
        self.table = nn.Embedding(condition.num_classes, width)
        # about as large as the embedded time: all networks learn the classes faster than with 0.02 or 1
        nn.init.normal_(self.table.weight, std=0.3)

    def embed(self, condition: Shaped[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        if condition.is_floating_point():
            raise ValueError(f"condition must hold integer class labels, got {condition.dtype}")
        vectors: Tensor = self.table(condition.long())
        return vectors


class _VectorEmbedding(ConditionEmbedding):
    """A linear map of the vectors."""

    def __init__(self, width: int, condition: VectorCondition) -> None:
        super().__init__(width, condition.dropout, size=(condition.size,))
        self.layer = nn.Linear(condition.size, width)

    def embed(self, condition: Shaped[Tensor, "batch size"]) -> Float[Tensor, "batch width"]:
        vectors: Tensor = self.layer(condition.to(self.layer.weight.dtype))
        return vectors


class ExtraInputs(Spec):
    """Lists what a network is told beside the parameters of the input distribution and the time.

    Args:
        condition: what every example is conditioned on, or None for an unconditional network.
        known: whether the network is told which variables are given, as for inpainting.
        self_conditioning: whether the network is told what it expected of the data in an earlier call.

    Example:
        >>> import torch
        >>> from graves_bfn import BFNMLP
        >>> net = BFNMLP((2,), 1, 1, width=16, extra_inputs=ExtraInputs(known=True, self_conditioning=True))
        >>> net.features_per_variable
        3
        >>> x, known = torch.randn(5, 2), torch.rand(5, 2) < 0.5
        >>> net(x, torch.rand(5), known=known, estimate=torch.zeros(5, 2)).shape
        torch.Size([5, 2, 1])

    Source: Chen et al. 2022, "Analog bits" (self-conditioning); Ho and Salimans 2022 (conditions).
    """

    def __init__(
        self, condition: Condition | None = None, known: bool = False, self_conditioning: bool = False
    ) -> None:
        self.condition = condition
        self.known = known
        self.self_conditioning = self_conditioning

    def embed_condition(self, width: int) -> ConditionEmbedding | None:
        """Makes the layer that embeds the condition, if there is one.

        Args:
            width: size of the vectors.
        """
        return None if self.condition is None else self.condition.embedding(width)
