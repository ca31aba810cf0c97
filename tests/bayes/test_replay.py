"""The replay memory against a list of all that ever happened."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from graves_bayes.data.replay import Replay
from graves_bayes.data.rows import PriorityRows, UniformRows

CPU = torch.device("cpu")
GAMMA = 0.9


@dataclass
class Episode:
    observations: list[torch.Tensor]
    actions: list[int]
    rewards: list[float]
    terminated: bool = False
    cut: bool = False

    @property
    def ended(self) -> bool:
        return self.terminated or self.cut


class Story:
    """Drives a replay memory with random episodes and remembers all of them.

    Every frame is a number that no other frame has, and an observation is a stack of the latest frames.
    """

    def __init__(self, replay: Replay, seed: int) -> None:
        self.replay, self.draw, self.number = replay, np.random.default_rng(seed), 0
        self.episodes = [[self.fresh()] for _ in range(replay.envs)]
        replay.begin(self.now())

    def frame(self) -> torch.Tensor:
        self.number += 1
        return torch.full((2,), float(self.number))

    def fresh(self) -> Episode:
        frames = [self.frame() for _ in range(self.replay.stack)]
        return Episode([torch.stack(frames) if self.replay.stack > 1 else frames[0]], [], [])

    def now(self) -> torch.Tensor:
        return torch.stack([episodes[-1].observations[-1] for episodes in self.episodes])

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        envs = self.replay.envs
        actions, rewards = self.draw.integers(5, size=envs), self.draw.normal(size=envs).astype(np.float32)
        ends = self.draw.choice(["no", "terminated", "truncated"], size=envs, p=[0.7, 0.2, 0.1])
        for env in range(envs):
            episode = self.episodes[env][-1]
            episode.actions.append(int(actions[env]))
            episode.rewards.append(float(rewards[env]))
            frame, stack = self.frame(), self.replay.stack
            after = torch.cat([episode.observations[-1][1:], frame[None]]) if stack > 1 else frame
            episode.observations.append(after)
        reached = self.now()
        for env in range(envs):
            episode = self.episodes[env][-1]
            episode.terminated, episode.cut = ends[env] == "terminated", ends[env] == "truncated"
            if episode.ended:
                self.episodes[env].append(self.fresh())
        self.replay.add(
            torch.from_numpy(actions),
            torch.from_numpy(rewards),
            torch.from_numpy(ends == "terminated"),
            torch.from_numpy(ends == "truncated"),
            reached,
            self.now(),
        )

    def transitions(self) -> dict[float, tuple[torch.Tensor, int, float, float, torch.Tensor]]:
        """All complete transitions that ever were, by the number of the newest frame before them."""
        found = {}
        n = self.replay.n_step
        for episode in (episode for episodes in self.episodes for episode in episodes):
            for start in range(len(episode.actions)):
                stop = min(start + n, len(episode.actions))
                if stop < start + n and not episode.ended:
                    continue
                total = sum(GAMMA ** (k - start) * episode.rewards[k] for k in range(start, stop))
                dead = episode.terminated and stop == len(episode.actions)
                discount = 0.0 if dead else GAMMA ** (stop - start)
                before, after = episode.observations[start], episode.observations[stop]
                found[float(before.flatten()[-1])] = (before, episode.actions[start], total, discount, after)
        return found


CASES = [(1, 1, 1), (1, 1, 3), (3, 1, 1), (2, 4, 1), (3, 2, 4)]


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(("envs", "stack", "n_step"), CASES)
def test_samples_are_what_happened(envs: int, stack: int, n_step: int, alpha: float) -> None:
    shape = (stack, 2) if stack > 1 else (2,)
    replay = Replay(60 * envs, envs, shape, stack=stack, n_step=n_step, gamma=GAMMA, priority_exponent=alpha)
    story, draw = Story(replay, seed=envs), torch.Generator().manual_seed(0)
    for _ in range(12):
        story.play(15)
        truth, batch = story.transitions(), replay.sample(64, draw)
        for row in range(64):
            before, action, reward, discount, after = truth[float(batch.observations[row].flatten()[-1])]
            assert torch.equal(batch.observations[row], before)
            assert int(batch.actions[row]) == action
            assert float(batch.rewards[row]) == pytest.approx(reward, abs=1e-5)
            assert float(batch.discounts[row]) == pytest.approx(discount, abs=1e-6)
            assert torch.equal(batch.next_observations[row], after)


@pytest.mark.parametrize(("envs", "stack", "n_step"), CASES)
def test_every_complete_transition_of_the_last_steps_can_be_drawn(envs: int, stack: int, n_step: int) -> None:
    shape = (stack, 2) if stack > 1 else (2,)
    replay = Replay(100 * envs, envs, shape, stack=stack, n_step=n_step, gamma=GAMMA)
    story = Story(replay, seed=7)
    story.play(300)
    first = story.number
    story.play(9)  # at most 9 * (2 + stack) rows of an environment
    batch = replay.sample(4000, torch.Generator().manual_seed(1))
    seen = {float(frame) for frame in batch.observations.flatten(1)[:, -1]}
    assert {number for number in story.transitions() if number > first} <= seen


def test_uniform_draws_are_uniform() -> None:
    rows, draws = 40, 40_000
    sampler = UniformRows(rows, CPU)
    kept = torch.arange(1, rows, 2)
    sampler.open(kept)
    drawn, odds = sampler.draw(draws, torch.Generator().manual_seed(2))
    counts = torch.bincount(drawn, minlength=rows)
    expected = draws / len(kept)
    assert not counts[::2].any()
    assert (odds == 1).all()
    assert (counts[kept] - expected).abs().max() < 5 * math.sqrt(expected)


def test_priorities_are_frequencies() -> None:
    draws, priorities = 50_000, torch.tensor([1.0, 0.25, 4.0, 0.5, 2.0])
    sampler = PriorityRows(9, CPU)
    rows = torch.tensor([0, 2, 3, 7, 8])
    sampler.open(rows)
    sampler.set(rows, priorities)
    drawn, odds = sampler.draw(draws, torch.Generator().manual_seed(3))
    counts = torch.bincount(drawn, minlength=9)
    shares = priorities / priorities.sum()
    assert int(counts[rows].sum()) == draws
    bound = 5 * (draws * shares * (1 - shares)).sqrt()
    assert ((counts[rows] - draws * shares).abs() < bound).all()
    assert set(odds.tolist()) == set(priorities.tolist())


def test_sums_of_the_tree_are_sums_of_its_leaves() -> None:
    sampler, draw = PriorityRows(37, CPU), torch.Generator().manual_seed(4)
    for _ in range(50):
        rows = torch.randint(37, (6,), generator=draw)
        sampler.open(rows)
        sampler.set(rows, torch.rand(6, generator=draw) + 0.01)
        sampler.close(torch.randint(37, (2,), generator=draw))
    leaves = sampler.state()["priorities"]
    assert float(sampler.total) == pytest.approx(math.fsum(leaves.tolist()), rel=1e-12)


def test_new_rows_get_the_greatest_priority() -> None:
    sampler = PriorityRows(4, CPU)
    sampler.open(torch.tensor([0]))
    sampler.set(torch.tensor([0]), torch.tensor([7.0]))
    sampler.set(torch.tensor([0]), torch.tensor([0.5]))
    sampler.open(torch.tensor([1]))
    assert sampler.state()["priorities"].tolist() == [0.5, 7.0, 0.0, 0.0]


def test_closed_rows_stay_closed_when_late_errors_arrive() -> None:
    sampler = PriorityRows(4, CPU)
    sampler.open(torch.tensor([0, 1]))
    sampler.close(torch.tensor([1]))
    sampler.set(torch.tensor([0, 1]), torch.tensor([2.0, 3.0]))
    assert sampler.state()["priorities"].tolist() == [2.0, 0.0, 0.0, 0.0]


def test_importance_weights_undo_priorities_when_beta_is_one() -> None:
    replay = Replay(40, 1, (2,), gamma=GAMMA, priority_exponent=1.0, importance_exponent=1.0)
    Story(replay, seed=5).play(15)
    open_rows = replay.sampler.state()["priorities"].nonzero().squeeze(1)
    replay.set_errors(open_rows, torch.linspace(0.5, 4.0, len(open_rows)))
    batch = replay.sample(500, torch.Generator().manual_seed(5))
    priorities = replay.sampler.state()["priorities"][batch.rows]
    products = batch.weights * priorities.float()
    assert float(products.max() - products.min()) < 1e-5
    assert float(batch.weights.max()) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("steps", [20, 200])
def test_state_goes_on_bit_for_bit(alpha: float, steps: int) -> None:
    def make() -> Replay:
        return Replay(120, 2, (3, 2), stack=3, n_step=2, gamma=GAMMA, priority_exponent=alpha)

    replay, other = make(), make()
    story = Story(replay, seed=6)
    story.play(steps)
    batch = replay.sample(16, torch.Generator().manual_seed(8))
    replay.set_errors(batch.rows, batch.rewards)
    other.load_state_dict({name: part.clone() for name, part in replay.state_dict().items()})
    rest = [copy.deepcopy(story), story]
    rest[0].replay = other
    for _ in range(4):
        batches = []
        for each in rest:
            each.play(5)
            batches.append(each.replay.sample(64, torch.Generator().manual_seed(9)))
            each.replay.set_errors(batches[-1].rows, batches[-1].rewards)
        assert all(torch.equal(part, same) for part, same in zip(*batches, strict=True))


def test_cut_episodes_are_complete_and_keep_their_discount() -> None:
    replay = Replay(40, 1, (2,), n_step=3, gamma=GAMMA)
    replay.begin(torch.zeros(1, 2))
    no = torch.tensor([False])
    for number in (1.0, 2.0):
        reached = torch.full((1, 2), number)
        replay.add(torch.tensor([0]), torch.tensor([1.0]), no, no, reached, reached)
    with pytest.raises(RuntimeError, match="no transition that is complete"):
        replay.sample(1, torch.Generator())
    replay.cut()
    replay.begin(torch.full((1, 2), 9.0))
    batch = replay.sample(50, torch.Generator().manual_seed(0))
    assert set(batch.next_observations[:, 0].tolist()) == {2.0}
    assert {round(value, 6) for value in batch.discounts.tolist()} == {0.9, 0.81}


def test_frames_of_a_stack_are_stored_once() -> None:
    replay = Replay(1000, 1, (4, 84, 84), dtype=torch.uint8, stack=4)
    assert replay.frames.numel() * replay.frames.element_size() == 1000 * 84 * 84


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 8 per environment"):
        Replay(12, 2, (2,), n_step=3)
    with pytest.raises(ValueError, match="shape must begin with stack=4"):
        Replay(100, 1, (3, 8, 8), stack=4)
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\]"):
        Replay(100, 1, (2,), gamma=1.5)
    with pytest.raises(ValueError, match="another size"):
        Replay(100, 1, (2,)).load_state_dict(Replay(50, 1, (2,)).state_dict())
