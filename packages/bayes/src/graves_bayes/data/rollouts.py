"""Experience as short rollouts, for agents that learn on-policy."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graves_bayes.data.base import EnvironmentDataModule
from graves_core.data.checks import check_at_least


class RolloutDataModule(EnvironmentDataModule):
    """Acts with the model for some steps in all environments, and yields these steps: the data of A3C.

    A batch is a dict of `observations` and `next_observations` `(time, envs, ...)`, `actions`, `rewards`,
    `terminated` and `truncated` `(time, envs)`, the `clock` of the rollout, and `returns`, those of the
    episodes that ended in it. What else it does is in `EnvironmentDataModule`.

    Args:
        environment: id of the environment; see `Environments`.
        num_envs: environments that act at once.
        options: arguments of the environments.
        eval_options: arguments that differ in validation and test.
        steps: of a rollout.
        updates_per_epoch: batches that make an epoch.
        eval_episodes: episodes of a validation; 0 for none.
        max_eval_steps: steps after which an episode of validation is cut off.
        seed: of all that is drawn, but for the weights.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> RolloutDataModule("graves/DeepSea-v0", options={"size": 4}, steps=5).spec.actions
        2
    """

    def __init__(
        self,
        environment: str,
        num_envs: int = 16,
        options: Mapping[str, Any] | None = None,
        eval_options: Mapping[str, Any] | None = None,
        steps: int = 5,
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
        self.steps = check_at_least("steps", steps)

    def start(self, observations: Tensor) -> None:
        """Nothing outlives a batch but the environments."""

    def next_batch(self) -> dict[str, Any]:
        """Makes the steps of a rollout."""
        if self.trainer is not None:
            self.clock = self.clock._replace(updates=self.trainer.global_step)
        clock, steps = self.clock, [self._step() for _ in range(self.steps)]
        batch: dict[str, Any] = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
        return batch | {"clock": clock, "returns": self.take_returns()}

    def experience(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def resume(self, state: dict[str, Any], observations: Tensor | None) -> None:
        """Nothing was kept."""

    def _step(self) -> dict[str, Tensor]:
        observations, actions, step = self.advance()
        return {
            "observations": observations,
            "actions": actions,
            "rewards": step.rewards,
            "terminated": step.terminated,
            "truncated": step.truncated,
            "next_observations": step.reached,
        }
