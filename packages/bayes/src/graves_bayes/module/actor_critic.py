"""The advantage actor-critic: A3C with its actors in step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_bayes.layers.heads import HeadNoise, PolicyNetwork
from graves_bayes.layers.noise_control import noise_off
from graves_bayes.layers.torsos import Torso
from graves_bayes.module.agent import AgentModel
from graves_bayes.returns.clock import Clock
from graves_bayes.returns.losses import ActorCriticLosses, actor_critic_losses
from graves_bayes.returns.targets import rollout_returns
from graves_core.spec import Spec


class ActorCritic(Spec, AgentModel):
    """An agent that learns a policy and values from short rollouts.

    Noise is drawn at the beginning of a rollout and is the same for all of its steps, for all environments,
    and in the update that is made of it. NoisyNet-A3C has noise and no entropy bonus; A3C has a bonus (0.01)
    and no noise.

    Use it with `RolloutDataModule`. Logs `train/loss` and its parts `train/policy_loss`, `train/value_loss`
    and `train/entropy`, `train/return` of episodes that ended in training, and `return` and `length` of
    validation and test.

    Args:
        torso: features of observations.
        actions: how many there are.
        hidden: sizes of the hidden layers between features and the two outputs.
        noise: kind of noise of the fully connected layers, or `"none"`.
        sigma0: where sigma begins, with factorised noise; see `NoisyLinear`.
        gamma: the discount of a step.
        value_weight: factor of the loss of values.
        entropy_weight: factor of the entropy bonus.
        eval_actions: in validation and test, without noise, draw actions from the policy or take the best.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.

    Raises:
        ValueError: when an argument is out of its range.

    Source: Mnih et al. 2016; Fortunato et al. 2018.

    Example:
        >>> from graves_bayes import VectorTorso
        >>> agent = ActorCritic(VectorTorso(4), actions=2, hidden=[32])
        >>> agent.act(torch.zeros(3, 4), Clock(seed=0)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        torso: Torso,
        actions: int,
        hidden: Sequence[int] = (256,),
        noise: HeadNoise = "independent",
        sigma0: float = 0.5,
        gamma: float = 0.99,
        value_weight: float = 0.5,
        entropy_weight: float = 0.0,
        eval_actions: Literal["drawn", "best"] = "drawn",
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__(torso, actions, optimizer, lr_scheduler)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1], not {gamma}")
        if value_weight < 0 or entropy_weight < 0:
            raise ValueError(f"weights of losses must be at least 0, not {value_weight} and {entropy_weight}")
        if eval_actions not in ("drawn", "best"):
            raise ValueError(f'eval_actions must be "drawn" or "best", not {eval_actions!r}')
        self.net = PolicyNetwork(torso, actions, hidden, noise, sigma0)
        self.gamma = gamma
        self.value_weight = value_weight
        self.entropy_weight = entropy_weight
        self.eval_actions = eval_actions

    @torch.no_grad()
    def act(
        self, observations: Shaped[Tensor, "envs ..."], clock: Clock, greedy: bool = False
    ) -> Int[Tensor, " envs"]:
        """Draws an action in each environment.

        Args:
            observations: of the environments.
            clock: decides about noise and chance.
            greedy: act without noise.
        """
        if greedy:
            with noise_off(self.net):
                logits, _ = self.net(observations)
            if self.eval_actions == "best":
                best: Tensor = logits.argmax(1)
                return best
        else:
            self._draw_for(clock)
            logits, _ = self.net(observations)
        draw = self.generator(clock.seed, "choose", clock.actions)
        return torch.multinomial(logits.float().softmax(1), 1, generator=draw).squeeze(1)

    def losses(self, batch: Mapping[str, Any]) -> ActorCriticLosses:
        """The losses of a rollout, with the noise with which it was made.

        Args:
            batch: from `RolloutDataModule`.
        """
        self._draw_for(batch["clock"])
        with torch.no_grad():
            _, next_values = self.net(batch["next_observations"].flatten(0, 1))
        returns = rollout_returns(
            batch["rewards"],
            next_values.view(batch["rewards"].shape).to(batch["rewards"].dtype),
            batch["terminated"],
            batch["truncated"],
            self.gamma,
        )
        logits, values = self.net(batch["observations"].flatten(0, 1))
        return actor_critic_losses(logits, values, batch["actions"].flatten(), returns.flatten())

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Float[Tensor, ""]:
        """The loss of a rollout."""
        losses = self.losses(batch)
        loss = losses.policy + self.value_weight * losses.value - self.entropy_weight * losses.entropy
        logged = {
            "train/loss": loss.detach(),
            "train/policy_loss": losses.policy.detach(),
            "train/value_loss": losses.value.detach(),
            "train/entropy": losses.entropy.detach(),
        }
        self._log_training(logged, batch["returns"])
        return loss

    def _draw_for(self, clock: Clock) -> None:
        self.draw_noise(self.net, clock.seed, "rollout", clock.updates)
