"""The models of images under the Trainer: learning, ranks, kills, checkpoints, and what they refuse."""

import functools
from pathlib import Path

import pytest
import torch
from kanerva_models import MODELS, data, episodes, grey, kanerva, parts, stochastic
from lightning.pytorch import LightningModule, Trainer, seed_everything

from graves_core import DataSpec, DigitsDataModule, ExactResume
from graves_core.testing import assert_exact_resume, assert_safe_checkpoint, assert_same_gradients_ddp
from graves_memory.data.episodes import ImageEpisodesDataModule
from graves_memory.layers.images.likelihoods import BinaryPixels
from graves_memory.layers.images.mlp import MLPImageDecoder, MLPImageEncoder
from graves_memory.module.vae import ImageVAE

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("make", [stochastic, grey])
def test_a_short_run_improves_the_bound(name: str, make: object) -> None:
    seed_everything(0, verbose=False)
    model: LightningModule = make(name)  # type: ignore[operator]
    trainer = Trainer(max_steps=30, limit_val_batches=1, num_sanity_val_steps=0, **QUIET)
    source = data(batch_size=8)
    (before,) = trainer.validate(model, source, verbose=False)
    trainer.fit(model, source)
    (after,) = trainer.validate(model, source, verbose=False)
    assert after["val/nelbo"] < 0.9 * before["val/nelbo"]


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_compute_the_gradient_of_one(name: str) -> None:
    """With five episodes on a rank: nothing but the batch has a multiple of five as its leading size."""
    batch = {"images": episodes(10, 7)}
    assert_same_gradients_ddp(functools.partial(stochastic, name), batch, tolerance=2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_killed_run_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    assert_exact_resume(
        functools.partial(stochastic, name),
        lambda: data(batch_size=32),
        kill_at_steps=[3, 6],
        max_steps=8,
        root=tmp_path,
        make_callbacks=lambda: [ExactResume()],
        trainer_args={"limit_val_batches": 1},
    )


@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_are_safe_and_rebuild_the_model(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    trainer = Trainer(max_steps=1, limit_val_batches=0, **QUIET)
    trainer.fit(model, datamodule=data())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = assert_safe_checkpoint(tmp_path / "model.ckpt")
    assert again.spec == model.spec


def test_everything_that_belongs_to_the_bound_is_logged() -> None:
    common = {"nelbo", "reconstruction"}
    extra = {
        "vae": {"kl_z"},
        "kanerva": {"kl_z", "kl_y", "noise", "kl_memory", "episode_nelbo"},
        "dynamic": {"kl_y", "noise", "autoencoder", "kl_memory", "episode_nelbo"},
    }
    for name, names in extra.items():
        limits = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
        trainer = Trainer(**limits, **QUIET)
        trainer.fit(grey(name), datamodule=data())
        logged = set(trainer.logged_metrics)
        wanted = {f"val/{key}" for key in common | names | {"bits_per_dim"}}
        assert wanted <= logged
        trained = names - ({"kl_memory", "episode_nelbo"} if name == "kanerva" else set())
        assert {"train/loss", *(f"train/{key}" for key in common | trained)} <= logged


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_is_repeatable_and_leaves_the_training_stream_alone(name: str) -> None:
    model, source, trainer = stochastic(name), data(), Trainer(limit_val_batches=2, **QUIET)
    first = trainer.validate(model, source, verbose=False)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = trainer.validate(model, source, verbose=False)
    assert first == second
    assert torch.get_rng_state().equal(state)


def test_optimizer_and_scheduler_are_those_that_were_given() -> None:
    step = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1)
    model = ImageVAE(*parts(), optimizer=functools.partial(torch.optim.SGD, lr=0.5), lr_scheduler=step)
    settings = model.configure_optimizers()
    assert settings["optimizer"].param_groups[0]["lr"] == 0.5
    assert settings["lr_scheduler"]["interval"] == "step"


def test_other_data_are_refused_by_name() -> None:
    trainer = Trainer(max_steps=1, **QUIET)
    small = MLPImageEncoder((1, 4, 4)), MLPImageDecoder((1, 4, 4), 5)
    with pytest.raises(
        ValueError, match=r"encoder has image_shape=\(1, 4, 4\), but the images have \(1, 8, 8\)"
    ):
        trainer.fit(ImageVAE(*small, BinaryPixels(17)), datamodule=data())
    with pytest.raises(
        ValueError, match="BinaryPixels was given levels=256, but the DataModule's values have 17"
    ):
        trainer.fit(kanerva(BinaryPixels(256)), datamodule=data())


class Letters(ImageEpisodesDataModule):
    def __init__(self) -> None:
        super().__init__(DigitsDataModule())

    @property
    def spec(self) -> DataSpec:
        return DataSpec("text", (4,), levels=3)


def test_data_that_are_no_images_are_refused() -> None:
    with pytest.raises(
        ValueError, match="KanervaMachine is made for image data, but the DataModule yields text"
    ):
        Trainer(max_steps=1, **QUIET).fit(kanerva(), datamodule=Letters())


def test_training_runs_in_half_precision() -> None:
    seed_everything(0, verbose=False)
    for name in MODELS:
        for precision in ("bf16-mixed", "bf16-true"):
            trainer = Trainer(max_steps=2, limit_val_batches=1, precision=precision, **QUIET)
            trainer.fit(grey(name), datamodule=data())
            assert trainer.logged_metrics["train/loss"].isfinite()


@pytest.mark.parametrize("name", ["kanerva", "dynamic"])
def test_no_loss_of_many_steps_is_nan(name: str) -> None:
    """With so high a learning rate that the memory becomes nearly certain."""
    seed_everything(0, verbose=False)
    model = MODELS[name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(50):
        loss = model.objective(model.losses(episodes(2, 6, seed=step % 3)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
