"""NoisyNet in any LightningModule: schedule, evaluation, logging, resume, ranks."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from noisy_models import QUIET, NoisyRegressor, Regressor, Watch, data, fit, loader, make
from torch import nn

from graves_bayes.callbacks.noisy import NoisyNet
from graves_bayes.layers.make_noisy import make_noisy
from graves_bayes.layers.noise_control import noise_off, noisy_layers
from graves_core import ExactResume
from graves_core.testing import assert_exact_resume, assert_safe_checkpoint


def test_the_optimizer_learns_the_sigmas() -> None:
    module, _ = fit(NoisyNet())
    assert list(noisy_layers(module)) == ["body.0", "head"]
    for layer in noisy_layers(module).values():
        assert not torch.allclose(layer.weight_sigma, torch.tensor(layer.initial_sigma))


def test_a_pattern_chooses_layers() -> None:
    module, _ = fit(NoisyNet("head", kind="factorised", sigma0=0.1))
    assert list(noisy_layers(module)) == ["head"]
    assert module.head.initial_sigma == pytest.approx(0.1 / 8**0.5)


KEYS = {
    "update": lambda step, epoch, number: step,
    "batch": lambda step, epoch, number: number,
    "epoch": lambda step, epoch, number: epoch,
}


@pytest.mark.parametrize("schedule", KEYS)
def test_noise_changes_when_the_schedule_says_so(schedule: Any) -> None:
    """Of two batches, with two batches for each update."""
    _, watch = fit(NoisyNet(schedule=schedule), accumulate_grad_batches=2)
    keys = [KEYS[schedule](step, epoch, number) for number, (step, epoch, _) in enumerate(watch.seen)]
    noise = [noise for _, _, noise in watch.seen]
    assert len(keys) == 12
    for (one, before), (other, after) in pairwise(zip(keys, noise, strict=True)):
        assert torch.equal(before, after) == (one == other)


def test_noise_does_not_depend_on_what_else_is_drawn() -> None:
    def noise(draws: int) -> Any:
        pl.seed_everything(1, verbose=False)
        callback = NoisyNet(seed=5)
        module, watch = make(), Watch()
        trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[callback, watch])
        torch.rand(draws)
        trainer.fit(module, loader())
        return [noise for _, _, noise in watch.seen]

    assert all(torch.equal(one, other) for one, other in zip(noise(0), noise(3), strict=True))


def test_the_seed_of_the_run_is_a_consequence_of_the_global_seed() -> None:
    def noise(seed: int) -> torch.Tensor:
        module = make()
        pl.seed_everything(seed, verbose=False)
        return fit(NoisyNet(), module)[1].seen[0][2]

    assert torch.equal(noise(1), noise(1))
    assert not torch.equal(noise(1), noise(2))


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_evaluation_is_without_noise(stage: str) -> None:
    module = make()
    expected = module(data()).detach()
    trainer = pl.Trainer(**QUIET, callbacks=[NoisyNet()])
    told = getattr(trainer, stage)(module, torch.utils.data.DataLoader(data(), batch_size=12))
    found = told[0] if stage == "predict" else module.outputs[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(module(data()), expected)  # afterwards the noise is back


def test_evaluation_with_a_sample_has_one_sample_for_all_batches() -> None:
    module = make()
    expected = module(data()).detach()
    trainer = pl.Trainer(**QUIET, callbacks=[NoisyNet(evaluation="sample")])
    first, second = (
        torch.cat(trainer.predict(module, torch.utils.data.DataLoader(data(), batch_size=4)))
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, expected)


@pytest.mark.parametrize("evaluation", ["mean", "sample"])
def test_validation_leaves_the_noise_of_training_alone(evaluation: Any) -> None:
    """Noise of a whole epoch, with a validation in the middle."""
    module, watch = make(), Watch()
    callback = NoisyNet(schedule="epoch", evaluation=evaluation)
    trainer = pl.Trainer(**QUIET, max_epochs=1, val_check_interval=3, callbacks=[callback, watch])
    trainer.fit(module, loader(), torch.utils.data.DataLoader(data(), batch_size=12))
    assert len(module.outputs) > 2
    assert all(torch.equal(noise, watch.seen[0][2]) for _, _, noise in watch.seen)


def test_validation_sees_the_means_of_the_moment() -> None:
    module = make()
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[NoisyNet()])
    trainer.fit(module, loader(), torch.utils.data.DataLoader(data(), batch_size=12))
    with noise_off(module):
        torch.testing.assert_close(module.outputs[-1], module(data()).detach())


def test_mean_sigmas_are_logged() -> None:
    module = make()
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[NoisyNet(every_n_batches=5)])
    trainer.fit(module, loader())
    logged = trainer.callback_metrics
    assert logged["sigma/head"] == pytest.approx(float(module.head.weight_sigma.detach().abs().mean()))
    assert set(logged) == {"sigma/head", "sigma/body.0"}


def test_logging_can_be_left_out() -> None:
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[NoisyNet(every_n_batches=0)])
    trainer.fit(make(), loader())
    assert not trainer.callback_metrics


@pytest.mark.parametrize("schedule", KEYS)
def test_a_killed_run_goes_on_with_its_noise(schedule: Any, tmp_path: Path) -> None:
    assert_exact_resume(
        make,
        loader,
        kill_at_steps=[2, 6, 8],
        max_steps=14,
        root=tmp_path,
        make_callbacks=lambda: [NoisyNet(schedule=schedule), ExactResume()],
    )


def test_a_run_killed_between_updates_goes_on_with_its_noise(tmp_path: Path) -> None:
    assert_exact_resume(
        make,
        loader,
        kill_at_steps=[1, 2, 4],
        max_steps=6,
        root=tmp_path,
        make_callbacks=lambda: [NoisyNet(), ExactResume()],
        trainer_args={"accumulate_grad_batches": 2},
    )


def test_ranks_go_on_with_their_own_noise(tmp_path: Path) -> None:
    assert_exact_resume(
        make,
        loader,
        kill_at_steps=[2, 5],
        max_steps=7,
        root=tmp_path,
        make_callbacks=lambda: [NoisyNet(), ExactResume()],
        trainer_args={"devices": 2, "strategy": "ddp_fork"},
    )


def test_ranks_have_noise_of_their_own_and_the_same_weights(tmp_path: Path) -> None:
    arguments = QUIET | {"devices": 2, "strategy": "ddp_fork", "max_epochs": 1}
    trainer = pl.Trainer(**arguments, callbacks=[NoisyNet(), Watch(tmp_path)])
    trainer.fit(make(), loader(batch_size=1))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert len(first["noise"]) == 6
    for one, other in zip(first["noise"], second["noise"], strict=True):
        assert not torch.equal(one, other)
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)


def test_two_ranks_average_the_gradients_of_their_noises(tmp_path: Path) -> None:
    """One step of plain descent on two ranks is the mean of those of two processes with the ranks' noises."""
    arguments = QUIET | {"devices": 2, "strategy": "ddp_fork", "max_steps": 1}
    module = make()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=1.0)
    rows = torch.utils.data.DataLoader(data()[:2], batch_size=1)
    pl.Trainer(**arguments, callbacks=[NoisyNet(), Steps(tmp_path)]).fit(module, rows)
    steps = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    start, after = steps[0]["before"], steps[0]["after"]
    twin = make()
    make_noisy(twin)
    gradients = []
    for step in steps:
        twin.load_state_dict(start)
        for layer, noise in zip(noisy_layers(twin).values(), step["noise"], strict=True):
            layer.noise = type(layer.noise)(*noise)
        gradients.append(torch.autograd.grad(twin.training_step(step["batch"], 0), list(twin.parameters())))
    for (name, value), one, other in zip(start.items(), *gradients, strict=True):
        torch.testing.assert_close(after[name], value - (one + other) / 2)


