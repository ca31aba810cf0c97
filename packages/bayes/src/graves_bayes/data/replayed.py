"""Experience from a replay memory, for agents that learn off-policy."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_bayes.data.base import EnvironmentDataModule
from graves_bayes.data.replay import Replay
from graves_core.batches import mix_seed
from graves_core.data.checks import check_at_least


class ReplayDataModule(EnvironmentDataModule):
    """Acts with the model, keeps what happens, and yields transitions drawn from it.

    A batch is `{"transitions": Transitions, "clock": Clock, "returns": float32 (episodes,)}`, with the
    returns of the episodes that have ended since the batch before. What else it does is in
    `EnvironmentDataModule`.

    The memory is part of checkpoints, and by far the largest one: a million rows of 84 x 84 are 7 GB.

    Args:
        environment: id of the environment; see `Environments`.
        num_envs: environments that act at once.
        options: arguments of the environments.
        eval_options: arguments that differ in validation and test.
        capacity: rows of the memory, of all environments together.
        batch_size: transitions of a batch.
        learning_starts: steps, of all environments together, before the first batch.
        steps_per_update: steps of each environment between two batches.
        n_step: steps of a transition.
        gamma: the discount of a step.
        stack: frames of an observation, if it is a stack of which each frame is to be kept once; else 1.
        priority_exponent: alpha of prioritised replay; 0 draws all transitions alike.
        importance_exponent: beta of the weights that make up for priorities.
        save_replay: whether checkpoints hold the memory; without it a resumed run fills a new one first.
        updates_per_epoch: batches that make an epoch.
        eval_episodes: episodes of a validation; 0 for none.
        max_eval_steps: steps after which an episode of validation is cut off.
        seed: of all that is drawn, but for the weights.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> data = ReplayDataModule("graves/DeepSea-v0", num_envs=2, options={"size": 4}, capacity=100)
        >>> data.spec
        EnvironmentSpec(observation_shape=(16,), actions=2)
    """

    def __init__(
        self,
        environment: str,
        num_envs: int = 1,
        options: Mapping[str, Any] | None = None,
        eval_options: Mapping[str, Any] | None = None,
        capacity: int = 100_000,
        batch_size: int = 32,
        learning_starts: int = 1000,
        steps_per_update: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        stack: int = 1,
        priority_exponent: float = 0.0,
        importance_exponent: float = 0.4,
        save_replay: bool = True,
        updates_per_epoch: int = 1000,
        eval_episodes: int = 10,
        max_eval_steps: int = 27_000,
        seed: int = 0,
    ) -> None:
        super().__init__(
            environment,
            num_envs,
            options,
            eval_options,
            updates_per_epoch,
            eval_episodes,
            max_eval_steps,
            seed,
        )
        self.capacity = check_at_least("capacity", capacity)
        self.batch_size = check_at_least("batch_size", batch_size)
        self.learning_starts = check_at_least("learning_starts", learning_starts, num_envs * n_step)
        self.steps_per_update = check_at_least("steps_per_update", steps_per_update)
        self.n_step, self.gamma, self.stack = n_step, gamma, stack
        self.priority_exponent, self.importance_exponent = priority_exponent, importance_exponent
        self.save_replay = save_replay
        self._kept = 0
        self._replay: Replay | None = None
        self._draw = torch.Generator()

    @property
    def replay(self) -> Replay:
        """The memory.

        Raises:
            RuntimeError: before `setup`.
        """
        if self._replay is None:
            raise RuntimeError('call setup("fit") before asking for the replay memory')
        return self._replay

    def start(self, observations: Tensor) -> None:
        """Makes the memory."""
        self._replay = self._new_replay(observations)
        self._replay.begin(observations)
        self._kept = 0
        self._draw.manual_seed(mix_seed(self.clock.seed, "replay"))

    def next_batch(self) -> dict[str, Any]:
        """Makes some steps, and draws transitions."""
        if self.trainer is not None:
            self.clock = self.clock._replace(updates=self.trainer.global_step)
        for _ in range(self.steps_per_update):
            self._step()
        while self._kept < self.learning_starts:
            self._step()
        return {
            "transitions": self.replay.sample(self.batch_size, self._draw),
            "clock": self.clock,
            "returns": self.take_returns(),
        }

    def set_errors(self, rows: Int[Tensor, " batch"], errors: Float[Tensor, " batch"]) -> None:
        """Sets the priorities of the transitions of a batch.

        Args:
            rows: of the transitions.
            errors: their temporal differences.
        """
        if self.priority_exponent > 0:
            self.replay.set_errors(rows.cpu(), errors.cpu())

    def experience(self) -> dict[str, Any]:
        """The memory, if it is to be kept, and the generator of its draws."""
        state: dict[str, Any] = {"draw": self._draw.get_state()}
        if self.save_replay:
            state["replay"] = self.replay.state_dict()
        return state

    def resume(self, state: dict[str, Any], observations: Tensor | None) -> None:
        """Takes over the memory, or makes a new one; ends the episodes in it that do not go on."""
        assert self.observations is not None
        self._replay = self._new_replay(self.observations)
        self._draw.set_state(state["draw"])
        kept = state.get("replay")
        self._kept = 0 if kept is None else int(kept["played"].sum())
        if kept is None:
            self._replay.begin(self.observations)
            return
        self._replay.load_state_dict(kept)
        if observations is not None:
            self._replay.cut()
            self._replay.begin(observations)

    def _new_replay(self, observations: Tensor) -> Replay:
        return Replay(
            self.capacity,
            self.num_envs,
            tuple(observations.shape[1:]),
            observations.dtype,
            self.stack,
            self.n_step,
            self.gamma,
            self.priority_exponent,
            self.importance_exponent,
        )

    def _step(self) -> None:
        _, actions, step = self.advance()
        self.replay.add(
            actions, step.rewards, step.terminated, step.truncated, step.reached, step.observations
        )
        self._kept += self.num_envs
