"""Small agents and batches for the tests."""

from typing import Any

import torch

from graves_bayes import DQN, ActorCritic, Clock, Replay, VectorTorso
from graves_bayes.data.replay import Transitions

SIZE, ACTIONS = 6, 3


def small_dqn(**options: Any) -> DQN:
    torch.manual_seed(0)
    return DQN(VectorTorso(SIZE), ACTIONS, **({"hidden": [16]} | options))


def small_actor_critic(**options: Any) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(VectorTorso(SIZE), ACTIONS, **({"hidden": [16]} | options))


def transitions(count: int = 8, seed: int = 0) -> Transitions:
    """Random transitions, some of them final."""
    draw = torch.Generator().manual_seed(seed)
    replay = Replay(100, 1, (SIZE,))
    frames = torch.randn(30, 1, SIZE, generator=draw)
    replay.begin(frames[0])
    for before in range(29):
        ends = torch.tensor([before % 5 == 4])
        action = torch.randint(ACTIONS, (1,), generator=draw)
        reward = torch.randn(1, generator=draw)
        replay.add(action, reward, ends, torch.tensor([False]), frames[before + 1], frames[before + 1])
    return replay.sample(count, draw)


def rollout(steps: int = 4, envs: int = 3, seed: int = 0) -> dict[str, Any]:
    """A random rollout, with episodes that end in it."""
    draw = torch.Generator().manual_seed(seed)
    shape = (steps, envs)
    ends = torch.rand(shape, generator=draw)
    return {
        "observations": torch.randn(*shape, SIZE, generator=draw),
        "next_observations": torch.randn(*shape, SIZE, generator=draw),
        "actions": torch.randint(ACTIONS, shape, generator=draw),
        "rewards": torch.randn(shape, generator=draw),
        "terminated": ends < 0.2,
        "truncated": (ends >= 0.2) & (ends < 0.3),
        "clock": Clock(seed=seed),
        "returns": torch.zeros(0),
    }
