"""Sequences of bits that are to be remembered, as what a network reads and what it should answer."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

SYMBOLS = "01|_"
"""What a network reads: the two bits, the marker at the end of the input, and the blank."""
MARKER, BLANK = 2, 3
NO_TARGET = -100


def copy_task(bits: UInt8[Tensor, "batch longest"], lengths: Int64[Tensor, "batch"]) -> dict[str, Tensor]:
    """Lays sequences out in time: the bits, the marker, then blanks while the bits are to be said again.

    A sequence of `L` bits takes `2 L + 1` steps. Shorter ones are followed by blanks without targets.

    Args:
        bits: 0 or 1; of sequence `b`, the first `lengths[b]` count.
        lengths: from 1 to `longest`.

    Returns:
        `inputs`: `uint8 (batch, 2 * longest + 1)`, indices into `SYMBOLS`; and `targets`: `int64` of the same
        shape, the bits in the `L` steps after the marker, -100 elsewhere.

    Source: the copy task of Graves et al. 2014, as Menick et al. 2020 train on it.

    Example:
        >>> batch = copy_task(torch.tensor([[1, 0]], dtype=torch.uint8), torch.tensor([2]))
        >>> batch["inputs"].tolist(), batch["targets"].tolist()
        ([[1, 0, 2, 3, 3]], [[-100, -100, -100, 1, 0]])
    """
    longest = bits.shape[1]
    step = torch.arange(2 * longest + 1)
    end = lengths[:, None]
    read = torch.nn.functional.pad(bits, (0, longest + 1), value=BLANK)
    inputs = torch.where(step < end, read, BLANK).masked_fill_(step == end, MARKER)
    answers = bits.long().gather(1, (step - end - 1).clamp(0, longest - 1))
    targets = answers.where((step > end) & (step <= 2 * end), NO_TARGET)
    return {"inputs": inputs, "targets": targets}
