"""MemoryRNN is killed in the middle of sequences and goes on, memory included."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from memory_models import NETS, QUIET, bits, chunks, fit, loader, make, stream_loader

from graves_core.testing import assert_exact_resume, assert_safe_checkpoint
from graves_memory.module.carried import STREAMS
from graves_memory.module.memory import MemoryRNN


def saved_states(path: Path) -> Any:
    return torch.load(path, weights_only=True)[STREAMS]["states"]


@pytest.mark.parametrize("name", NETS)
def test_a_killed_run_goes_on_in_mid_sequence(name: str, tmp_path: Path) -> None:
    assert_exact_resume(lambda: make(name), stream_loader, kill_at_steps=[2, 5], max_steps=9, root=tmp_path)
    for step in (5, 9):
        whole, killed = (saved_states(tmp_path / run / f"{step}.ckpt") for run in ("whole", "killed"))
        torch.testing.assert_close(killed, whole, rtol=0, atol=0)
        held = [part.abs().sum() > 0 for name, part in whole[0].items() if not name.endswith("start")]
        assert all(held)


def test_two_ranks_go_on_with_their_own_sequences(tmp_path: Path) -> None:
    assert_exact_resume(
        make,
        lambda: stream_loader(ranks=2),
        kill_at_steps=[2, 5],
        max_steps=9,
        root=tmp_path,
        trainer_args={"devices": 2, "strategy": "ddp_fork"},
    )
    first, second = saved_states(tmp_path / "whole" / "9.ckpt")
    assert not torch.equal(first["memory"], second["memory"])


def in_mid_sequence(folder: Path, **arguments: Any) -> Path:
    fit(make(), chunks(bits(), 2), **arguments).save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


@pytest.mark.parametrize("name", NETS)
def test_checkpoints_in_mid_sequence_are_safe_and_rebuild_the_model(name: str, tmp_path: Path) -> None:
    model = make(name)
    fit(model, chunks(bits(), 2)).save_checkpoint(tmp_path / "model.ckpt")
    again = assert_safe_checkpoint(tmp_path / "model.ckpt")
    assert isinstance(again, MemoryRNN)
    assert again.spec == model.spec


def test_whole_sequences_leave_no_state_in_the_checkpoint(tmp_path: Path) -> None:
    fit(make(), [bits()]).save_checkpoint(tmp_path / "model.ckpt")
    assert saved_states(tmp_path / "model.ckpt") == []


class SavesInValidation(pl.Callback):
    """Saves a checkpoint at the end of a validation, as ModelCheckpoint does."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.file)


def test_a_checkpoint_of_a_validation_holds_the_state_of_training(tmp_path: Path) -> None:
    path = in_mid_sequence(tmp_path)
    other = tmp_path / "validation.ckpt"
    fit(make(), chunks(bits(), 2), [bits(rows=2)], callbacks=[SavesInValidation(other)])
    torch.testing.assert_close(saved_states(other), saved_states(path), rtol=0, atol=0)


def test_another_batch_size_is_refused(tmp_path: Path) -> None:
    path = in_mid_sequence(tmp_path)
    parts = chunks(bits(rows=4), 2)[1:]
    with pytest.raises(ValueError, match="3 sequences are under way and cannot go on in a batch of 4"):
        pl.Trainer(**QUIET, max_epochs=2).fit(make(), loader(parts), ckpt_path=path)


def test_another_number_of_devices_is_refused(tmp_path: Path) -> None:
    path = in_mid_sequence(tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[STREAMS]["states"] *= 2
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match="streams of 2 devices and cannot be resumed on 1"):
        pl.Trainer(**QUIET, max_epochs=2).fit(make(), loader(chunks(bits(), 2)), ckpt_path=path)


def test_a_resumed_run_that_has_nothing_left_to_do_keeps_the_state(tmp_path: Path) -> None:
    path = in_mid_sequence(tmp_path)
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(make(), loader(chunks(bits(), 2)), ckpt_path=path)
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    torch.testing.assert_close(saved_states(tmp_path / "again.ckpt"), saved_states(path), rtol=0, atol=0)


def test_a_new_fit_of_a_loaded_model_begins_anew(tmp_path: Path) -> None:
    model = MemoryRNN.load_from_checkpoint(in_mid_sequence(tmp_path))
    fresh = MemoryRNN.load_from_checkpoint(in_mid_sequence(tmp_path))
    parts = chunks(bits(rows=5), 2)
    fit(model, parts[1:])
    fit(fresh, [parts[1] | {"reset": torch.ones(5, dtype=torch.bool)}, *parts[2:]])
    torch.testing.assert_close(model.state_dict(), fresh.state_dict(), rtol=0, atol=0)
