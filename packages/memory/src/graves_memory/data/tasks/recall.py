"""Associative recall: say what belongs to a key."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_core.data.checks import check_at_least
from graves_memory.data.tasks.base import Batch, Task, answer_after, random_bits

Words = Float[Tensor, "batch items words bits"]


class AssociativeRecallTask(Task):
    """Random items are read; then one of them is shown again, and what belongs to it is to be said.

    - `"pairs"`: an item is a key and its value, and the value of a key is asked for.
    - `"items"`: an item has no parts, and the item that followed it is asked for.

    The difficulty is the number of items. A flag goes before each item, and another one before and after the
    key that is shown again. Channels of the input: the bits of a word, the two flags. All is drawn at random,
    except that what is asked for is among the items only once.

    Args:
        bits: of a word.
        words: in a key, in a value, or in an item.
        kind: what an item is. The task of Graves et al. 2014 is `"items"` of 3 words of 6 bits.
        shortest: the fewest items of training sequences; `"items"` need 2.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when an argument is out of its range.

    Source: Graves et al. 2014, section 4.3 (`"items"`); Rae et al. 2016 (`"pairs"`).

    Example:
        >>> task = AssociativeRecallTask(bits=1)
        >>> batch = task.make(3, batch=1, draw=torch.Generator().manual_seed(0), length=2)
        >>> batch["inputs"][0].T.tolist()
        [[0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
         [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
         [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]]
        >>> batch["targets"][0, -1].tolist()
        [1.0]
    """

    def __init__(
        self, bits: int = 8, words: int = 1, kind: Literal["pairs", "items"] = "pairs", shortest: int = 2
    ) -> None:
        if kind not in ("pairs", "items"):
            raise ValueError(f"kind must be 'pairs' or 'items', got {kind!r}")
        self.words = check_at_least("words", words)
        self.kind = kind
        super().__init__(
            check_at_least("bits", bits) + 2,
            bits,
            check_at_least("shortest", shortest, 1 if kind == "pairs" else 2),
        )

    def sequences(self, length: int, batch: int, draw: torch.Generator) -> Batch:
        """Makes sequences of `length` items."""
        pairs, shape = self.kind == "pairs", (batch, length, self.words, self.output_size)
        places = torch.randint(length if pairs else length - 1, (batch,), generator=draw)
        keys = only_once(random_bits(draw, *shape), places, draw)
        row = torch.arange(batch)
        values = random_bits(draw, *shape) if pairs else keys.roll(-1, 1)
        items = torch.cat([keys, values], 2) if pairs else keys
        return answer_after(self._read(items, keys[row, places]), values[row, places])

    def _read(
        self, items: Float[Tensor, "batch items steps bits"], asked: Float[Tensor, "batch words bits"]
    ) -> Float[Tensor, "batch read channels"]:
        bits = self.output_size
        shown = torch.nn.functional.pad(items, (0, 2, 1, 0))
        shown[:, :, 0, bits] = 1
        query = torch.nn.functional.pad(asked, (0, 2, 1, 1))
        query[:, [0, -1], bits + 1] = 1
        return torch.cat([shown.flatten(1, 2), query], 1)


def only_once(keys: Words, places: Int64[Tensor, " batch"], draw: torch.Generator) -> Words:
    """Draws those keys again that equal the one at the place, until there are none.

    The others are then uniform over all that differ from it.

    Args:
        keys: any keys.
        places: the place of the key that is to stay, in each sequence.
        draw: where new keys come from.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> only_once(torch.ones(1, 3, 1, 1), torch.tensor([1]), draw).flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    row = torch.arange(len(keys))
    while True:
        equal = (keys == keys[row, places][:, None]).flatten(2).all(2)
        equal[row, places] = False
        wrong = int(equal.sum())
        if not wrong:
            return keys
        keys = keys.clone()
        keys[equal] = random_bits(draw, wrong, *keys.shape[2:])