class Steps(pl.Callback):
    """Writes what a rank had before and after its first step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Any] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        noise = [list(layer.noise) for layer in noisy_layers(pl_module).values()]
        self.told = {"before": weights, "noise": noise, "batch": batch}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        told = self.told | {"after": pl_module.state_dict()}
        torch.save(told, self.folder / f"{trainer.global_rank}.pt")


def test_checkpoints_hold_plain_data_and_load_without_the_callback(tmp_path: Path) -> None:
    module = make()
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[NoisyNet()])
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "noisy.ckpt")
    saved = torch.load(tmp_path / "noisy.ckpt", weights_only=True)
    plain = Regressor()
    plain.load_state_dict(saved["state_dict"], strict=False)
    with noise_off(module):
        torch.testing.assert_close(plain(data()), module(data()))


def test_a_checkpoint_is_tested_by_a_new_module(tmp_path: Path) -> None:
    module = make()
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[NoisyNet()])
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "noisy.ckpt")
    other = Regressor()
    rows = torch.utils.data.DataLoader(data(), batch_size=12)
    pl.Trainer(**QUIET, callbacks=[NoisyNet()]).test(other, rows, ckpt_path=tmp_path / "noisy.ckpt")
    with noise_off(module):
        torch.testing.assert_close(other.outputs[0], module(data()).detach())


def test_a_module_with_noisy_layers_of_its_own_is_used_as_it_is() -> None:
    module = make()
    make_noisy(module, "head")
    head = module.head
    fit(NoisyNet(pattern=None), module)
    assert module.head is head
    assert list(noisy_layers(module)) == ["head"]


def test_a_second_run_of_a_module_keeps_its_layers() -> None:
    module, _ = fit(NoisyNet())
    head = module.head
    fit(NoisyNet(), module)
    assert module.head is head


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("tail", "no linear layer matches 'tail'; there are body.0, head"),
        (None, "Regressor has no noisy layer"),
    ],
)
def test_a_pattern_without_layers_is_refused(pattern: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(NoisyNet(pattern))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schedule": "step"}, "schedule must be one of update, batch, epoch, not 'step'"),
        ({"kind": "gaussian"}, "kind must be one of factorised, independent, not 'gaussian'"),
        ({"evaluation": "median"}, "evaluation must be one of mean, sample, not 'median'"),
        ({"every_n_batches": -1}, "every_n_batches must be at least 0, not -1"),
        ({"sigma0": -1.0}, "sigma0 must be at least 0 and finite, not -1.0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoisyNet(**arguments)


def test_bfloat16_training_with_accumulation_runs() -> None:
    module, watch = fit(NoisyNet(), precision="bf16-mixed", accumulate_grad_batches=3)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert all(isinstance(layer, nn.Module) for layer in noisy_layers(module).values())
    assert len(watch.seen) == 12


def test_an_error_in_validation_puts_the_noise_back() -> None:
    module = make()
    module.validation_step = lambda batch, batch_idx: 1 / 0
    trainer = pl.Trainer(**QUIET, callbacks=[NoisyNet()])
    with pytest.raises(ZeroDivisionError):
        trainer.validate(module, torch.utils.data.DataLoader(data(), batch_size=12))
    assert all(layer.noise is not None for layer in noisy_layers(module).values())


def test_safe_checkpoints_rebuild_a_module_that_is_noisy_itself(tmp_path: Path) -> None:
    module = NoisyRegressor()
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[NoisyNet(pattern=None)])
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "noisy.ckpt")
    assert_safe_checkpoint(tmp_path / "noisy.ckpt")
