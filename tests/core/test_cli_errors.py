"""Every mistake in what was typed: at most three lines, the nearest match, exit code 2."""

import zipfile
from pathlib import Path

import pytest
import torch
from pretend_plugin import Command

CONFIG = "fit --config tiny.yaml"
MISTAKES = [
    (f"{CONFIG} --model.skale 3", "model: Pretender has no parameter 'skale'; did you mean 'scale'?"),
    (f"{CONFIG} --model.net.widht 3", "model.net: Net has no parameter 'widht'; did you mean 'width'?"),
    (f"{CONFIG} --model.net.init_args.widht 3", "did you mean 'width'?"),
    (f"{CONFIG} --model.net.activation rulu", "'rulu' is not one of relu, tanh; did you mean 'relu'?"),
    (f"{CONFIG} --model.net.width wide", "model.net.width: expected an integer, got 'wide'"),
    (f"{CONFIG} --trainer.max_epoch 3", "did you mean 'max_epochs'?"),
    (f"{CONFIG} --trainer.max_epochs many", "trainer.max_epochs: expected an integer, got 'many'"),
    (f"{CONFIG} --max_epochs 3", "did you mean 'trainer.max_epochs'?"),
    (f"{CONFIG} --modle Pretender", "no option 'modle'; did you mean 'model'?"),
    (f"{CONFIG} --model Pretendor", "no LightningModule is called 'Pretendor'; did you mean 'Pretender'?"),
    (f"{CONFIG} --data NoisyDataModule", "did you mean 'NoiseDataModule'?"),
    (f"{CONFIG} --data Noise", "did you mean 'NoiseDataModule'?"),
    (f"{CONFIG} --data Quark", "known: CIFAR10DataModule, "),
    (f"{CONFIG} --model graves_pretend.Pretendor", "graves_pretend has no class 'Pretendor'; did you mean"),
    (f"{CONFIG} --model graves_pretend.Net", "graves_pretend.Net is not a LightningModule"),
    (f"{CONFIG} --model graves_memory.SAM", "the plugin is not installed; pip install graves-memory"),
    (f"{CONFIG} --model nowhere.SAM", "no module 'nowhere'"),
    (f"{CONFIG} --trainer.callbacks ExactResum", "did you mean 'ExactResume'?"),
    (f"{CONFIG} --trainer.callbacks EMA --trainer.callbacks.decai 0.9", "did you mean 'decay'?"),
    (f"{CONFIG} --trainer.strategy ddpp", "'ddpp' is unknown; did you mean 'ddp'?"),
    (f"{CONFIG} --trainer.accelerator cpux", "trainer.accelerator: 'cpux' is not one of"),
    (f"{CONFIG} --trainer.precision bf17", "did you mean 'bf16'?"),
    (f"{CONFIG} --trainer.devices two", "devices"),
    (f"{CONFIG} --model.optimizer Adan", "no Optimizer is called 'Adan'; did you mean 'Adam'?"),
    (f"{CONFIG} --model.optimizer.lrr 3", "Adam has no parameter 'lrr'; did you mean 'lr'?"),
    (f"{CONFIG} --model.optimizer.lr=-3", "Adam: Invalid learning rate: -3"),
    (f"{CONFIG} --model.net.width 0", "Net: width must be at least 1, got 0"),
    (f"{CONFIG} --model.net NeedsExtra", 'pip install "graves-pretend[scipy]"'),
    (f"{CONFIG} --data.file lost.bin", "NoiseDataModule: no file lost.bin"),
    (f"{CONFIG} --seed_everything x", "seed_everything: expected"),
    (f"{CONFIG} stray", "nrecognized arguments: stray"),
    (f"{CONFIG} --optimizer SGDD", "did you mean 'SGD'?"),
    ("fit --config tiny.yaml --ckpt_path best", "ckpt_path"),
    ("fit --model Pretender", "model: Pretender needs a value for 'net'"),
    ("fit", "no model is given: --model NAME or --config FILE"),
    ("test --data NoiseDataModule", "no model is given: --model NAME or --ckpt_path FILE"),
    ("validate --config tiny.yaml", "No `validation_step()`"),
    ("fit --model.help Pretendor", "did you mean 'Pretender'?"),
    ("fit --config tiny.yml", "no file 'tiny.yml'; did you mean 'tiny.yaml'?"),
    ("fit --config nowhere/tiny.yaml", "there is no folder 'nowhere'"),
    ("fit --config broken.yaml", "broken.yaml:2: not valid YAML"),
    ("fit --config list.yaml", "this one holds a list"),
    ("fit --config section.yaml", "the config has a section 'fit'"),
    ("fit --model lost.yaml", "no file 'lost.yaml'"),
    ("test --config tiny.yaml --ckpt_path lost.ckpt", "ckpt_path: no file 'lost.ckpt'"),
    ("test --config tiny.yaml --ckpt_path list.yaml", "list.yaml is not a checkpoint"),
    ("test --config tiny.yaml --ckpt_path some.zip", "some.zip is not a checkpoint"),
    ("test --config tiny.yaml --ckpt_path tensors.pt", "is not a checkpoint of Lightning"),
    ("test --config tiny.yaml --ckpt_path unsafe.ckpt", "holds pathlib."),
    ("fitt --config tiny.yaml", "unknown word 'fitt'; did you mean 'fit'?"),
    ("--config tiny.yaml fit", "write: lightning fit --config tiny.yaml"),
    ("--frobnicate", "unknown option '--frobnicate'"),
    ("recipe pretend/tinny", "no recipe 'pretend/tinny'; did you mean 'pretend/tiny'?"),
    ("recipe one two", "recipe takes one name"),
    ("plugins core", "plugins takes no further words"),
    ("schema x", "schema takes no further words"),
    ("doctor x", "doctor takes no further words"),
]


@pytest.fixture
def wrong_files(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("model: [1\ndata: 2\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "section.yaml").write_text("fit:\n  model: Pretender\n")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as file:
        file.writestr("a", "b")
    torch.save({"weight": torch.ones(1)}, tmp_path / "tensors.pt")
    torch.save({"state_dict": {}, "hyper_parameters": {"path": Path("x")}}, tmp_path / "unsafe.ckpt")


@pytest.mark.usefixtures("wrong_files")
@pytest.mark.parametrize(("line", "expected"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_told_in_three_lines(lightning: Command, line: str, expected: str) -> None:
    assert expected in lightning(*line.split()).complaint


def test_a_wrong_key_in_a_config_file_is_told_like_one_in_a_flag(lightning: Command, tmp_path: Path) -> None:
    wrong = (tmp_path / "tiny.yaml").read_text().replace("width", "widht")
    (tmp_path / "wrong.yaml").write_text(wrong)
    assert "did you mean 'width'?" in lightning("fit", "--config", "wrong.yaml").complaint


def test_a_bug_in_a_constructor_keeps_its_stack_trace(lightning: Command) -> None:
    with pytest.raises(Exception, match="unsupported operand"):
        lightning("fit", "--config", "tiny.yaml", "--model.net", "Buggy")


def test_the_optimizer_option_is_refused_for_a_model_with_parameter_groups(lightning: Command) -> None:
    line = "fit --config tiny.yaml --model Grouped --optimizer SGD --optimizer.lr 0.1"
    assert "use --model.optimizer" in lightning(*line.split()).complaint


def test_the_optimizer_option_works_for_a_model_without_parameter_groups(lightning: Command) -> None:
    line = "fit --config tiny.yaml --optimizer SGD --optimizer.lr 0.1 --trainer.fast_dev_run true"
    assert lightning(*line.split()).code == 0
