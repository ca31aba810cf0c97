"""Environments as data: what replay and rollouts have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from graves_bayes.data.agents import agent_of
from graves_bayes.data.environments import Environments, Step
from graves_bayes.returns.clock import Clock
from graves_core.batches import mix_seed, rank_and_world
from graves_core.data.checks import check_at_least, check_seed
from graves_core.streams import gathered_states, own_state


@dataclass(frozen=True)
class EnvironmentSpec:
    """What an environment shows and takes, so that a model can check before training that the two fit.

    Args:
        observation_shape: of an observation.
        actions: how many there are.

    Example:
        >>> EnvironmentSpec(observation_shape=(4,), actions=2).actions
        2
    """

    observation_shape: tuple[int, ...]
    actions: int


class EnvironmentDataModule(pl.LightningDataModule, ABC):
    """Base of data that an agent makes itself, by acting in environments while it is trained.

    A training batch is made when it is asked for, with the model as it is then. Validation and test play
    episodes in which the model acts without noise and exploration; a batch of them is one episode,
    `{"return": float32 (1,), "length": int64 (1,)}`. Episodes of validation begin with the same seeds always.

    Checkpoints hold the counters, the generators and, where the environments can tell (`DeepSea` can), the
    places in them, so that a run that is resumed is the run that was not interrupted. Other environments
    start new episodes; those that were under way count as cut off. Each rank has environments and seeds of
    its own.

    Args:
        environment: id of the environment; see `Environments`.
        num_envs: environments that act at once.
        options: arguments of the environments.
        eval_options: arguments that differ in validation and test.
        updates_per_epoch: batches that make an epoch.
        eval_episodes: episodes of a validation; 0 for none.
        max_eval_steps: steps after which an episode of validation is cut off.
        seed: of all that is drawn, but for the weights.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> from graves_bayes import ReplayDataModule
        >>> issubclass(ReplayDataModule, EnvironmentDataModule)
        True
    """

    def __init__(
        self,
        environment: str,
        num_envs: int,
        options: Mapping[str, Any] | None,
        eval_options: Mapping[str, Any] | None,
        updates_per_epoch: int,
        eval_episodes: int,
        max_eval_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.environment = environment
        self.num_envs = check_at_least("num_envs", num_envs)
        self.options = dict(options or {})
        self.eval_options = self.options | dict(eval_options or {})
        self.updates_per_epoch = check_at_least("updates_per_epoch", updates_per_epoch)
        self.eval_episodes = check_at_least("eval_episodes", eval_episodes, 0)
        self.max_eval_steps = check_at_least("max_eval_steps", max_eval_steps)
        self.seed = check_seed(seed)
        self.clock = Clock(seed=0)
        self.observations: Tensor | None = None
        self._environments: Environments | None = None
        self._evaluated: Environments | None = None

    @property
    def environments(self) -> Environments:
        """Those of training, made when they are needed."""
        if self._environments is None:
            self._environments = Environments(self.environment, self.num_envs, self.options)
        return self._environments

    @property
    def spec(self) -> EnvironmentSpec:
        """What the environments show and take."""
        return EnvironmentSpec(self.environments.shape, self.environments.actions)

    def setup(self, stage: str | None = None) -> None:
        """Starts the environments.

        Args:
            stage: as the Trainer calls it.
        """
        if self.observations is None and stage in (None, "fit"):
            self.clock = Clock(seed=mix_seed(self.seed, "agent", rank_and_world()[0]))
            self.observations = self.environments.reset(mix_seed(self.clock.seed, "environments", 0))
            self.start(self.observations)

    @abstractmethod
    def start(self, observations: Tensor) -> None:
        """Makes what keeps the experience.

        Args:
            observations: the first ones.
        """

    def advance(self) -> tuple[Tensor, Tensor, Step]:
        """Lets the agent act once in every environment; counts it.

        Returns:
            What it saw, its actions, and what they led to.
        """
        assert self.observations is not None
        agent, seen = agent_of(self.trainer, type(self).__name__), self.observations
        actions = agent.act(self.on_device(seen), self.clock).cpu()
        step = self.environments.step(actions)
        self.observations = step.observations
        ended = int((step.terminated | step.truncated).sum())
        clock = self.clock
        self.clock = clock._replace(actions=clock.actions + 1, episodes=clock.episodes + ended)
        return seen, actions, step

    def take_returns(self) -> Tensor:
        """The returns of the episodes that have ended since this was asked the last time."""
        return torch.tensor([score for score, _ in self.environments.take_ended()], dtype=torch.float32)

    @abstractmethod
    def next_batch(self) -> dict[str, Any]:
        """Acts, and returns what is to be learned from."""

    def train_dataloader(self) -> "Batches":
        """Batches that are made when they are asked for."""
        return Batches(self.updates_per_epoch, lambda number: self.next_batch())

    def val_dataloader(self) -> "Batches | list[Batches]":
        """The episodes of validation; no loader at all when there are none."""
        return self._episodes("val")

    def test_dataloader(self) -> "Batches | list[Batches]":
        """Episodes with other seeds than those of validation."""
        return self._episodes("test")

    def teardown(self, stage: str) -> None:
        """Frees the environments of evaluation.

        Args:
            stage: as the Trainer calls it.
        """
        if self._evaluated is not None:
            self._evaluated.close()
            self._evaluated = None

    def play(self, seed: int) -> dict[str, Tensor]:
        """Plays an episode without noise and exploration.

        Args:
            seed: of the environment, and of actions that are drawn.
        """
        agent = agent_of(self.trainer, type(self).__name__)
        if self._evaluated is None:
            self._evaluated = Environments(self.environment, 1, self.eval_options)
        environments, clock = self._evaluated, Clock(seed)
        observations, ended = environments.reset(seed), environments.take_ended()[:0]
        while not ended and clock.actions < self.max_eval_steps:
            actions = agent.act(self.on_device(observations), clock, greedy=True)
            observations = environments.step(actions).observations
            clock, ended = clock._replace(actions=clock.actions + 1), environments.take_ended()
        score, length = ended[0] if ended else (float(environments.returns[0]), clock.actions)
        return {"return": torch.tensor([score]), "length": torch.tensor([length])}

    def on_device(self, tensor: Tensor) -> Tensor:
        """Moves a tensor to where the model is.

        Args:
            tensor: on any device.
        """
        return tensor.to(self.trainer.strategy.root_device) if self.trainer is not None else tensor

    def state_dict(self) -> dict[str, Any]:
        """The state of every rank."""
        if self.observations is None:
            return {}
        state = {"clock": torch.tensor(self.clock), **self.experience()}
        places = self.environments.state_dict()
        if places is not None:
            state["environments"] = _tensors(places) | {"observations": self.observations}
        return {"ranks": gathered_states(state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the state of the run that is resumed.

        Raises:
            ValueError: when that run had other environments, or another number of devices.
        """
        state: Any = own_state(state_dict["ranks"], torch.device("cpu"))
        self.clock = Clock(*state.pop("clock").tolist())
        places = state.pop("environments", None)
        self.observations = self.environments.reset(mix_seed(self.clock.seed, "environments", *self.clock))
        if places is not None:
            self.observations = places.pop("observations")
            self.environments.load_state_dict(_plain(places))
        self.resume(state, self.observations if places is None else None)

    @abstractmethod
    def experience(self) -> dict[str, Any]:
        """What keeps the experience, as tensors."""

    @abstractmethod
    def resume(self, state: dict[str, Any], observations: Tensor | None) -> None:
        """Takes over what kept the experience.

        Args:
            state: from `experience`.
            observations: the first of new episodes; None when the old ones go on.
        """

    def _episodes(self, part: str) -> "Batches | list[Batches]":
        if self.eval_episodes == 0:
            return []
        rank, world = rank_and_world()
        seeds = [mix_seed(self.seed, part, number * world + rank) for number in range(self.eval_episodes)]
        return Batches(self.eval_episodes, lambda number: self.play(seeds[number]))


