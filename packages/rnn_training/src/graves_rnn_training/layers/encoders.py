"""How the symbols of a sequence become the inputs of a cell."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graves_core.spec import Spec


class SymbolEncoder(Spec, nn.Module, ABC):
    """Turns one symbol per sequence into one vector per sequence.

    Args:
        num_symbols: symbols are the whole numbers from 0 to `num_symbols - 1`.
        size: length of the vectors.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> class Angle(SymbolEncoder):
        ...     def __init__(self, num_symbols: int) -> None:
        ...         super().__init__(num_symbols, size=2)
        ...     def forward(self, symbols):
        ...         angle = symbols * (2 * torch.pi / self.num_symbols)
        ...         return torch.stack([angle.cos(), angle.sin()], 1)
        >>> Angle(4)(torch.tensor([0, 2])).shape
        torch.Size([2, 2])
    """

    def __init__(self, num_symbols: int, size: int) -> None:
        super().__init__()
        for name, value in {"num_symbols": num_symbols, "size": size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.num_symbols = num_symbols
        self.size = size

    @abstractmethod
    def forward(self, symbols: Int[Tensor, " batch"]) -> Float[Tensor, "batch size"]:
        """Encodes the symbols of one time step.

        Args:
            symbols: whole numbers.
        """


class OneHotEncoder(SymbolEncoder):
    """A vector of zeros with a one where the symbol is.

    Args:
        num_symbols: number of symbols, and length of the vectors.

    Raises:
        ValueError: when it is less than 1.

    Example:
        >>> OneHotEncoder(3)(torch.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    table: Float[Tensor, "symbols symbols"]

    def __init__(self, num_symbols: int) -> None:
        super().__init__(num_symbols, num_symbols)
        self.register_buffer("table", torch.eye(num_symbols), persistent=False)

    def forward(self, symbols: Int[Tensor, " batch"]) -> Float[Tensor, "batch size"]:
        """Looks the rows of the identity up.

        Args:
            symbols: whole numbers.
        """
        return nn.functional.embedding(symbols, self.table)


class EmbeddingEncoder(SymbolEncoder):
    """A learned vector for every symbol.

    Learners that carry an influence give it the gradient of the loss at the step where a symbol is read, and
    nothing of what the symbol does to later losses. Backpropagation through time gives all of it.

    Args:
        num_symbols: number of symbols.
        size: length of the vectors.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> EmbeddingEncoder(256, 32)(torch.tensor([104, 105])).shape
        torch.Size([2, 32])
    """

    def __init__(self, num_symbols: int, size: int) -> None:
        super().__init__(num_symbols, size)
        self.embedding = nn.Embedding(num_symbols, size)

    def forward(self, symbols: Int[Tensor, " batch"]) -> Float[Tensor, "batch size"]:
        """Looks the vectors up.

        Args:
            symbols: whole numbers.
        """
        vectors: Tensor = self.embedding(symbols)
        return vectors
