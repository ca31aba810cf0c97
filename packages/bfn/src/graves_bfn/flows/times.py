"""Which times are looked at: in training, spread over the batch; with n messages, on a grid."""

import math
from abc import ABC, abstractmethod
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, arange

from graves_core.spec import Spec


def stratified_times(
    u: Float[Tensor, ""], count: int, rank: int = 0, world_size: int = 1
) -> Float[Tensor, " {count}"]:
    """Times of a batch that together cover [0, 1) evenly: t_b = (u + b/B) mod 1 over the global batch.

    Each of them is uniform by itself, so the loss stays unbiased, and its variance falls.

    Args:
        u: one uniform number in [0, 1), the same on all ranks.
        count: examples on this rank.
        rank: of this process; its examples are every `world_size`-th of the global batch.
        world_size: number of processes.
    """
    places = (arange(count, device=u.device) * world_size + rank).to(u) / (count * world_size)
    return (u + places).remainder(1)


class TimeGrid(Spec, ABC):
    """Where between the start (0) and the end (1) of a generation or a message sequence its steps lie.

    Example:
        >>> PowerGrid(2.0).fractions(4)
        [0.0, 0.0625, 0.25, 0.5625, 1.0]
    """

    @abstractmethod
    def fractions(self, num_steps: int) -> list[float]:
        """`num_steps` + 1 increasing numbers from 0 to 1.

        Raises:
            ValueError: when `num_steps` is not positive, or not a number of steps that the grid has.
        """


class UniformGrid(TimeGrid):
    """Equal steps, as in the paper.

    Example:
        >>> UniformGrid().fractions(4)
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    def __init__(self) -> None:
        pass

    def fractions(self, num_steps: int) -> list[float]:
        """i/n."""
        _check_positive(num_steps)
        return [i / num_steps for i in range(num_steps + 1)]


class PowerGrid(TimeGrid):
    """(i/n)^power: above 1 the steps are shorter early on, below 1 late.

    Args:
        power: positive.

    Raises:
        ValueError: when `power` is not positive.

    Example:
        >>> PowerGrid(0.5).fractions(4)[1]
        0.5
    """

    def __init__(self, power: float) -> None:
        if not 0 < power < math.inf:
            raise ValueError(f"power must be positive, not {power}")
        self.power = power

    def fractions(self, num_steps: int) -> list[float]:
        """(i/n)^power."""
        _check_positive(num_steps)
        times = [(i / num_steps) ** self.power for i in range(num_steps + 1)]
        if not _increase(times):
            raise ValueError(f"power={self.power} puts some of num_steps={num_steps} steps at the same time")
        return times


class ListedGrid(TimeGrid):
    """Steps as they are listed.

    Args:
        times: increasing, from 0 to 1.

    Raises:
        ValueError: when they are not.

    Example:
        >>> ListedGrid([0.0, 0.9, 1.0]).fractions(2)
        [0.0, 0.9, 1.0]
    """

    def __init__(self, times: list[float]) -> None:
        if len(times) < 2 or times[0] != 0 or times[-1] != 1 or not _increase(times):
            raise ValueError(f"times must increase from 0 to 1, not {times}")
        self.times = [float(time) for time in times]

    def fractions(self, num_steps: int) -> list[float]:
        """The list.

        Raises:
            ValueError: when it has another number of steps.
        """
        if num_steps != len(self.times) - 1:
            raise ValueError(f"num_steps must be {len(self.times) - 1}, as ListedGrid has, not {num_steps}")
        return list(self.times)


def _increase(times: list[float]) -> bool:
    return all(a < b for a, b in pairwise(times))


def _check_positive(num_steps: int) -> None:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
