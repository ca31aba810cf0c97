"""Environments of gymnasium, several at once, as tensors."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graves_bayes.data.deep_sea import DEEP_SEA, register_deep_sea
from graves_core.data.checks import check_at_least

EXTRAS = {"gymnasium": "agents", "ale_py": "atari", "minatar": "minatar"}


class Step(NamedTuple):
    """What a step of all environments led to.

    Attributes:
        rewards: of each environment.
        terminated: whether the episode terminated.
        truncated: whether it was cut off.
        reached: the observations after the step, also where an episode ended.
        observations: those with which the environments go on: the first of an episode where one ended.
    """

    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    reached: Tensor
    observations: Tensor


class Environments:
    """Several environments of a kind, which start a new episode by themselves.

    Ids are those of gymnasium, among them `graves/DeepSea-v0`; `MinAtar/...`, with the package minatar; and
    `ALE/...`, with the package ale-py, whose own vector environments are used: they scale frames to 84 x 84,
    stack four of them, repeat actions and clip rewards, as their options say. Actions are to be discrete.

    Args:
        environment: id of the environment.
        count: how many of them.
        options: arguments of each environment.

    Raises:
        ImportError: when a package is missing, naming the extra that brings it.
        ValueError: when there is no such environment, or actions are not discrete.

    Example:
        >>> seas = Environments("graves/DeepSea-v0", count=2, options={"size": 3})
        >>> seas.reset(seed=0).shape, seas.actions
        (torch.Size([2, 9]), 2)
        >>> seas.step(torch.tensor([0, 1])).rewards.shape
        torch.Size([2])
    """

    def __init__(self, environment: str, count: int = 1, options: Mapping[str, Any] | None = None) -> None:
        self.name = environment
        self.count = check_at_least("count", count)
        self._env = _make(environment, count, dict(options or {}))
        space = self._env.single_action_space
        if not hasattr(space, "n"):
            raise ValueError(f"environment {environment!r} must have discrete actions, not {space}")
        self.actions = int(space.n)
        self.shape = tuple(self._env.single_observation_space.shape)
        self.returns = np.zeros(count)
        self.lengths = np.zeros(count, dtype=np.int64)
        self.ended: list[tuple[float, int]] = []

    def reset(self, seed: int) -> Tensor:
        """Starts an episode in all of them; returns the observations.

        Args:
            seed: of all that the environments draw.
        """
        observations, _ = self._env.reset(seed=seed % 2**31)
        self.returns[:], self.lengths[:] = 0, 0
        return _tensor(observations)

    def step(self, actions: Tensor) -> Step:
        """Takes an action in each environment.

        Args:
            actions: one for each.
        """
        after, rewards, terminated, truncated, info = self._env.step(actions.cpu().numpy().astype(np.int64))
        ended = terminated | truncated
        self._count(rewards, ended)
        return Step(
            torch.as_tensor(rewards, dtype=torch.float32),
            torch.as_tensor(terminated.astype(bool)),
            torch.as_tensor(truncated.astype(bool)),
            _tensor(_reached(after, ended, info)),
            _tensor(after),
        )

    def take_ended(self) -> list[tuple[float, int]]:
        """Returns and lengths of the episodes that have ended since this was asked the last time."""
        ended, self.ended = self.ended, []
        return ended

    def state_dict(self) -> dict[str, Any] | None:
        """Where all environments are; None when they cannot tell.

        They can if each has `state_dict` and `load_state_dict`, as `DeepSea` has.
        """
        places = [environment.state_dict() for environment in self._restorable()]
        if not places:
            return None
        return {
            "places": places,
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts all environments where they were; `reset` must have been called before.

        Args:
            state: from `state_dict`.
        """
        for environment, place in zip(self._restorable(), state["places"], strict=True):
            environment.load_state_dict(place)
        self.returns[:], self.lengths[:] = state["returns"], state["lengths"]

    def close(self) -> None:
        """Frees what the environments hold."""
        self._env.close()

    def _restorable(self) -> list[Any]:
        inner = [environment.unwrapped for environment in getattr(self._env, "envs", [])]
        return inner if all(hasattr(environment, "load_state_dict") for environment in inner) else []

    def _count(self, rewards: Any, ended: Any) -> None:
        self.returns += rewards
        self.lengths += 1
        for index in np.flatnonzero(ended):
            self.ended.append((float(self.returns[index]), int(self.lengths[index])))
            self.returns[index], self.lengths[index] = 0.0, 0


def _make(environment: str, count: int, options: dict[str, Any]) -> Any:
    _need("gymnasium", environment)
    import gymnasium

    _register(environment)
    try:
        if environment.startswith("ALE/"):
            return gymnasium.make_vec(environment, count, autoreset_mode="SameStep", **options)
        return gymnasium.make_vec(
            environment,
            count,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": "SameStep"},
            **options,
        )
    except gymnasium.error.UnregisteredEnv as error:
        raise ValueError(f"environment must be an id that gymnasium knows, not {environment!r}") from error


def _register(environment: str) -> None:
    """Makes ids known that gymnasium does not know by itself."""
    if environment == DEEP_SEA:
        register_deep_sea()
    elif environment.startswith("ALE/"):
        _need("ale_py", environment)
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
    elif environment.startswith("MinAtar/"):
        _need("minatar", environment)
        import gymnasium

        if environment not in gymnasium.registry:
            import_module("minatar.gym").register_envs()


def _need(package: str, user: str) -> None:
    if find_spec(package) is None:
        raise ImportError(f'{user} needs: pip install "graves-bayes[{EXTRAS[package]}]"')


def _tensor(observations: Any) -> Tensor:
    """A copy, because environments reuse their arrays; float64 becomes float32."""
    tensor = torch.from_numpy(np.array(observations))
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _reached(after: Any, ended: Any, info: Mapping[str, Any]) -> Any:
    """The observations after the step, with the last ones of the episodes that have ended."""
    reached = np.array(after)
    for index in np.flatnonzero(ended):
        reached[index] = info["final_obs"][index]
    return reached
