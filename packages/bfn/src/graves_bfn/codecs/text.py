"""Text: tokens become classes."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from graves_bfn.codecs.base import Codec, check_kind, check_levels
from graves_core.data.spec import DataSpec


class Tokens(Codec):
    """Token numbers as classes.

    Args:
        symbols: the alphabet; token i stands for `symbols[i]`.
        padding: the symbol after the end of texts of different lengths, whose places are not modelled. With
            None all symbols are modelled: so a network learns from padded texts where a text ends, too.

    Example:
        >>> Tokens("ab ").texts(torch.tensor([[0, 1, 2, 1]]))
        ['ab b']
        >>> Tokens("_ab", padding="_").valid(torch.tensor([[1, 2, 0, 0]]))
        tensor([[ True,  True, False, False]])
    """

    unit = "char"

    def __init__(self, symbols: str = " abcdefghijklmnopqrstuvwxyz", padding: str | None = None) -> None:
        if len(symbols) < 2 or len(set(symbols)) < len(symbols):
            raise ValueError(f"symbols must be at least 2 different characters, not {symbols!r}")
        if padding is not None and padding not in set(symbols):
            raise ValueError(f"padding must be one of the symbols {symbols!r} or None, not {padding!r}")
        self.symbols = symbols
        self.padding = padding

    def encode(self, batch: Any, *, generator: torch.Generator | None = None) -> Int[Tensor, "batch length"]:
        """Classes; nothing is random."""
        tokens: Tensor = batch.long()
        return tokens

    def valid(self, batch: Any) -> Bool[Tensor, "batch length"] | None:
        """True where the token is not the padding; None when nothing is padding."""
        if self.padding is None:
            return None
        places: Tensor = batch != self.symbols.index(self.padding)
        return places

    def texts(self, x: Tensor) -> list[str]:
        """One line per row, without the padding at its end."""
        lines = ["".join(self.symbols[token] for token in row) for row in x.tolist()]
        return lines if self.padding is None else [line.rstrip(self.padding) for line in lines]

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(length,); wants text over the same alphabet, and with the same padding if it was given one."""
        check_kind(self, spec, "text")
        check_levels(self, spec, len(self.symbols))
        if spec.symbols != self.symbols:
            raise ValueError(
                f"Tokens was given symbols={self.symbols!r}, but the DataModule's are {spec.symbols!r}"
            )
        theirs = None if spec.padding is None else spec.symbols[spec.padding]
        if self.padding is not None and self.padding != theirs:
            raise ValueError(f"Tokens was given padding={self.padding!r}, but the DataModule's is {theirs!r}")
        return spec.shape
