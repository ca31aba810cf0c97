"""Which rows of a replay memory are drawn: all alike, or by their priority."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor


class RowSampler(ABC):
    """Weights of rows, 0 for those that must not be drawn.

    Args:
        rows: how many there are.
        device: where the weights are.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows = rows
        self.device = device

    @abstractmethod
    def close(self, rows: Int[Tensor, " some"]) -> None:
        """Takes rows out.

        Args:
            rows: their numbers; repeated ones do no harm.
        """

    @abstractmethod
    def open(self, rows: Int[Tensor, " some"]) -> None:
        """Lets rows be drawn.

        Args:
            rows: their numbers.
        """

    @abstractmethod
    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " count"], Float[Tensor, " count"]]:
        """Draws rows with replacement; returns them and what their probabilities are proportional to.

        Args:
            count: how many.
            generator: source of the draws.

        Raises:
            RuntimeError: when no row may be drawn.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The weights."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """Takes over weights.

        Args:
            state: from `state`.
        """


class UniformRows(RowSampler):
    """All open rows are drawn alike: rows are drawn among all, and closed ones again.

    Args:
        rows: how many there are.
        device: where the weights are.

    Example:
        >>> sampler = UniformRows(4, torch.device("cpu"))
        >>> sampler.open(torch.tensor([2]))
        >>> sampler.draw(3, torch.Generator())[0].tolist()
        [2, 2, 2]
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        super().__init__(rows, device)
        self.is_open = torch.zeros(rows, dtype=torch.bool, device=device)

    def close(self, rows: Tensor) -> None:
        """Takes rows out."""
        self.is_open[rows] = False

    def open(self, rows: Tensor) -> None:
        """Lets rows be drawn."""
        self.is_open[rows] = True

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws open rows."""
        among = self.is_open.nonzero().squeeze(1) if self._is_sparse() else None
        last = self.rows if among is None else len(among)
        if last == 0:
            raise RuntimeError("no row can be drawn: the replay memory holds no transition that is complete")
        rows = torch.randint(last, (count,), generator=generator, device=self.device)
        if among is not None:
            return among[rows], torch.ones(count, device=self.device)
        while not (good := self.is_open[rows]).all():
            again = torch.randint(last, (count,), generator=generator, device=self.device)
            rows = torch.where(good, rows, again)
        return rows, torch.ones(count, device=self.device)

    def state(self) -> dict[str, Tensor]:
        """Which rows are open."""
        return {"open": self.is_open}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes over which rows are open."""
        self.is_open.copy_(state["open"])

    def _is_sparse(self) -> bool:
        """Whether so few rows are open that drawing among all would take long."""
        probe = self.is_open[:: max(1, self.rows // 256)]
        return bool(probe.float().mean() < 0.25)


class PriorityRows(RowSampler):
    """Rows are drawn in proportion to their priority, by a binary tree of sums.

    Changing or drawing `count` rows takes log2(rows) operations on `count` numbers. Rows that are opened get
    the greatest priority that any row had so far.

    Args:
        rows: how many there are.
        device: where the weights are.

    Source: Schaul et al. 2016, "Prioritized Experience Replay".

    Example:
        >>> sampler = PriorityRows(4, torch.device("cpu"))
        >>> sampler.open(torch.tensor([1, 3]))
        >>> sampler.set(torch.tensor([1, 3]), torch.tensor([0.5, 8.0]))
        >>> float(sampler.total)
        8.5
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        super().__init__(rows, device)
        self.levels = max(1, (rows - 1).bit_length())
        self.leaves = 2**self.levels
        self.sums = torch.zeros(2 * self.leaves, dtype=torch.float64, device=device)
        self.largest = torch.ones((), dtype=torch.float64, device=device)

    @property
    def total(self) -> Float[Tensor, ""]:
        """The sum of all priorities."""
        return self.sums[1]

    def close(self, rows: Tensor) -> None:
        """Takes rows out."""
        self._write(rows, torch.zeros(len(rows), dtype=torch.float64, device=self.device))

    def open(self, rows: Tensor) -> None:
        """Lets rows be drawn, with the greatest priority."""
        self._write(rows, self.largest.expand(len(rows)))

    def set(self, rows: Int[Tensor, " some"], priorities: Float[Tensor, " some"]) -> None:
        """Changes the priorities of open rows; those that were closed in the meantime stay closed.

        Args:
            rows: their numbers.
            priorities: above 0.
        """
        priorities = priorities.to(self.sums)
        self.largest = torch.maximum(self.largest, priorities.max())
        self._write(rows, torch.where(self.sums[self.leaves + rows] > 0, priorities, 0))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws rows in proportion to their priority."""
        if not self.total > 0:
            raise RuntimeError("no row can be drawn: the replay memory holds no transition that is complete")
        rest = torch.rand(count, dtype=torch.float64, generator=generator, device=self.device) * self.total
        node = torch.ones(count, dtype=torch.int64, device=self.device)
        for _ in range(self.levels):
            left, right = self.sums[2 * node], self.sums[2 * node + 1]
            goes_right = (rest >= left) & (right > 0)
            rest = torch.where(goes_right, rest - left, rest)
            node = 2 * node + goes_right.long()
        return node - self.leaves, self.sums[node].float()

    def state(self) -> dict[str, Tensor]:
        """The priorities."""
        leaves = self.sums[self.leaves : self.leaves + self.rows]
        return {"priorities": leaves, "largest": self.largest}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes over priorities; sums are formed again, as they were."""
        self.largest = state["largest"].to(self.sums)
        self.sums[self.leaves : self.leaves + self.rows] = state["priorities"].to(self.sums)
        for level in range(self.levels - 1, -1, -1):
            children = self.sums[2 ** (level + 1) : 2 ** (level + 2)]
            self.sums[2**level : 2 ** (level + 1)] = children[::2] + children[1::2]

    def _write(self, rows: Tensor, priorities: Tensor) -> None:
        node = self.leaves + rows
        self.sums[node] = priorities
        for _ in range(self.levels):
            node = node // 2
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1]
