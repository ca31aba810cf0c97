"""A text in pieces, each with the symbols that come next."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from graves_core.data import StridedWindows, TiledWindows
from graves_core.data.datasets import BatchedDataset

Batch = dict[str, Tensor]


class StreamChunks(BatchedDataset):
    """Chunks of parallel streams: a text in `streams` equally long pieces that are read side by side.

    Row `i` is chunk `i // streams` of stream `i % streams`, so that a batch of `streams` rows, in order, is
    the next chunk of every stream. The targets are the inputs one symbol later in the text, across the ends
    of chunks and of streams.

    Each symbol but the last of the text is an input exactly once, but for fewer than `streams` symbols at
    the end of the text; with `full`, so that all chunks are equally long, fewer than `streams * length`.

    Args:
        tokens: the text.
        streams: number of streams.
        length: symbols in a chunk.
        full: whether streams end where they have no full chunk left; else their last chunk is shorter.

    Raises:
        ValueError: when the text is too short for one chunk of each stream.

    Example:
        >>> chunks = StreamChunks(torch.arange(10, dtype=torch.uint8), streams=2, length=3, full=False)
        >>> [chunks.__getitems__([row, row + 1])["inputs"].tolist() for row in (0, 2)]
        [[[0, 1, 2], [4, 5, 6]], [[3], [7]]]
    """

    def __init__(self, tokens: UInt8[Tensor, "symbols"], streams: int, length: int, full: bool) -> None:
        each = (len(tokens) - 1) // streams
        self.each = each - each % length if full else each
        if self.each < 1:
            raise ValueError(
                f"{len(tokens)} symbols are too few for {streams} streams (batch_size times the number of "
                f"devices) of {f'one chunk of length={length}' if full else 'one symbol'} and what comes next"
            )
        self.tokens = tokens
        self.streams = streams
        self.length = length

    def __len__(self) -> int:
        """Number of chunks of all streams."""
        return -(-self.each // self.length) * self.streams

    def __getitem__(self, index: int) -> Batch:
        """One chunk."""
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The same chunk of several streams; `reset` tells whether it is the first one."""
        chunk = indices[0] // self.streams
        begin = chunk * self.length
        steps = torch.arange(begin, min(begin + self.length, self.each) + 1)
        stream = torch.as_tensor(indices) % self.streams
        return _next_symbols(self.tokens[stream[:, None] * self.each + steps], reset=chunk == 0)


class Crops(BatchedDataset):
    """Windows of a text, each of which begins anew.

    Args:
        windows: gives windows of `length + 1` symbols.

    Example:
        >>> crops = Crops(StridedWindows(torch.arange(9, dtype=torch.uint8), length=4, stride=3))
        >>> crops[1]["inputs"].tolist(), crops[1]["targets"].tolist(), bool(crops[1]["reset"])
        ([3, 4, 5], [4, 5, 6], True)
    """

    def __init__(self, windows: StridedWindows | TiledWindows) -> None:
        self.windows = windows

    def set_epoch(self, epoch: int) -> None:
        """Chooses where the windows of an epoch lie.

        Args:
            epoch: number of the epoch, from 0.
        """
        if isinstance(self.windows, TiledWindows):
            self.windows.set_epoch(epoch)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.windows)

    def __getitem__(self, index: int) -> Batch:
        """One window."""
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Several windows; `reset` is true for all."""
        return _next_symbols(self.windows.__getitems__(indices), reset=True)


def _next_symbols(windows: UInt8[Tensor, "batch length"], reset: bool) -> Batch:
    return {
        "inputs": windows[:, :-1],
        "targets": windows[:, 1:].long(),
        "reset": torch.full((len(windows),), reset),
    }
