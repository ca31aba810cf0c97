"""Agents under a Trainer: they learn, log, evaluate, and resume."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import Adam

from graves_bayes import DQN, ActorCritic, Clock, ReplayDataModule, RolloutDataModule, VectorTorso
from graves_core.testing import assert_exact_resume, assert_safe_checkpoint
from graves_core.testing.quiet import QUIET

SEA: dict[str, Any] = {"environment": "graves/DeepSea-v0", "options": {"size": 4, "seed": 1}}


def sea_dqn(**options: Any) -> DQN:
    return DQN(VectorTorso(16), 2, **({"hidden": [24], "target_every": 5} | options))


def sea_replay(**options: Any) -> ReplayDataModule:
    small = {
        "capacity": 200,
        "batch_size": 8,
        "learning_starts": 12,
        "updates_per_epoch": 6,
        "eval_episodes": 2,
    }
    return ReplayDataModule(**(SEA | small | options))


def sea_actor_critic(**options: Any) -> ActorCritic:
    return ActorCritic(VectorTorso(16), 2, **({"hidden": [24]} | options))


def sea_rollouts(**options: Any) -> RolloutDataModule:
    small = {"num_envs": 3, "steps": 3, "updates_per_epoch": 6, "eval_episodes": 2}
    return RolloutDataModule(**(SEA | small | options))


def trainer(**options: Any) -> pl.Trainer:
    return pl.Trainer(**(QUIET | {"enable_checkpointing": False} | options))


RUNS = [
    (lambda: sea_dqn(double=True, dueling=True), lambda: sea_replay(num_envs=2, n_step=3)),
    (lambda: sea_dqn(resample="episode"), lambda: sea_replay(priority_exponent=0.5)),
    (lambda: sea_dqn(noise="none", epsilon_start=1.0, epsilon_end=0.1, epsilon_steps=20), sea_replay),
    (lambda: sea_dqn(resample="update"), lambda: sea_replay(steps_per_update=2)),
    (sea_actor_critic, sea_rollouts),
    (lambda: sea_actor_critic(noise="none", entropy_weight=0.01), lambda: sea_rollouts(num_envs=1)),
]


@pytest.mark.parametrize(("make_model", "make_data"), RUNS)
def test_interrupted_runs_end_like_others_bit_for_bit(
    make_model: Any, make_data: Any, tmp_path: Path
) -> None:
    assert_exact_resume(make_model, make_data, [4, 6, 9], 14, tmp_path)


@pytest.mark.parametrize("moment", ["validation", "epoch"])
def test_validation_leaves_the_run_alone(moment: Any, tmp_path: Path) -> None:
    assert_exact_resume(sea_dqn, sea_replay, [6, 12], 18, tmp_path, moment=moment)


def test_state_of_the_data_goes_on_bit_for_bit(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    model, data, other = sea_dqn(), sea_replay(n_step=2), sea_replay(n_step=2)
    run = trainer(max_steps=9)
    run.fit(model, data)
    run.save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)["ReplayDataModule"]
    other.trainer = run
    other.setup("fit")
    other.load_state_dict(saved)
    for _ in range(20):
        first, second = data.next_batch(), other.next_batch()
        assert first["clock"] == second["clock"]
        assert torch.equal(first["returns"], second["returns"])
        pairs = zip(first["transitions"], second["transitions"], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_environments_without_a_state_start_new_episodes_and_keep_the_memory() -> None:
    options = {"environment": "CartPole-v1", "options": {}, "num_envs": 2}
    model, data, other = DQN(VectorTorso(4), 2, hidden=[8]), sea_replay(**options), sea_replay(**options)
    run = trainer(max_steps=9)
    run.fit(model, data)
    other.trainer = run
    other.setup("fit")
    other.load_state_dict(data.state_dict())
    kept, resumed = data.replay, other.replay
    assert int(resumed.played.sum()) == int(kept.played.sum()) == 2 * other.clock.actions
    assert other.observations is not None
    rows = torch.arange(2) * resumed.length + resumed.head
    assert torch.equal(resumed.frames[rows], other.observations)
    assert not torch.equal(other.observations, data.observations)
    assert all(len(other.next_batch()["transitions"].rows) == 8 for _ in range(30))


def test_memory_may_stay_out_of_checkpoints() -> None:
    model, data, other = sea_dqn(), sea_replay(save_replay=False), sea_replay(save_replay=False)
    run = trainer(max_steps=3)
    run.fit(model, data)
    other.trainer = run
    other.setup("fit")
    other.load_state_dict(data.state_dict())
    before = other.clock.actions
    other.next_batch()
    assert other.clock.actions == before + 12


def test_checkpoints_rebuild_the_agent(tmp_path: Path) -> None:
    model = sea_dqn(dueling=True, double=True, epsilon_start=0.5)
    run = trainer(max_steps=2)
    run.fit(model, sea_replay())
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = assert_safe_checkpoint(tmp_path / "x.ckpt")
    assert isinstance(again, DQN)
    assert again.spec == model.spec
    observations = torch.eye(16)
    clock = Clock(1)
    assert torch.equal(
        again.act(observations, clock, greedy=True), model.act(observations, clock, greedy=True)
    )


def test_errors_become_priorities() -> None:
    data = sea_replay(priority_exponent=1.0, updates_per_epoch=1)
    model = sea_dqn(noise="none")
    run = trainer(max_epochs=1, limit_val_batches=0)
    seen: dict[str, Any] = {}
    original = model.temporal_differences
    model.temporal_differences = lambda *args: seen.setdefault("errors", original(*args))  # type: ignore[method-assign]
    sample = data.next_batch
    data.next_batch = lambda: seen.setdefault("batch", sample())  # type: ignore[method-assign]
    run.fit(model, data)
    rows, errors = seen["batch"]["transitions"].rows, seen["errors"][0].detach().abs()
    priorities = data.replay.sampler.state()["priorities"][rows]
    assert torch.allclose(priorities.float(), errors + 1e-6, rtol=1e-5)


def test_target_network_is_copied_at_its_period() -> None:
    model = sea_dqn(target_every=4)
    copied: list[bool] = []

    class Compare(pl.Callback):
        def on_before_optimizer_step(self, *_: Any) -> None:
            pairs = zip(model.online.parameters(), model.target.parameters(), strict=True)
            copied.append(all(torch.equal(a, b) for a, b in pairs))

    trainer(max_steps=9, limit_val_batches=0, callbacks=[Compare()]).fit(
        model, sea_replay(updates_per_epoch=9)
    )
    assert copied == [number % 4 == 0 for number in range(9)]


def test_training_logs_its_numbers() -> None:
    for model, data in ((sea_dqn(epsilon_start=0.5), sea_replay()), (sea_actor_critic(), sea_rollouts())):
        run = trainer(max_steps=6, log_every_n_steps=2, limit_val_batches=0)
        run.fit(model, data)
        expected = {"train/loss", "train/return"}
        expected |= {"train/value", "train/epsilon"} if isinstance(model, DQN) else {"train/entropy"}
        assert expected <= set(run.callback_metrics)


def test_validation_plays_without_noise_and_logs_returns() -> None:
    run = trainer(max_steps=6, check_val_every_n_epoch=1)
    model, data = sea_dqn(), sea_replay()
    run.fit(model, data)
    first = run.validate(model, data, verbose=False)
    second = run.validate(model, data, verbose=False)
    assert first == second
    assert set(first[0]) == {"val/return", "val/length"}
    assert first[0]["val/length"] == 4


def test_episodes_of_validation_end_at_their_limit() -> None:
    data = ReplayDataModule("CartPole-v1", max_eval_steps=5, eval_episodes=1)
    found = trainer().validate(DQN(VectorTorso(4), 2, hidden=[8]), data, verbose=False)
    assert found[0]["val/length"] == found[0]["val/return"] == 5


def test_noisy_dqn_finds_the_treasure() -> None:
    pl.seed_everything(0, verbose=False)
    model = sea_dqn(hidden=[50, 50], target_every=25, loss="squared")
    data = sea_replay(capacity=5000, batch_size=32, updates_per_epoch=600, eval_episodes=1)
    run = trainer(max_epochs=1, limit_val_batches=0)
    run.fit(model, data)
    assert trainer().validate(model, data, verbose=False)[0]["val/return"] == pytest.approx(0.99, abs=1e-6)


def test_actor_critic_learns_to_balance() -> None:
    pl.seed_everything(1, verbose=False)
    model = ActorCritic(VectorTorso(4), 2, hidden=[64], optimizer=partial(Adam, lr=3e-3))
    data = RolloutDataModule("CartPole-v1", num_envs=8, steps=10, updates_per_epoch=250, eval_episodes=10)
    trainer(max_epochs=1, limit_val_batches=0).fit(model, data)
    assert trainer().validate(model, data, verbose=False)[0]["val/return"] > 60  # chance: about 22


def test_models_that_do_not_fit_the_environment_are_refused() -> None:
    with pytest.raises(ValueError, match=r"observation_shape=\(9,\), but the environment shows \(16,\)"):
        trainer().fit(DQN(VectorTorso(9), 2), sea_replay())
    with pytest.raises(ValueError, match="actions=3, but the environment takes 2"):
        trainer().fit(DQN(VectorTorso(16), 3), sea_replay())


def test_models_that_cannot_act_are_refused() -> None:
    class Inert(pl.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> None: ...

    with pytest.raises(TypeError, match="a model with act"):
        trainer(limit_val_batches=0).fit(Inert(), sea_replay())


def test_ranks_have_environments_and_memories_of_their_own(tmp_path: Path) -> None:
    two = {"devices": 2, "strategy": "ddp_fork"}
    assert_exact_resume(
        lambda: sea_dqn(double=True), lambda: sea_replay(n_step=2), [4], 8, tmp_path, trainer_args=two
    )
    saved = torch.load(tmp_path / "whole" / "8.ckpt", weights_only=True)["ReplayDataModule"]["ranks"]
    assert len(saved) == 2
    assert not torch.equal(saved[0]["replay"]["actions"], saved[1]["replay"]["actions"])
    assert saved[0]["clock"][0] != saved[1]["clock"][0]


@pytest.mark.parametrize(
    ("make_model", "make_data"),
    [(lambda: sea_dqn(double=True), sea_replay), (sea_actor_critic, sea_rollouts)],
)
def test_mixed_precision_keeps_losses_finite_and_weights_whole(make_model: Any, make_data: Any) -> None:
    model = make_model()
    run = trainer(max_steps=4, precision="bf16-mixed", log_every_n_steps=1, limit_val_batches=0)
    run.fit(model, make_data())
    assert torch.isfinite(run.callback_metrics["train/loss"])
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
