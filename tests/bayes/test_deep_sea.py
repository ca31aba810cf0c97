"""Deep Sea as an environment and as a batch of seas."""

from itertools import product

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from graves_bayes import DeepSea, DeepSeaBatch, register_deep_sea


def play(sea: DeepSea, moves: tuple[int, ...]) -> float:
    """The return of moves, 1 for right."""
    sea.reset()
    total = 0.0
    for move in moves:
        total += sea.step(sea.best_action if move else 1 - sea.best_action)[1]
    return total


@pytest.mark.parametrize("seed", range(3))
def test_exactly_one_of_all_sequences_finds_the_treasure(seed: int) -> None:
    sea = DeepSea(size=6, seed=seed)
    returns = {moves: play(sea, moves) for moves in product((0, 1), repeat=6)}
    assert returns.pop((1,) * 6) == pytest.approx(0.99)
    for moves, total in returns.items():
        assert total == pytest.approx(-0.01 * sum(moves) / 6)


def test_constant_policies_miss_the_treasure_on_most_maps() -> None:
    found = 0
    for seed in range(50):
        sea = DeepSea(size=8, seed=seed)
        for action in (0, 1):
            sea.reset()
            found += max(sea.step(action)[1] for _ in range(8)) > 0.5
    assert found <= 4  # 100 / 2^8 expected


def test_environment_passes_the_checker_of_gymnasium() -> None:
    environment = gymnasium.make(register_deep_sea(), size=5, seed=2)
    check_env(environment.unwrapped, skip_render_check=True)


def test_batch_equals_single_seas_on_random_actions() -> None:
    size, seeds = 5, [3, 1, 4, 1]
    batch, singles = DeepSeaBatch(size, seeds), [DeepSea(size, seed) for seed in seeds]
    draw = torch.Generator().manual_seed(0)
    for _ in range(4):
        cells = batch.reset()
        observed = np.stack([sea.reset()[0] for sea in singles])
        for step in range(size):
            assert torch.equal(batch.one_hot(cells), torch.from_numpy(observed))
            actions = torch.randint(2, (4,), generator=draw)
            cells, rewards, done = batch.step(actions)
            results = [sea.step(int(a)) for sea, a in zip(singles, actions, strict=True)]
            observed = np.stack([result[0] for result in results])
            assert rewards.tolist() == [result[1] for result in results]
            assert done == results[0][2] == (step == size - 1)
        assert not batch.one_hot(cells).any()


def test_state_puts_the_diver_back() -> None:
    sea, other = DeepSea(4, 0), DeepSea(4, 0)
    sea.step(0)
    other.load_state_dict(sea.state_dict())
    assert [sea.step(1)[1] for _ in range(3)] == [other.step(1)[1] for _ in range(3)]


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 2"):
        DeepSea(size=1)
    sea = DeepSea(size=2)
    with pytest.raises(ValueError, match="action must be 0 or 1"):
        sea.step(2)
    sea.step(0)
    sea.step(0)
    with pytest.raises(RuntimeError, match="call reset"):
        sea.step(0)
