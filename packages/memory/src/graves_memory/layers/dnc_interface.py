"""The numbers with which the controller of a differentiable neural computer steers its memory."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from graves_memory.equations.addressing import oneplus

Variant = Literal["paper", "released"]


class DNCSizes(NamedTuple):
    """What the length and the order of the interface depend on.

    Args:
        width: numbers of a row.
        heads: that read.
        write_heads: that write.
        masked_keys: whether every head has a mask.
        sharpen_links: whether every read head has powers for its links.

    Example:
        >>> DNCSizes(width=32, heads=4, write_heads=1, masked_keys=False, sharpen_links=False).total
        247
    """

    width: int
    heads: int
    write_heads: int
    masked_keys: bool
    sharpen_links: bool

    @property
    def parts(self) -> list[int]:
        """Numbers of each part, in the paper's order; those of masks and powers come last."""
        width, reads, writes = self.width, self.heads, self.write_heads
        masks = (reads + writes) * width if self.masked_keys else 0
        powers = 2 * writes * reads if self.sharpen_links else 0
        keys = [reads * width, reads, writes * width, writes, writes * width, writes * width]
        return [*keys, reads, writes, writes, reads * (1 + 2 * writes), masks, powers]

    @property
    def total(self) -> int:
        """Numbers of the interface."""
        return sum(self.parts)


class DNCInterface(NamedTuple):
    """What one step does with the memory; every number has been brought into its range.

    Args:
        read_keys: what the read heads look for.
        read_strengths: beta of the read heads.
        write_keys: what the write heads look for.
        write_strengths: beta of the write heads.
        erase: which part of the width is erased.
        words: what is written.
        free_gates: how much of what was read before may be freed.
        allocation_gates: how far writing goes to free rows rather than by content.
        write_gates: how much is written.
        modes: for each read head a distribution over the ways to read.
        masks: of the read heads and then of the write heads, if there are any.
        powers: of the links forward and backward, if there are any.

    Example:
        >>> sizes = DNCSizes(width=32, heads=4, write_heads=1, masked_keys=False, sharpen_links=False)
        >>> DNCInterface.read(torch.zeros(2, 247), sizes, "paper").modes.shape
        torch.Size([2, 4, 3])
    """

    read_keys: Float[Tensor, "batch heads width"]
    read_strengths: Float[Tensor, "batch heads"]
    write_keys: Float[Tensor, "batch writers width"]
    write_strengths: Float[Tensor, "batch writers"]
    erase: Float[Tensor, "batch writers width"]
    words: Float[Tensor, "batch writers width"]
    free_gates: Float[Tensor, "batch heads"]
    allocation_gates: Float[Tensor, "batch writers"]
    write_gates: Float[Tensor, "batch writers"]
    modes: Float[Tensor, "batch heads ways"]
    masks: Float[Tensor, "batch both width"] | None
    powers: Float[Tensor, "batch two writers heads"] | None

    @classmethod
    def read(
        cls, numbers: Float[Tensor, "batch numbers"], sizes: DNCSizes, variant: Variant
    ) -> "DNCInterface":
        """Takes the numbers apart.

        Args:
            numbers: what the controller says.
            sizes: of the interface.
            variant: whose strengths: 1 + softplus in the paper, softplus in the released code.
        """
        parts = torch.split(numbers, sizes.parts, dim=1)
        strength = oneplus if variant == "paper" else softplus
        words = (len(numbers), -1, sizes.width)
        pairs = (len(numbers), 2, sizes.write_heads, sizes.heads)
        return cls(
            parts[0].reshape(words),
            strength(parts[1]),
            parts[2].reshape(words),
            strength(parts[3]),
            parts[4].sigmoid().reshape(words),
            parts[5].reshape(words),
            parts[6].sigmoid(),
            parts[7].sigmoid(),
            parts[8].sigmoid(),
            torch.softmax(parts[9].reshape(len(numbers), sizes.heads, -1), dim=-1),
            parts[10].sigmoid().reshape(words) if sizes.masked_keys else None,
            oneplus(parts[11]).reshape(pairs) if sizes.sharpen_links else None,
        )
