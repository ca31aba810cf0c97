"""A BFN under the Trainer: it learns, on one process or two, through kills, and its checkpoints are safe."""

import functools
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from small_models import MODELS, batch, data

from graves_bfn import BFN, BFNMLP, BFNTransformer, BinaryImages, DiscreteFlow, Tokens
from graves_bfn.flows.times import stratified_times
from graves_core import EMA, DigitsDataModule, ExactResume
from graves_core.testing import assert_exact_resume, assert_safe_checkpoint, assert_same_gradients_ddp

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_compute_the_gradient_of_one(name: str) -> None:
    assert_same_gradients_ddp(MODELS[name], batch(name, 12))


@pytest.mark.parametrize(("name", "workers"), [*((name, 0) for name in MODELS), ("discretised", 2)])
def test_a_killed_run_ends_with_the_same_weights(name: str, workers: int, tmp_path: Path) -> None:
    assert_exact_resume(
        MODELS[name],
        lambda: data(name, num_workers=workers, batch_size=32),
        kill_at_steps=[3, 6],
        max_steps=7,
        root=tmp_path,
        make_callbacks=lambda: [EMA(decay=0.9), ExactResume()],
        trainer_args={"val_check_interval": 4, "limit_val_batches": 1, "check_val_every_n_epoch": None},
    )


@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_are_safe_and_rebuild_the_model(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    trainer = Trainer(max_steps=1, limit_val_batches=1, **QUIET)
    trainer.fit(model, datamodule=data(name))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = assert_safe_checkpoint(tmp_path / "model.ckpt")
    assert isinstance(again, BFN)
    assert again.spec == model.spec
    torch.testing.assert_close(again.state_dict(), model.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_a_short_run_improves_the_code_length(name: str) -> None:
    seed_everything(0)
    model = MODELS[name]()
    model.optimizer = lambda groups: torch.optim.AdamW(groups, lr=3e-3)
    trainer = Trainer(max_steps=40, limit_val_batches=1, num_sanity_val_steps=0, **QUIET)
    source = data(name, batch_size=64)
    (before,) = trainer.validate(model, source, verbose=False)
    trainer.fit(model, source)
    (after,) = trainer.validate(model, source, verbose=False)
    assert after["val/nats_per_dim"] < 0.8 * before["val/nats_per_dim"]


def test_logged_numbers_are_the_same_code_length_in_several_units() -> None:
    trainer = Trainer(limit_val_batches=2, **QUIET)
    (logged,) = trainer.validate(MODELS["text"](), data("text"), verbose=False)
    assert logged["val/nats_per_example"] == pytest.approx(16 * logged["val/nats_per_dim"], rel=1e-5)
    bits = logged["val/nats_per_dim"] / torch.log(torch.tensor(2.0)).item()
    assert logged["val/bits_per_char"] == pytest.approx(bits, rel=1e-5)


def test_evaluation_is_repeatable_and_leaves_the_training_stream_alone() -> None:
    model, source = MODELS["binary"](), data("binary")
    trainer = Trainer(limit_val_batches=2, **QUIET)
    torch.manual_seed(1)
    first = trainer.validate(model, source, verbose=False)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = trainer.validate(model, source, verbose=False)
    assert first == second
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("name", MODELS)
def test_predict_draws_a_sample_for_every_example(name: str) -> None:
    model = MODELS[name]()
    model.sample_steps = 2
    trainer = Trainer(limit_predict_batches=1, **QUIET)
    source = data(name, batch_size=5)
    (samples,) = trainer.predict(model, source)
    if name == "mixed":
        assert {field: tuple(values.shape) for field, values in samples.items()} == {
            "measurements": (5, 8),
            "age": (5, 1),
            "sex": (5, 1),
            "progression": (5, 1),
        }
    elif name in ("text", "words"):
        assert len(samples) == 5
        assert all(len(line) <= model.network.shape[0] for line in samples)
    else:
        assert samples.shape == (5, 1, 8, 8)
        assert samples.dtype == torch.uint8


def test_a_bound_with_finitely_many_messages_can_be_trained() -> None:
    model = MODELS["continuous"]()
    assert model.train_steps == 20
    torch.manual_seed(0)
    x = model.codec.encode(batch("continuous", 3))
    torch.manual_seed(1)
    loss = model.loss(x)
    torch.manual_seed(1)
    step = (20 * stratified_times(torch.rand(()), 3)).long() + 1
    torch.testing.assert_close(loss, model.flow.discrete_time_loss(model.network, x, 20, step=step))


def test_the_transformer_is_given_its_groups_and_the_scheduler_steps() -> None:
    net = BFNTransformer((4,), 3, 3, width=8, depth=1, heads=2)
    model = BFN(
        DiscreteFlow(3, 1.0),
        net,
        Tokens("abc"),
        lr_scheduler=functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1),
    )
    settings = model.configure_optimizers()
    assert [group["weight_decay"] for group in settings["optimizer"].param_groups] == [0.01, 0.0]
    assert settings["lr_scheduler"]["interval"] == "step"


def test_a_network_for_another_flow_or_other_data_is_refused() -> None:
    with pytest.raises(ValueError, match="network has inputs_per_variable=1, but DiscreteFlow needs 3"):
        BFN(DiscreteFlow(3, 1.0), BFNMLP((4,), 1, 1), Tokens("abc"))
    with pytest.raises(ValueError, match="sample_steps must be at least 1, not 0"):
        BFN(DiscreteFlow(2, 1.0), BFNMLP((4,), 1, 1), Tokens("ab"), sample_steps=0)
    wrong_shape = BFN(DiscreteFlow(2, 4.0), BFNMLP((4, 4, 1), 1, 1), BinaryImages(levels=17))
    with pytest.raises(
        ValueError, match=r"network has shape=\(4, 4, 1\), but the data have shape \(8, 8, 1\)"
    ):
        Trainer(**QUIET).fit(wrong_shape, datamodule=DigitsDataModule())
    wrong_levels = BFN(DiscreteFlow(2, 4.0), BFNMLP((8, 8, 1), 1, 1), BinaryImages())
    with pytest.raises(ValueError, match="levels=256, but the DataModule's values have 17"):
        Trainer(**QUIET).fit(wrong_levels, datamodule=DigitsDataModule())
