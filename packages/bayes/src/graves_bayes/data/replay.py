"""A replay memory: frames stored once, n-step transitions put together when they are drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from graves_bayes.data.rows import PriorityRows, RowSampler, UniformRows
from graves_bayes.returns.targets import n_step_sums
from graves_core.data.checks import check_at_least


class Transitions(NamedTuple):
    """What is learned from.

    Attributes:
        observations: before the steps.
        actions: the first of the steps.
        rewards: discounted sums over the steps.
        discounts: of what comes after; 0 where the episode terminated.
        next_observations: after the steps.
        weights: importance weights, at most 1.
        rows: numbers of the transitions in the memory, for `Replay.set_errors`.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    discounts: Tensor
    next_observations: Tensor
    weights: Tensor
    rows: Tensor


class Replay:
    """The last steps of several environments, in tensors that are made once.

    A row is a frame and the step that was made from it. The last observation of an episode has a row of its
    own, so that what follows a step that was cut off by a time limit is known. Where an observation is a
    stack of frames, only the newest frame of each is stored, besides all frames of the first of an episode.

    Transitions of n steps are complete when n steps were made or the episode has ended; only complete ones
    are drawn. Truncated episodes keep the discount of what would have come.

    Args:
        capacity: rows of all environments together.
        envs: number of environments.
        shape: of an observation, with the frames of a stack as its first axis.
        dtype: of observations.
        stack: frames of an observation; 1 where an observation is one frame, without an axis for them.
        n_step: steps of a transition.
        gamma: the discount of a step.
        priority_exponent: alpha; 0 draws all transitions alike.
        importance_exponent: beta of the weights that make up for priorities.
        device: where all this is.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Source: Mnih et al. 2015; Schaul et al. 2016 for priorities.

    Example:
        >>> replay = Replay(capacity=10, envs=1, shape=(2,), n_step=1, gamma=0.9)
        >>> replay.begin(torch.zeros(1, 2))
        >>> no = torch.tensor([False])
        >>> replay.add(torch.tensor([1]), torch.tensor([3.0]), no, no, torch.ones(1, 2), torch.ones(1, 2))
        >>> batch = replay.sample(2, torch.Generator())
        >>> batch.rewards.tolist(), batch.next_observations[0].tolist()
        ([3.0, 3.0], [1.0, 1.0])
    """

    def __init__(
        self,
        capacity: int,
        envs: int,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        stack: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        priority_exponent: float = 0.0,
        importance_exponent: float = 0.4,
        device: torch.device | None = None,
    ) -> None:
        self.envs, self.stack, self.n_step = (
            check_at_least(name, value)
            for name, value in (("envs", envs), ("stack", stack), ("n_step", n_step))
        )
        self.length = check_at_least("capacity", capacity) // envs
        _check(self.length, tuple(shape), stack, n_step, gamma, priority_exponent, importance_exponent)
        self.gamma, self.alpha, self.beta = gamma, priority_exponent, importance_exponent
        self.device = device or torch.device("cpu")
        rows = self.length * envs
        frame = tuple(shape)[1:] if stack > 1 else tuple(shape)
        self.frames = torch.zeros(rows, *frame, dtype=dtype, device=self.device)
        self.actions = torch.zeros(rows, dtype=torch.int32, device=self.device)
        self.rewards = torch.zeros(rows, device=self.device)
        self.played = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self.terminated = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self.head = torch.full((envs,), -1, device=self.device)
        self.steps = torch.zeros(envs, dtype=torch.int64, device=self.device)
        self.written = torch.zeros(envs, dtype=torch.int64, device=self.device)
        kind = PriorityRows if priority_exponent else UniformRows
        self.sampler: RowSampler = kind(rows, self.device)

    def begin(
        self, observations: Shaped[Tensor, "envs ..."], which: Bool[Tensor, " envs"] | None = None
    ) -> None:
        """Writes the first observations of episodes.

        Args:
            observations: of all environments.
            which: those in which an episode begins; by default all.
        """
        which = torch.ones_like(self.steps, dtype=torch.bool) if which is None else which.to(self.device)
        envs = which.nonzero().squeeze(1)
        if len(envs) == 0:
            return
        firsts = observations.to(self.device)[envs]
        for frame in range(self.stack):
            self._append(envs, firsts[:, frame] if self.stack > 1 else firsts)
        self.steps[envs] = 0

    def add(
        self,
        actions: Int[Tensor, " envs"],
        rewards: Float[Tensor, " envs"],
        terminated: Bool[Tensor, " envs"],
        truncated: Bool[Tensor, " envs"],
        reached: Shaped[Tensor, "envs ..."],
        observations: Shaped[Tensor, "envs ..."],
    ) -> None:
        """Writes a step of each environment.

        Args:
            actions: that were taken.
            rewards: that they brought.
            terminated: whether the episode terminated.
            truncated: whether it was cut off.
            reached: the observations that the steps led to, also where an episode ended.
            observations: those with which the environments go on; the first of an episode where one ended.
        """
        envs = torch.arange(self.envs, device=self.device)
        rows = envs * self.length + self.head
        self.actions[rows] = actions.to(self.actions)
        self.rewards[rows] = rewards.to(self.rewards)
        self.terminated[rows] = terminated.to(self.device)
        self.played[rows] = True
        self.steps += 1
        ended = (terminated | truncated).to(self.device)
        newest = self.head.clone()
        reached = reached.to(self.device)
        self._append(envs, reached[:, -1] if self.stack > 1 else reached)
        self._complete(newest, ended)
        self.begin(observations, ended)

    def cut(self) -> None:
        """Ends all episodes here, as a time limit would; `begin` must follow."""
        self._complete(self.head - 1, self.steps > 0)

    def sample(self, count: int, generator: torch.Generator) -> Transitions:
        """Draws transitions, with replacement.

        Args:
            count: how many.
            generator: source of the draws, on the device of the memory.

        Raises:
            RuntimeError: when no transition is complete.
        """
        rows, odds = self.sampler.draw(count, generator)
        path = self._moved(rows, torch.arange(self.n_step, device=self.device))
        rewards, discounts, steps = n_step_sums(
            self.rewards[path], self.played[path], self.terminated[path], self.gamma
        )
        weights = (odds.min() / odds) ** self.beta
        after = self._moved(rows, steps[:, None]).squeeze(1)
        return Transitions(
            self._observations(rows),
            self.actions[rows].long(),
            rewards,
            discounts,
            self._observations(after),
            weights,
            rows,
        )

    def set_errors(self, rows: Int[Tensor, " count"], errors: Float[Tensor, " count"]) -> None:
        """Sets priorities to `(abs(error) + 1e-6) ** alpha`; changes nothing where all are drawn alike.

        Args:
            rows: of the transitions, from `sample`.
            errors: temporal differences.
        """
        if isinstance(self.sampler, PriorityRows):
            self.sampler.set(rows, (errors.detach().abs().to(self.device) + 1e-6) ** self.alpha)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that it holds, as tensors; rows that were never written are left out."""
        kept = min(int(self.written.max()), self.length)
        columns = {name: part[:, :kept] for name, part in self._columns().items()}
        return columns | self._places() | self.sampler.state()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what another memory of the same kind held.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: when that memory had another size or other observations.
        """
        rows, places = self.sampler.state(), self._places()
        if set(state) != {*self._columns(), *places, *rows} or any(
            state[name].shape != part.shape for name, part in (rows | places).items()
        ):
            raise ValueError("the replay memory in the checkpoint has another size or other priorities")
        if state["frames"].shape[2:] != self.frames.shape[1:]:
            raise ValueError(
                f"the replay memory in the checkpoint has frames of {tuple(state['frames'].shape[2:])}, "
                f"not {tuple(self.frames.shape[1:])}"
            )
        for name, part in self._columns().items():
            part[:, : state[name].shape[1]] = state[name].to(part)
        for name, part in places.items():
            part.copy_(state[name])
        self.sampler.load(state)

    def _columns(self) -> dict[str, Tensor]:
        """What each row holds, environment by environment."""
        names = ("frames", "actions", "rewards", "played", "terminated")
        return {name: getattr(self, name).unflatten(0, (self.envs, self.length)) for name in names}

    def _places(self) -> dict[str, Tensor]:
        return {"head": self.head, "steps": self.steps, "written": self.written}

    def _append(self, envs: Int[Tensor, " some"], frames: Shaped[Tensor, "some ..."]) -> None:
        """Moves on by a row, and closes what needed the frame that was there."""
        self.head[envs] = (self.head[envs] + 1) % self.length
        self.written[envs] += 1
        rows = envs * self.length + self.head[envs]
        self.frames[rows] = frames.to(self.frames.dtype)
        self.played[rows] = False
        self.terminated[rows] = False
        self.sampler.close(self._moved(rows, torch.arange(self.stack, device=self.device)).flatten())

    def _complete(self, newest: Int[Tensor, " envs"], ended: Bool[Tensor, " envs"]) -> None:
        """Opens the transitions that have become complete with the newest step.

        Args:
            newest: place of that step in each environment.
            ended: whether the episode has ended with it.
        """
        back = torch.arange(self.n_step, device=self.device)
        opens = (back < self.steps[:, None]) & (ended[:, None] | (back == self.n_step - 1))
        envs = torch.arange(self.envs, device=self.device)[:, None]
        rows = envs * self.length + (newest[:, None] - back) % self.length
        self.sampler.open(rows[opens])

    def _moved(self, rows: Int[Tensor, " some"], by: Tensor) -> Int[Tensor, "some by"]:
        """Rows further on in the same environment."""
        env, place = rows // self.length, rows % self.length
        return env[:, None] * self.length + (place[:, None] + by) % self.length

    def _observations(self, rows: Int[Tensor, " some"]) -> Shaped[Tensor, "some ..."]:
        if self.stack == 1:
            return self.frames[rows]
        return self.frames[self._moved(rows, torch.arange(1 - self.stack, 1, device=self.device))]


def _check(
    length: int,
    shape: tuple[int, ...],
    stack: int,
    n_step: int,
    gamma: float,
    priority_exponent: float,
    importance_exponent: float,
) -> None:
    if length < 2 * (stack + n_step):
        raise ValueError(
            f"capacity must be at least {2 * (stack + n_step)} per environment with stack={stack} and "
            f"n_step={n_step}, got {length}"
        )
    if stack > 1 and shape[:1] != (stack,):
        raise ValueError(f"shape must begin with stack={stack}, got {shape}")
    for name, value in (
        ("gamma", gamma),
        ("priority_exponent", priority_exponent),
        ("importance_exponent", importance_exponent),
    ):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
