"""Examples of the data, with what a network is told about them."""

from typing import NamedTuple

import torch
from torch import Tensor

from graves_bfn.flows.arrays import Data, concatenated, first, mapped, padded, rows


class Examples(NamedTuple):
    """Data of a flow, batch first in everything.

    Attributes:
        x: the data.
        condition: labels or vectors, if the data have some.
        valid: booleans like x, False for padding, if there is some.
    """

    x: Data
    condition: Tensor | None = None
    valid: Data | None = None

    @property
    def number(self) -> int:
        """How many examples these are."""
        return len(first(self.x))

    def cycled(self, count: int, start: int = 0) -> "Examples":
        """`count` of them from number `start` on, beginning anew after the last."""
        index = torch.arange(start, start + count, device=first(self.x).device)
        return rows(self, index % self.number)

    def to(self, device: torch.device | str) -> "Examples":
        """The same on another device."""
        return mapped(lambda values: values.to(device), self)

    def padded(self, values: Data) -> Data:
        """Other data of these lengths: where these are padding, the others become so too."""
        result: Data = padded(values, self.x, self.valid)
        return result


def joined(parts: list[Examples]) -> Examples:
    """Several batches of examples as one."""
    x, condition, valid = zip(*parts, strict=True)
    return Examples(
        concatenated(list(x)),
        None if condition[0] is None else torch.cat(condition),
        None if valid[0] is None else concatenated(list(valid)),
    )