class Batches:
    """So many batches, each made when it is asked for; a run that is resumed goes on with the next one.

    Args:
        count: of an epoch.
        make: makes a batch from its number.

    Example:
        >>> list(Batches(3, lambda number: 10 * number))
        [0, 10, 20]
    """

    def __init__(self, count: int, make: Callable[[int], Any]) -> None:
        self.count = count
        self.make = make
        self.done = 0

    def __len__(self) -> int:
        """Number of batches."""
        return self.count

    def __iter__(self) -> Iterator[Any]:
        """Makes one after the other."""
        for number in range(self.done, self.count):
            batch = self.make(number)
            self.done = (number + 1) % self.count
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Tells how many batches of the epoch were handed out."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where `state` was taken.

        Args:
            state: from `state_dict`.
        """
        self.done = state["done"] % self.count


def _tensors(state: Any) -> Any:
    """Numbers in lists and dicts as tensors."""
    if isinstance(state, dict):
        return {key: _tensors(value) for key, value in state.items()}
    if isinstance(state, list) and state and isinstance(state[0], dict):
        return [_tensors(value) for value in state]
    return torch.as_tensor(state, dtype=torch.float64 if _has_float(state) else None)


def _has_float(state: Any) -> bool:
    return isinstance(state, float) or (isinstance(state, list) and any(isinstance(x, float) for x in state))


def _plain(state: Any) -> Any:
    """The opposite of `_tensors`."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return [_plain(value) for value in state] if isinstance(state, list) else state.tolist()
