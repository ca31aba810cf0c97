"""What tasks of remembering have in common: read something, then answer."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from graves_core.data.checks import check_at_least
from graves_core.spec import Spec

Batch = dict[str, Tensor]


class Task(Spec, ABC):
    """Sequences made at random that a network reads, with the bits that it should answer then.

    A subclass says what a sequence of a difficulty is. Nothing is to be read while the answer is due.

    Args:
        input_size: channels that are read.
        output_size: bits of a word of the answer.
        shortest: the least difficulty of training sequences.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when a number is too small.

    Example:
        >>> class Echo(Task):
        ...     def __init__(self) -> None:
        ...         super().__init__(input_size=1, output_size=1, shortest=1)
        ...     def sequences(self, length: int, batch: int, draw: torch.Generator) -> Batch:
        ...         heard = random_bits(draw, batch, length, 1)
        ...         return answer_after(heard, heard)
        >>> echo = Echo().make(level=3, batch=2, draw=torch.Generator().manual_seed(0), length=2)
        >>> echo["inputs"].shape, echo["mask"][0].tolist(), echo["level"].tolist()
        (torch.Size([2, 4, 1]), [False, False, True, True], [2, 2])
    """

    def __init__(self, input_size: int, output_size: int, shortest: int) -> None:
        self.input_size = check_at_least("input_size", input_size)
        self.output_size = check_at_least("output_size", output_size)
        self.shortest = check_at_least("shortest", shortest)

    @abstractmethod
    def sequences(self, length: int, batch: int, draw: torch.Generator) -> Batch:
        """Makes sequences of one difficulty.

        Args:
            length: the difficulty, at least 1.
            batch: how many sequences.
            draw: where random numbers come from.

        Returns:
            `inputs`: `float32 (batch, time, input_size)`; `targets`: `float32 (batch, time, output_size)`, 0
            or 1; `mask`: `bool (batch, time)`, true where the answer is due.
        """

    def make(self, level: int, batch: int, draw: torch.Generator, length: int | None = None) -> Batch:
        """Makes sequences of one difficulty, which is drawn unless it is given.

        Args:
            level: the greatest difficulty; it is drawn uniformly from `shortest` to `level`.
            batch: how many sequences.
            draw: where random numbers come from.
            length: the difficulty; then `level` has no meaning.

        Returns:
            What `sequences` returns, and `level`: `int64 (batch,)`.

        Raises:
            ValueError: when `level` or `length` is less than `shortest`.
        """
        name, greatest = ("level", level) if length is None else ("length", length)
        check_at_least(name, greatest, self.shortest)
        if length is None:
            length = int(torch.randint(self.shortest, level + 1, (), generator=draw))
        return self.sequences(length, batch, draw) | {"level": torch.full((batch,), length)}


def random_bits(draw: torch.Generator, *shape: int) -> Float[Tensor, "..."]:
    """Fair bits, 0 or 1.

    Args:
        draw: where they come from.
        shape: of the result.
    """
    return torch.randint(2, shape, generator=draw, dtype=torch.float32)


def answer_after(
    read: Float[Tensor, "batch read channels"], answer: Float[Tensor, "batch words bits"]
) -> Batch:
    """Lays sequences out in time: first what is read, then, while nothing is read, the answer.

    Args:
        read: what the network reads.
        answer: what it should say, word by word.

    Example:
        >>> batch = answer_after(torch.ones(1, 2, 1), torch.ones(1, 1, 1))
        >>> batch["inputs"].flatten().tolist(), batch["targets"].flatten().tolist()
        ([1.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    """
    before, after = read.shape[1], answer.shape[1]
    return {
        "inputs": torch.nn.functional.pad(read, (0, 0, 0, after)),
        "targets": torch.nn.functional.pad(answer, (0, 0, before, 0)),
        "mask": (torch.arange(before + after) >= before).repeat(len(read), 1),
    }
