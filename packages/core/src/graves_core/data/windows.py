"""Cutting a long text into examples of equal length."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from graves_core.data.datasets import BatchedDataset


class StridedWindows(BatchedDataset):
    """Windows that begin every `stride` characters; what does not fill the last window is left out.

    Args:
        tokens: the text.
        length: characters in a window.
        stride: distance between the beginnings of two windows.

    Raises:
        ValueError: when the text is shorter than one window, or the stride is not positive.

    Example:
        >>> StridedWindows(torch.arange(7, dtype=torch.uint8), length=3, stride=2)[1]
        tensor([2, 3, 4], dtype=torch.uint8)
    """

    def __init__(self, tokens: UInt8[Tensor, "characters"], length: int, stride: int) -> None:
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.windows = _windows(tokens, length)
        self.stride = stride

    def __len__(self) -> int:
        """Number of windows."""
        return (len(self.windows) - 1) // self.stride + 1

    def __getitem__(self, index: int) -> UInt8[Tensor, "length"]:
        """Window `index` in the order of the text."""
        return self.windows[index * self.stride]

    def __getitems__(self, indices: Sequence[int]) -> UInt8[Tensor, "batch length"]:
        """Several windows in one tensor."""
        return self.windows[torch.as_tensor(indices) * self.stride]


class TiledWindows(BatchedDataset):
    """Windows at random places: side by side, but shifted as a whole by another amount in every epoch.

    Over the epochs, each place in the text is the beginning of a window equally often (but for a rest at the
    end, shorter than two windows), as if windows were drawn at random; yet within an epoch no character is
    seen twice, and a window depends on nothing but its index and `(seed, epoch)`. So a run can be resumed in
    the middle of an epoch, with any number of workers, and ranks share the windows out as they do images.
    An epoch has one window per `length` characters.

    Args:
        tokens: the text.
        length: characters in a window.
        seed: of the shifts.

    Raises:
        ValueError: when the text is shorter than one window.

    Example:
        >>> windows = TiledWindows(torch.arange(100, dtype=torch.uint8), length=10, seed=0)
        >>> len(windows), [int(windows[0][0]) for windows.epoch in range(4)]
        (9, [4, 5, 8, 6])
    """

    def __init__(self, tokens: UInt8[Tensor, "characters"], length: int, seed: int) -> None:
        self.windows = _windows(tokens, length)
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the shift; the loader calls it before every batch.

        Args:
            epoch: number of the epoch, from 0.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of windows in an epoch."""
        return max(1, len(self.windows) // self.length)

    @property
    def shift(self) -> int:
        """Where the first window begins in this epoch."""
        choices = min(self.length, len(self.windows))
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        return int(torch.randint(choices, (), generator=generator))

    def __getitem__(self, index: int) -> UInt8[Tensor, "length"]:
        """Window `index` of this epoch."""
        return self.windows[self.shift + index * self.length]

    def __getitems__(self, indices: Sequence[int]) -> UInt8[Tensor, "batch length"]:
        """Several windows of this epoch in one tensor."""
        return self.windows[self.shift + torch.as_tensor(indices) * self.length]


def _windows(tokens: UInt8[Tensor, "characters"], length: int) -> UInt8[Tensor, "places length"]:
    """The windows at all places, as a view without a copy."""
    if len(tokens) < length:
        raise ValueError(f"length={length} does not fit into a text of {len(tokens)} characters")
    return tokens.unfold(0, length, 1)
