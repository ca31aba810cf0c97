"""Deep Sea for many maps at once, on tensors."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graves_bayes.data.deep_sea import MOVE_COST, right_actions
from graves_core.data.checks import check_at_least, check_seed


class DeepSeaBatch:
    """Divers in seas of one size with a map each, who all move at once: what `DeepSea` is for one.

    All episodes begin and end at the same time. Cells are numbered row by row; the number after the last step
    is `size * size`, of no cell. `one_hot` turns numbers into observations.

    Args:
        size: rows and columns.
        seeds: of the maps, one for each diver.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> seas = DeepSeaBatch(size=4, seeds=range(3))
        >>> for _ in range(4):
        ...     cells, rewards, done = seas.step(seas.best_actions())
        >>> rewards.tolist() == [1 - 0.01 / 4] * 3, done
        (True, True)
    """

    def __init__(self, size: int, seeds: Sequence[int]) -> None:
        self.size = check_at_least("size", size, 2)
        maps = [torch.from_numpy(right_actions(size, check_seed(seed))).flatten() for seed in seeds]
        self.right = torch.stack(maps)
        self.column = torch.zeros(len(maps), dtype=torch.int64)
        self.row = 0

    @property
    def cells(self) -> Int[Tensor, " divers"]:
        """Where the divers are."""
        if self.row == self.size:
            return torch.full_like(self.column, self.size * self.size)
        return self.row * self.size + self.column

    def reset(self) -> Int[Tensor, " divers"]:
        """Starts an episode; returns the cells."""
        self.row = 0
        self.column = torch.zeros_like(self.column)
        return self.cells

    def best_actions(self) -> Int[Tensor, " divers"]:
        """The actions that mean "right" where the divers are."""
        return self.right.gather(1, self.cells[:, None]).squeeze(1)

    def step(
        self, actions: Int[Tensor, " divers"]
    ) -> tuple[Int[Tensor, " divers"], Float[Tensor, " divers"], bool]:
        """Moves all divers: cells, rewards in float64, and whether the episodes have ended.

        Args:
            actions: 0 or 1.

        Raises:
            RuntimeError: when the episodes have ended.
        """
        if self.row == self.size:
            raise RuntimeError("the episodes have ended: call reset before step")
        moves_right: Bool[Tensor, " divers"] = actions == self.best_actions()
        found = moves_right & (self.column == self.size - 1)
        rewards = found.double() - MOVE_COST / self.size * moves_right.double()
        self.column = (self.column + 2 * moves_right.long() - 1).clamp(0, self.size - 1)
        self.row += 1
        return self.cells, rewards, self.row == self.size

    def one_hot(self, cells: Int[Tensor, "*divers"]) -> Float[Tensor, "*divers cells"]:
        """Observations: a one where the diver is, zeros after the last step.

        Args:
            cells: numbers from `cells` or `step`.
        """
        classes = self.size * self.size + 1
        return torch.nn.functional.one_hot(cells, classes)[..., :-1].float()
