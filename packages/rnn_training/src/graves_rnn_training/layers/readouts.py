"""What a network says at one time step: logits of the next symbol from the output of a cell."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from graves_core.spec import Spec


class Readout(Spec, nn.Module, ABC):
    """Turns the output of a cell into the logits of classes.

    A subclass calls this constructor and defines `forward`.

    Args:
        input_size: size of the output of the cell.
        num_classes: number of classes.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> import torch
        >>> class Scaled(Readout):
        ...     def __init__(self, input_size: int) -> None:
        ...         super().__init__(input_size, num_classes=input_size)
        ...         self.scale = nn.Parameter(torch.ones(input_size))
        ...     def forward(self, outputs):
        ...         return self.scale * outputs
        >>> Scaled(3)(torch.zeros(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__()
        for name, value in {"input_size": input_size, "num_classes": num_classes}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.input_size = input_size
        self.num_classes = num_classes

    @abstractmethod
    def forward(self, outputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch classes"]:
        """The logits.

        Args:
            outputs: outputs of the cell.
        """


class LinearReadout(Readout):
    """One linear layer.

    Args:
        input_size: size of the output of the cell.
        num_classes: number of classes.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> import torch
        >>> LinearReadout(16, 2)(torch.zeros(5, 16)).shape
        torch.Size([5, 2])
    """

    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__(input_size, num_classes)
        self.linear = nn.Linear(input_size, num_classes)

    def forward(self, outputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch classes"]:
        """The logits.

        Args:
            outputs: outputs of the cell.
        """
        logits: Tensor = self.linear(outputs)
        return logits


class MLPReadout(Readout):
    """One hidden layer of rectified linear units, then a linear one.

    Source: Menick et al. 2020 read their language model out through 1024 such units.

    Args:
        input_size: size of the output of the cell.
        num_classes: number of classes.
        width: number of hidden units.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> import torch
        >>> MLPReadout(128, 256)(torch.zeros(5, 128)).shape
        torch.Size([5, 256])
    """

    def __init__(self, input_size: int, num_classes: int, width: int = 1024) -> None:
        super().__init__(input_size, num_classes)
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width}")
        self.layers = nn.Sequential(nn.Linear(input_size, width), nn.ReLU(), nn.Linear(width, num_classes))

    def forward(self, outputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch classes"]:
        """The logits.

        Args:
            outputs: outputs of the cell.
        """
        logits: Tensor = self.layers(outputs)
        return logits
