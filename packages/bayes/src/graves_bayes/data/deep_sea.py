"""Deep Sea: an exploration task in which one of 2^N action sequences is rewarded."""

from functools import lru_cache
from typing import Any

import numpy as np

from graves_core.data.checks import check_at_least, check_seed

DEEP_SEA = "graves/DeepSea-v0"
"""The id under which gymnasium knows the environment after `register_deep_sea`."""
MOVE_COST = 0.01
"""What an episode of moves to the right costs in all."""

Observation = np.ndarray[Any, np.dtype[np.float32]]


def right_actions(size: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which of the two actions means "right", in each cell of the grid.

    Args:
        size: rows and columns.
        seed: of the drawing; another seed is another map.

    Example:
        >>> right_actions(3, seed=0).shape
        (3, 3)
    """
    return np.random.default_rng(seed).integers(2, size=(size, size))


class DeepSea:
    """A diver on an N x N grid, who sinks a row per step and moves one column to the left or to the right.

    An episode has N steps and starts at the upper left. Each move to the right costs 0.01 / N, and one from
    the last column, which only moves to the right alone lead to, brings 1: the best return is 0.99. Which of
    two actions is which is drawn for each cell, so that no constant policy finds the treasure and learning
    about one cell tells nothing about another. Observations are one-hot grids, and zeros after the last step.

    This class needs no other package; with `register_deep_sea` it is an environment of gymnasium.

    Args:
        size: N.
        seed: of the meanings of the actions.

    Raises:
        ValueError: when a number is out of range.

    Source: Osband et al. 2019, "Behaviour Suite for Reinforcement Learning".

    Example:
        >>> sea = DeepSea(size=4, seed=1)
        >>> _ = sea.reset()
        >>> total, done = 0.0, False
        >>> while not done:
        ...     _, reward, done, _, _ = sea.step(sea.best_action)
        ...     total += reward
        >>> round(total, 9)
        0.99
    """

    def __init__(self, size: int = 10, seed: int = 0) -> None:
        self.size = check_at_least("size", size, 2)
        self.right = right_actions(size, check_seed(seed))
        self.row = self.column = 0

    @property
    def best_action(self) -> int:
        """The action that means "right" where the diver is."""
        return int(self.right[self.row, self.column])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode; there is nothing to draw, so that both arguments change nothing.

        Args:
            seed: as gymnasium passes it.
            options: as gymnasium passes them.
        """
        self.row = self.column = 0
        return self._observation(), {}

    def step(self, action: int | np.integer[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Moves the diver: observation, reward, whether the episode has ended, twice, and nothing else.

        Args:
            action: 0 or 1.

        Raises:
            ValueError: when it is another one.
            RuntimeError: when the episode has ended.
        """
        if action not in (0, 1):
            raise ValueError(f"action must be 0 or 1, not {action!r}")
        if self.row == self.size:
            raise RuntimeError("the episode has ended: call reset before step")
        moves_right = int(action) == self.best_action
        found = moves_right and self.column == self.size - 1
        reward = (1.0 if found else 0.0) - (MOVE_COST / self.size if moves_right else 0.0)
        self.column = min(max(self.column + (1 if moves_right else -1), 0), self.size - 1)
        self.row += 1
        return self._observation(), reward, self.row == self.size, False, {}

    def state_dict(self) -> dict[str, int]:
        """Where the diver is."""
        return {"row": self.row, "column": self.column}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Puts the diver where he was.

        Args:
            state: from `state_dict`.
        """
        self.row, self.column = int(state["row"]), int(state["column"])

    def _observation(self) -> Observation:
        grid = np.zeros(self.size * self.size, dtype=np.float32)
        if self.row < self.size:
            grid[self.row * self.size + self.column] = 1
        return grid


def make_deep_sea(size: int = 10, seed: int = 0, render_mode: str | None = None) -> Any:
    """Makes a `DeepSea` that is a `gymnasium.Env`.

    Args:
        size: rows and columns.
        seed: of the meanings of the actions.
        render_mode: None, because nothing is drawn.

    Raises:
        ImportError: when gymnasium is not installed.
        ValueError: when an argument is out of range.
    """
    if render_mode is not None:
        raise ValueError(f"render_mode must be None, not {render_mode!r}")
    return _environment_class()(size, seed)


def register_deep_sea() -> str:
    """Makes the id `graves/DeepSea-v0` known to gymnasium, if it is not yet, and returns it.

    Raises:
        ImportError: when gymnasium is not installed.
    """
    import gymnasium

    if DEEP_SEA not in gymnasium.registry:
        gymnasium.register(DEEP_SEA, entry_point=f"{__name__}:{make_deep_sea.__name__}")
    return DEEP_SEA


@lru_cache(maxsize=1)
def _environment_class() -> Any:
    """The class with gymnasium as its second base."""
    import gymnasium

    def init(self: Any, size: int, seed: int) -> None:
        DeepSea.__init__(self, size, seed)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (size * size,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(
        self: Any, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        gymnasium.Env.reset(self, seed=seed, options=options)
        return DeepSea.reset(self, seed=seed, options=options)

    body = {"__init__": init, "reset": reset, "metadata": {"render_modes": []}}
    return type("DeepSeaEnv", (DeepSea, gymnasium.Env), body)
