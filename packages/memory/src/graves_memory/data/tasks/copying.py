"""The copy tasks: remember words, and say them, once or several times."""

from typing import Literal

import torch

from graves_core.data.checks import check_at_least
from graves_memory.data.tasks.base import Batch, Task, answer_after, random_bits


class CopyTask(Task):
    """Random words between a start flag and an end flag; after it they are to be said in the same order.

    `L` words (the difficulty) take `2 L + 2` steps. Channels of the input: the bits of a word, the start
    flag, the end flag.

    Args:
        bits: of a word.
        shortest: the fewest words of training sequences.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when a number is too small.

    Source: Graves et al. 2014, section 4.1.

    Example:
        >>> batch = CopyTask(bits=1).make(3, batch=1, draw=torch.Generator().manual_seed(0), length=2)
        >>> batch["inputs"][0].T.tolist()
        [[0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]
        >>> batch["targets"][0, -2:].tolist()
        [[0.0], [1.0]]
    """

    def __init__(self, bits: int = 8, shortest: int = 1) -> None:
        super().__init__(check_at_least("bits", bits) + 2, bits, shortest)

    def sequences(self, length: int, batch: int, draw: torch.Generator) -> Batch:
        """Makes sequences of `length` words."""
        bits = self.output_size
        words = random_bits(draw, batch, length, bits)
        read = torch.zeros(batch, length + 2, self.input_size)
        read[:, 0, bits] = 1
        read[:, 1:-1, :bits] = words
        read[:, -1, bits + 1] = 1
        return answer_after(read, words)


class RepeatCopyTask(Task):
    """Random words, then a number: the words are to be said that often, and then an end marker.

    `L` words (the difficulty), said `R` times, take `L + 2 + R L + 1` steps. `R` is drawn uniformly from 1 to
    `repeats`, one for all sequences that are made together. Channels of the input: the bits of a word, the
    start flag, and what tells `R` at the step after the last word. The answer has one bit more than a word:
    the end marker.

    Args:
        bits: of a word.
        repeats: the largest number of repeats.
        count: how `R` is told: as the `"number"` `R / repeats`, or by a `"flag"` of its own for each number.
        shortest: the fewest words of training sequences.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when an argument is out of its range.

    Source: Graves et al. 2014, section 4.2; the number is scaled as in the published code of Graves et al.
    2016, so that it is never zero, as the blank is.

    Example:
        >>> task = RepeatCopyTask(bits=1, repeats=2)
        >>> batch = task.make(3, batch=1, draw=torch.Generator().manual_seed(1), length=2)
        >>> batch["inputs"][0, :, 2].tolist()
        [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        >>> batch["targets"][0, 4:].T.tolist()
        [[1.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """

    def __init__(
        self,
        bits: int = 8,
        repeats: int = 10,
        count: Literal["number", "flag"] = "number",
        shortest: int = 1,
    ) -> None:
        if count not in ("number", "flag"):
            raise ValueError(f"count must be 'number' or 'flag', got {count!r}")
        check_at_least("bits", bits)
        self.repeats = check_at_least("repeats", repeats)
        self.count = count
        super().__init__(bits + 1 + (1 if count == "number" else repeats), bits + 1, shortest)

    def sequences(self, length: int, batch: int, draw: torch.Generator) -> Batch:
        """Makes sequences of `length` words."""
        bits = self.output_size - 1
        times = int(torch.randint(1, self.repeats + 1, (), generator=draw))
        words = random_bits(draw, batch, length, bits)
        read = torch.zeros(batch, length + 2, self.input_size)
        read[:, 0, bits] = 1
        read[:, 1:-1, :bits] = words
        if self.count == "number":
            read[:, -1, bits + 1] = times / self.repeats
        else:
            read[:, -1, bits + times] = 1
        answer = torch.zeros(batch, length * times + 1, bits + 1)
        answer[:, :-1, :bits] = words.repeat(1, times, 1)
        answer[:, -1, bits] = 1
        return answer_after(read, answer)
