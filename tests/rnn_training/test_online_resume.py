"""OnlineRNN is killed in the middle of streams and goes on, influence included."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from online_models import LEARNERS, QUIET, batch, chunks, fit, make, stream_loader
from torch.utils.data import DataLoader

from graves_core.testing import assert_exact_resume, assert_safe_checkpoint
from graves_rnn_training.module.online import STREAMS, OnlineRNN


def saved_streams(path: Path) -> Any:
    return torch.load(path, weights_only=True)[STREAMS]


@pytest.mark.parametrize("update_every", ["step", "sequence"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_killed_run_goes_on_in_mid_stream(name: str, update_every: Any, tmp_path: Path) -> None:
    updates = 2 if update_every == "step" else 1  # per batch, because one step of three is silent
    assert_exact_resume(
        lambda: make(name, update_every=update_every),
        stream_loader,
        kill_at_steps=[2 * updates, 5 * updates],
        max_steps=9 * updates,
        root=tmp_path,
    )
    for step in (5 * updates, 9 * updates):
        whole, killed = (saved_streams(tmp_path / run / f"{step}.ckpt") for run in ("whole", "killed"))
        torch.testing.assert_close(killed, whole, rtol=0, atol=0)
        assert all(trace.abs().sum() > 0 for trace in whole["states"][0]["traces"])


def test_two_ranks_go_on_with_their_own_streams(tmp_path: Path) -> None:
    assert_exact_resume(
        lambda: make("uoro"),
        lambda: stream_loader(ranks=2),
        kill_at_steps=[4, 10],
        max_steps=18,
        root=tmp_path,
        trainer_args={"devices": 2, "strategy": "ddp_fork"},
    )
    whole, killed = (saved_streams(tmp_path / run / "18.ckpt") for run in ("whole", "killed"))
    torch.testing.assert_close(killed, whole, rtol=0, atol=0)
    first, second = whole["states"]
    assert not torch.equal(first["hidden"], second["hidden"])


@pytest.mark.parametrize("name", LEARNERS)
def test_checkpoints_in_mid_stream_are_safe_and_rebuild_the_model(name: str, tmp_path: Path) -> None:
    model = make(name)
    fit(model, chunks(batch(), 2)).save_checkpoint(tmp_path / "model.ckpt")
    again = assert_safe_checkpoint(tmp_path / "model.ckpt")
    assert isinstance(again, OnlineRNN)
    assert again.spec == model.spec


def test_sequences_that_start_anew_leave_no_state_in_the_checkpoint(tmp_path: Path) -> None:
    fit(make(), [batch()]).save_checkpoint(tmp_path / "model.ckpt")
    assert saved_streams(tmp_path / "model.ckpt") == {"tokens": 15, "states": []}


def save_in_mid_stream(folder: Path, name: str = "snap") -> Path:
    fit(make(name), chunks(batch(), 2), max_epochs=1).save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


def resume(path: Path, rows: int = 3, name: str = "snap", **arguments: Any) -> OnlineRNN:
    model = make(name)
    trainer = pl.Trainer(**(QUIET | {"max_epochs": 2} | arguments))
    trainer.fit(model, DataLoader(chunks(batch(rows), 2), batch_size=None), ckpt_path=path)
    return model


def test_another_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume with the same model, batch_size and number of devices"):
        resume(save_in_mid_stream(tmp_path), rows=4)


def test_another_learner_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the checkpoint's streams have shapes .* need"):
        resume(save_in_mid_stream(tmp_path), name="bptt")


def test_another_number_of_devices_is_refused(tmp_path: Path) -> None:
    path = save_in_mid_stream(tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[STREAMS]["states"] *= 2
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match="streams of 2 devices and cannot be resumed on 1"):
        resume(path)


def test_a_resumed_run_that_has_nothing_left_to_do_keeps_the_streams(tmp_path: Path) -> None:
    path = save_in_mid_stream(tmp_path)
    trainer = pl.Trainer(**(QUIET | {"max_epochs": 1}))
    trainer.fit(make("snap"), DataLoader(chunks(batch(3), 2), batch_size=None), ckpt_path=path)
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    torch.testing.assert_close(saved_streams(tmp_path / "again.ckpt"), saved_streams(path), rtol=0, atol=0)


def test_a_new_fit_of_a_loaded_model_begins_anew(tmp_path: Path) -> None:
    model = OnlineRNN.load_from_checkpoint(save_in_mid_stream(tmp_path))
    trainer = fit(model, chunks(batch(rows=5), 5))
    assert trainer.callback_metrics["train/tokens"] == 25


def test_a_checkpoint_is_tested_on_batches_of_any_size(tmp_path: Path) -> None:
    path = save_in_mid_stream(tmp_path)
    loader = DataLoader(chunks(batch(rows=5), 2), batch_size=None)
    (logged,) = pl.Trainer(**QUIET).test(make("snap"), loader, ckpt_path=path, verbose=False)
    assert logged["test/bits_per_char"] > 0
