"""Priority sort: say words in the order of the numbers that came with them."""

import torch

from graves_core.data.checks import check_at_least
from graves_memory.data.tasks.base import Batch, Task, answer_after, random_bits


class PrioritySortTask(Task):
    """Random words with priorities, then an end flag: those of the highest priorities, the highest first.

    The difficulty is the number of words, of which the share `kept` is to be said, rounded, but at least one.
    Priorities are uniform over [-1, 1); of equal ones, the word that was read first comes first. Channels of
    the input: the bits of a word, its priority, the end flag.

    Args:
        bits: of a word.
        kept: share of the words that are to be said, in (0, 1].
        shortest: the fewest words of training sequences. With as many as the level, all have 20 words of
            which 16 are kept, as in the paper, at level 20.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when an argument is out of its range.

    Source: Graves et al. 2014, section 4.5.

    Example:
        >>> task = PrioritySortTask(bits=1)
        >>> batch = task.make(3, batch=1, draw=torch.Generator().manual_seed(1), length=3)
        >>> [(int(word), round(priority, 2)) for word, priority, _ in batch["inputs"][0, :3].tolist()]
        [(1, 0.47), (1, -0.94), (0, 0.6)]
        >>> batch["targets"][0, -2:].tolist()
        [[0.0], [1.0]]
    """

    def __init__(self, bits: int = 8, kept: float = 0.8, shortest: int = 1) -> None:
        if not isinstance(kept, (int, float)) or isinstance(kept, bool):
            raise TypeError(f"kept must be a number, got {kept!r}")
        if not 0 < kept <= 1:
            raise ValueError(f"kept must lie in (0, 1], got {kept}")
        self.kept = kept
        super().__init__(check_at_least("bits", bits) + 2, bits, shortest)

    def sequences(self, length: int, batch: int, draw: torch.Generator) -> Batch:
        """Makes sequences of `length` words."""
        bits = self.output_size
        words = random_bits(draw, batch, length, bits)
        priorities = 2 * torch.rand(batch, length, generator=draw) - 1
        read = torch.zeros(batch, length + 1, self.input_size)
        read[:, :-1, :bits] = words
        read[:, :-1, bits] = priorities
        read[:, -1, bits + 1] = 1
        order = priorities.argsort(dim=1, descending=True, stable=True)
        kept = order[:, : max(1, round(self.kept * length))]
        return answer_after(read, words.gather(1, kept[:, :, None].expand(-1, -1, bits)))
