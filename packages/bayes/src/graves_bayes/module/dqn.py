"""Deep Q-networks: plain, double, dueling, noisy."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_bayes.layers.heads import HeadNoise, QNetwork
from graves_bayes.layers.noise_control import noise_off
from graves_bayes.layers.torsos import Torso
from graves_bayes.module.agent import AgentModel
from graves_bayes.returns.clock import Clock
from graves_bayes.returns.losses import TDLoss, td_losses
from graves_bayes.returns.targets import chosen_values, double_q_target, dqn_target
from graves_core.spec import Spec

Resample = Literal["action", "update", "episode"]


class DQN(Spec, AgentModel):
    """An agent that learns the values of actions, and explores by the noise of its weights or by chance.

    In an update, the online network, the target network, and, with `double`, the online network that chooses
    the next action each draw noise of their own, which holds for the whole batch. The noise with which the
    agent acts is another one again. With several environments and `resample="action"`, each has its own.

    Use it with `ReplayDataModule`. Logs `train/loss`, `train/value` (mean of Q), `train/epsilon` if there is
    one, `train/return` of episodes that ended in training, and `return` and `length` of validation and test.

    Args:
        torso: features of observations.
        actions: how many there are.
        hidden: sizes of the hidden layers between features and values.
        dueling: whether values are V + A - mean A.
        double: whether the online network chooses the action whose value is the target.
        noise: kind of noise of the fully connected layers, or `"none"`.
        sigma0: where sigma begins; see `NoisyLinear`.
        resample: acting draws new noise before every action, or after every update, or, as soon as an episode
            ends in any environment, for all of them.
        epsilon_start: share of actions that are drawn by chance, at the beginning.
        epsilon_end: the same after `epsilon_steps`.
        epsilon_steps: actions in each environment over which epsilon falls.
        eval_epsilon: epsilon in validation and test.
        loss: Huber's, or the square.
        target_every: updates between two copies of the online network to the target network.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.

    Raises:
        ValueError: when an argument is out of its range.

    Source: Mnih et al. 2015; Fortunato et al. 2018.

    Example:
        >>> from graves_bayes import VectorTorso
        >>> agent = DQN(VectorTorso(4), actions=2, hidden=[32], dueling=True, double=True)
        >>> agent.act(torch.zeros(3, 4), Clock(seed=0)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        torso: Torso,
        actions: int,
        hidden: Sequence[int] = (512,),
        dueling: bool = False,
        double: bool = False,
        noise: HeadNoise = "factorised",
        sigma0: float = 0.5,
        resample: Resample = "action",
        epsilon_start: float = 0.0,
        epsilon_end: float = 0.0,
        epsilon_steps: int = 1,
        eval_epsilon: float = 0.0,
        loss: TDLoss = "huber",
        target_every: int = 10_000,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__(torso, actions, optimizer, lr_scheduler)
        _check(resample, loss, epsilon_steps, target_every, (epsilon_start, epsilon_end, eval_epsilon))
        self.online = QNetwork(torso, actions, hidden, dueling, noise, sigma0)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.double_q = double
        self.resample: Resample = resample
        self.epsilons = (epsilon_start, epsilon_end, epsilon_steps)
        self.eval_epsilon = eval_epsilon
        self.loss: TDLoss = loss
        self.target_every = target_every

    def epsilon(self, clock: Clock) -> float:
        """The share of actions that are drawn by chance.

        Args:
            clock: of which the actions count.
        """
        start, end, steps = self.epsilons
        return start + (end - start) * min(1.0, clock.actions / steps)

    @torch.no_grad()
    def act(
        self, observations: Shaped[Tensor, "envs ..."], clock: Clock, greedy: bool = False
    ) -> Int[Tensor, " envs"]:
        """Chooses an action in each environment.

        Args:
            observations: of the environments.
            clock: decides about noise and chance.
            greedy: act without noise, with the epsilon of evaluation.
        """
        if greedy:
            with noise_off(self.online):
                best = self.online(observations).argmax(1)
            return self._explore(best, clock, self.eval_epsilon)
        moment = {"action": clock.actions, "update": clock.updates, "episode": clock.episodes}
        several = self.resample == "action" and len(observations) > 1
        count = len(observations) if several else None
        self.draw_noise(self.online, clock.seed, "act", moment[self.resample], count=count)
        return self._explore(self.online(observations).argmax(1), clock, self.epsilon(clock))

    def temporal_differences(self, transitions: Any, clock: Clock) -> tuple[Tensor, Tensor]:
        """Targets minus values, and the values, for a batch of transitions.

        Args:
            transitions: from a replay memory.
            clock: decides about the noise.
        """
        place = (clock.seed, clock.updates, clock.actions)
        targets = self._targets(transitions, place)
        self.draw_noise(self.online, "online", *place)
        values = chosen_values(self.online(transitions.observations), transitions.actions)
        return targets - values, values

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Float[Tensor, ""]:
        """The loss of a batch of transitions."""
        if self.global_step % self.target_every == 0:
            self.target.load_state_dict(self.online.state_dict())
        transitions = batch["transitions"]
        errors, values = self.temporal_differences(transitions, batch["clock"])
        set_errors = getattr(getattr(self.trainer, "datamodule", None), "set_errors", None)
        if set_errors is not None:
            set_errors(transitions.rows, errors.detach())
        loss: Tensor = (transitions.weights * td_losses(errors, self.loss)).mean()
        self._report(batch, loss.detach(), values.detach())
        return loss

    @torch.no_grad()
    def _targets(self, transitions: Any, place: tuple[int, ...]) -> Float[Tensor, " batch"]:
        self.draw_noise(self.target, "target", *place)
        after = self.target(transitions.next_observations)
        if not self.double_q:
            return dqn_target(transitions.rewards, transitions.discounts, after)
        self.draw_noise(self.online, "selection", *place)
        selection = self.online(transitions.next_observations)
        return double_q_target(transitions.rewards, transitions.discounts, after, selection)

    def _explore(self, best: Int[Tensor, " envs"], clock: Clock, epsilon: float) -> Int[Tensor, " envs"]:
        if epsilon == 0:
            return best
        draw = self.generator(clock.seed, "explore", clock.actions)
        by_chance = torch.rand(best.shape, generator=draw, device=best.device) < epsilon
        chance = torch.randint(self.actions, best.shape, generator=draw, device=best.device)
        return torch.where(by_chance, chance, best)

    def _report(self, batch: Mapping[str, Any], loss: Tensor, values: Tensor) -> None:
        logged = {"train/loss": loss, "train/value": values.mean()}
        if self.epsilons[0] > 0:
            logged["train/epsilon"] = torch.tensor(self.epsilon(batch["clock"]))
        self._log_training(logged, batch["returns"])


def _check(
    resample: str, loss: str, epsilon_steps: int, target_every: int, epsilons: tuple[float, float, float]
) -> None:
    if resample not in ("action", "update", "episode"):
        raise ValueError(f'resample must be "action", "update" or "episode", not {resample!r}')
    if loss not in ("huber", "squared"):
        raise ValueError(f'loss must be "huber" or "squared", not {loss!r}')
    for name, value in (("epsilon_steps", epsilon_steps), ("target_every", target_every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    for name, share in zip(("epsilon_start", "epsilon_end", "eval_epsilon"), epsilons, strict=True):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie in [0, 1], not {share}")
