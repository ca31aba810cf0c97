"""Runs from the command line: what is saved, what beats what, and what a chosen class starts from."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pretend_plugin import Answer, Command

QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


@pytest.fixture
def checkpoint(lightning: Command, tmp_path: Path) -> Path:
    """A checkpoint of a run with scale 2.5 and SGD."""
    line = "fit --config tiny.yaml --model.scale 2.5 --model.optimizer SGD --model.optimizer.lr 0.125"
    assert lightning(*line.split(), f"--trainer.default_root_dir={tmp_path}").code == 0
    return tmp_path / "checkpoints" / "last.ckpt"


def scale(answer: Answer) -> float:
    """The scale that a test run printed."""
    assert answer.code == 0, answer.err
    found = re.search(r"scale\W+([\d.]+)", answer.out)
    assert found
    return float(found[1])


def saved_config(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())


def optimizer_of(folder: Path) -> dict[str, Any]:
    return saved_config(folder)["model"]["init_args"]["optimizer"]


def rerun(lightning: Command, checkpoint: Path, line: str = "") -> float:
    words = f"test --data NoiseDataModule --ckpt_path {checkpoint} {line}".split()
    return scale(lightning(*words, *QUIET))


def test_a_run_saves_its_config_and_a_second_one_may_overwrite_it(
    lightning: Command, checkpoint: Path
) -> None:
    folder = checkpoint.parents[1]
    again = lightning("fit", "--config", "tiny.yaml", f"--trainer.default_root_dir={folder}")
    assert again.code == 0
    assert saved_config(folder)["model"]["init_args"]["scale"] == 1.0


def test_a_saved_config_runs_again(lightning: Command, checkpoint: Path) -> None:
    folder = checkpoint.parents[1]
    assert lightning("fit", "--config", str(folder / "config.yaml")).code == 0


def test_the_checkpoint_gives_the_model(lightning: Command, checkpoint: Path) -> None:
    assert rerun(lightning, checkpoint) == 2.5


def test_a_flag_beats_the_checkpoint(lightning: Command, checkpoint: Path) -> None:
    assert rerun(lightning, checkpoint, "--model.scale 7") == 7


def test_a_config_file_beats_the_checkpoint(lightning: Command, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "scale.yaml").write_text("model:\n  class_path: Pretender\n  init_args: {scale: 8}\n")
    assert rerun(lightning, checkpoint, "--config scale.yaml") == 8


def test_a_config_file_without_class_beats_the_checkpoint(
    lightning: Command, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "scale.yaml").write_text("model:\n  init_args: {scale: 8}\n")
    assert rerun(lightning, checkpoint, "--config scale.yaml") == 8


def test_a_flag_beats_a_config_file_and_the_checkpoint(
    lightning: Command, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "scale.yaml").write_text("model:\n  init_args: {scale: 8}\n")
    assert rerun(lightning, checkpoint, "--config scale.yaml --model.scale 9") == 9


def test_the_checkpoint_path_may_stand_in_the_config(
    lightning: Command, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "test.yaml").write_text(f"ckpt_path: {checkpoint}\ndata: NoiseDataModule\n")
    assert scale(lightning("test", "--config", "test.yaml", *QUIET)) == 2.5


def test_fit_continues_from_a_checkpoint_without_naming_the_model(
    lightning: Command, checkpoint: Path, tmp_path: Path
) -> None:
    line = f"fit --data NoiseDataModule --ckpt_path {checkpoint} --trainer.max_epochs 2"
    folder = tmp_path / "continued"
    assert lightning(*line.split(), *QUIET, f"--trainer.default_root_dir={folder}").code == 0
    assert optimizer_of(folder)["init_args"]["lr"] == 0.125


def test_checkpoints_of_runs_load_safely(checkpoint: Path) -> None:
    hparams = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert hparams["_class_path"] == "graves_pretend.Pretender"
    assert hparams["scale"] == 2.5


def test_exact_resume_is_added(checkpoint: Path) -> None:
    assert "ExactResume" in str(torch.load(checkpoint, weights_only=True)["callbacks"].keys())


def test_exact_resume_is_not_added_twice(lightning: Command) -> None:
    line = "fit --config tiny.yaml --trainer.callbacks+=ExactResume --trainer.fast_dev_run true"
    assert lightning(*line.split()).code == 0


@pytest.mark.parametrize("chosen", ["SGD", "torch.optim.SGD", "torch.optim.sgd.SGD"])
def test_a_chosen_optimizer_starts_from_its_own_defaults(
    lightning: Command, tmp_path: Path, chosen: str
) -> None:
    """Adam's and AdamW's decay, which jsonargparse would hand on, is not that of SGD."""
    line = f"fit --config tiny.yaml --model.optimizer {chosen} --trainer.max_epochs 0"
    assert lightning(*line.split(), f"--trainer.default_root_dir={tmp_path}").code == 0
    init_args = optimizer_of(tmp_path)["init_args"]
    assert (init_args["lr"], init_args["weight_decay"]) == (0.001, 0)


def test_a_class_given_again_keeps_what_was_given(lightning: Command, tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(
        "model: {init_args: {optimizer: {class_path: Adam, init_args: {eps: 0.5}}}}"
    )
    line = "fit --config tiny.yaml --config slow.yaml --model Pretender --trainer.max_epochs 0"
    assert lightning(*line.split(), f"--trainer.default_root_dir={tmp_path}").code == 0
    init_args = optimizer_of(tmp_path)["init_args"]
    assert (init_args["lr"], init_args["eps"], init_args["weight_decay"]) == (0.001, 0.5, 0)


def test_values_may_come_in_files_of_their_own(lightning: Command, tmp_path: Path) -> None:
    whole = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(whole["model"]))
    line = "fit --model model.yaml --data NoiseDataModule --trainer.fast_dev_run true"
    assert lightning(*line.split(), *QUIET).code == 0


def test_classes_of_the_folder_can_be_named(lightning: Command, tmp_path: Path) -> None:
    source = "from graves_pretend import NoiseDataModule\nclass Quiet(NoiseDataModule):\n    pass\n"
    (tmp_path / "my_own_data.py").write_text(source)
    line = "fit --config tiny.yaml --data my_own_data.Quiet --trainer.fast_dev_run true"
    assert lightning(*line.split()).code == 0


def test_print_config_and_help_answer_without_running(
    lightning: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    for words, expected in [
        (["fit", "--config", "tiny.yaml", "--print_config"], "class_path: graves_pretend.Pretender"),
        (["fit", "--help"], "usage: lightning fit [--config FILE]"),
        (["fit", "--model.help", "Pretender"], "--model.scale SCALE"),
    ]:
        with pytest.raises(SystemExit, match="0"):
            lightning(*words)
        assert expected in capfd.readouterr().out


@pytest.mark.parametrize(("given", "kept"), [("1", 1), ("1.0", 1.0), ("0.5", 0.5)])
def test_one_batch_is_not_all_batches(lightning: Command, tmp_path: Path, given: str, kept: float) -> None:
    line = f"fit --config tiny.yaml --trainer.limit_train_batches {given} --trainer.max_epochs 0"
    assert lightning(*line.split(), f"--trainer.default_root_dir={tmp_path}").code == 0
    limit = saved_config(tmp_path)["trainer"]["limit_train_batches"]
    assert (limit, type(limit)) == (kept, type(kept))
