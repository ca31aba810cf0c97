"""Recipes run by the real command line, on stand-ins of the data."""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from graves_core.testing.fake_data import write_fake_data

_trainers: list[pl.Trainer] = []


class Witness(pl.Callback):
    """Keeps the Trainer that the command line made, for `fit_recipe` to return."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the Trainer."""
        _trainers.append(trainer)


def fit_recipe(path: Path, overrides: Sequence[str], root: Path) -> pl.Trainer:
    """Runs `lightning fit --config path` in this process: one batch of each kind on the CPU, on fake data.

    Args:
        path: the recipe.
        overrides: further options, such as `["--data.batch_size=4"]`; they beat everything else.
        root: an empty folder, for the fake data sets and for what the run writes.

    Returns:
        The Trainer after `fit`, with the recipe's module in `lightning_module` and its data in `datamodule`.

    Raises:
        AssertionError: with the message of the command line, when it refuses the recipe; or when the
            optimizer made no step.
    """
    from graves_core.cli import main

    words = ["fit", f"--config={path}", "--trainer.fast_dev_run=1", f"--trainer.default_root_dir={root}"]
    words += ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto"]
    words += [f"--trainer.callbacks+={Witness.__module__}.{Witness.__name__}", *overrides]
    errors = io.StringIO()
    _trainers.clear()
    with _environment("GRAVES_DATA", str(write_fake_data(root / "data"))), contextlib.redirect_stderr(errors):
        code = main(words)
    assert code == 0, f"{path.name} does not fit: {errors.getvalue().strip()}"
    assert _trainers, f"{path.name} hides its Trainer: an override has replaced all callbacks"
    trainer = _trainers.pop()
    assert trainer.global_step > 0, f"{path.name} did not train: its optimizer made no step"
    return trainer


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[Any]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
