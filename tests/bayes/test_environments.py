"""Environments of gymnasium as tensors."""

import pytest
import torch

from graves_bayes import Environments

RIGHT = {"environment": "graves/DeepSea-v0", "count": 3, "options": {"size": 3, "seed": 1}}


def test_last_observation_of_an_episode_is_not_the_first_of_the_next() -> None:
    seas = Environments(**RIGHT)
    first = seas.reset(seed=0)
    for number in range(3):
        step = seas.step(torch.zeros(3, dtype=torch.int64))
        assert step.terminated.tolist() == [number == 2] * 3
        assert not step.truncated.any()
    assert not step.reached.any()
    assert torch.equal(step.observations, first)


def test_time_limits_truncate() -> None:
    carts = Environments("CartPole-v1", 2, {"max_episode_steps": 3})
    carts.reset(seed=0)
    steps = [carts.step(torch.tensor([0, 1])) for _ in range(3)]
    assert [step.truncated.tolist() for step in steps] == [[False] * 2, [False] * 2, [True] * 2]
    assert not torch.equal(steps[-1].reached, steps[-1].observations)
    assert carts.take_ended() == [(3.0, 3), (3.0, 3)]
    assert carts.take_ended() == []


def test_same_seed_gives_the_same_episodes() -> None:
    def play() -> list[torch.Tensor]:
        carts = Environments("CartPole-v1", 2)
        seen = [carts.reset(seed=5)]
        return seen + [carts.step(torch.tensor([step % 2, 0])).observations for step in range(30)]

    assert all(torch.equal(a, b) for a, b in zip(play(), play(), strict=True))


def test_deep_sea_goes_on_where_it_was() -> None:
    seas, others = Environments(**RIGHT), Environments(**RIGHT)
    seas.reset(seed=0), others.reset(seed=0)
    seas.step(torch.tensor([0, 1, 0]))
    state = seas.state_dict()
    assert state is not None
    others.load_state_dict(state)
    for _ in range(5):
        actions = torch.randint(2, (3,))
        pairs = zip(seas.step(actions), others.step(actions), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert seas.take_ended() == others.take_ended()


def test_cart_pole_cannot_tell_where_it_is() -> None:
    assert Environments("CartPole-v1").state_dict() is None


def test_minatar_ids_are_known() -> None:
    pytest.importorskip("minatar")
    breakout = Environments("MinAtar/Breakout-v1", 2)
    assert breakout.reset(seed=0).shape == (2, 10, 10, 4)
    assert breakout.actions == 3


def test_atari_frames_are_stacked_bytes() -> None:
    pytest.importorskip("ale_py")
    pong = Environments("ALE/Pong-v5", 2)
    observations = pong.reset(seed=0)
    assert observations.shape == (2, 4, 84, 84)
    assert observations.dtype == torch.uint8
    after = pong.step(torch.zeros(2, dtype=torch.int64)).observations
    assert torch.equal(after[:, :3], observations[:, 1:])


def test_last_frames_of_an_atari_episode_follow_those_before() -> None:
    pytest.importorskip("ale_py")
    breakout = Environments("ALE/Breakout-v5", 1)
    before = breakout.reset(seed=0)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3000):
        step = breakout.step(torch.randint(4, (1,), generator=draw))
        assert torch.equal(step.reached[:, :3], before[:, 1:])
        before = step.observations
        if step.terminated.any():
            return
    pytest.fail("no episode ended")


def test_unknown_ids_and_continuous_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="must be an id that gymnasium knows"):
        Environments("graves/ShallowSea-v0")
    with pytest.raises(ValueError, match="must have discrete actions"):
        Environments("MountainCarContinuous-v0")


def test_missing_packages_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graves_bayes.data.environments.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "graves-bayes\[agents\]"'):
        Environments("CartPole-v1")
