"""Kill-and-resume equality: an interrupted run ends where the uninterrupted one does, bit for bit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from graves_core.resume import ExactResume
from graves_core.testing.quiet import QUIET

COMPARED = ("state_dict", "raw_state_dict", "optimizer_states", "lr_schedulers", "callbacks")

Moment = Literal["batch", "validation", "epoch"]


class _PowerCutError(Exception):
    """Ends a run like a power cut: nothing is saved afterwards."""


class _SaveAt(Checkpoint):
    """Saves a checkpoint after given steps, as the last of all callbacks, and may end the run there."""

    def __init__(self, folder: Path, steps: Sequence[int], moment: Moment, kill: bool) -> None:
        self.folder = folder
        self.steps = steps
        self.moment = moment
        self.kill = kill
        self.last = -1

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._at("batch", trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._at("validation", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._at("epoch", trainer)

    def _at(self, moment: Moment, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if moment == self.moment and step in self.steps and step != self.last:
            self.last = step
            trainer.save_checkpoint(self.folder / f"{step}.ckpt")
            if self.kill:
                raise _PowerCutError


def assert_exact_resume(
    make_module: Callable[[], pl.LightningModule],
    make_data: Callable[[], Any],
    kill_at_steps: Sequence[int],
    max_steps: int,
    root: Path,
    make_callbacks: Callable[[], list[pl.Callback]] = lambda: [ExactResume()],
    trainer_args: Mapping[str, Any] | None = None,
    moment: Moment = "batch",
) -> None:
    """Asserts that a run that is killed and resumed equals one that is not.

    One run goes through. Another is killed after each of the given steps in turn, right after a checkpoint,
    and resumed from that checkpoint by new objects under another seed. After every step of a kill, and at the
    end, both have the same weights, raw weights, optimizer and scheduler states and callback states.

    Args:
        make_module: makes the module, with fresh weights.
        make_data: makes a `LightningDataModule` or a training loader. Call this helper once with
            `num_workers=0` and once with more: workers read ahead.
        kill_at_steps: optimizer steps, rising, some of them in the middle of an epoch.
        max_steps: optimizer steps of the whole run.
        root: an empty folder for the checkpoints.
        make_callbacks: makes the callbacks of a run.
        trainer_args: further arguments of the Trainer, such as `accumulate_grad_batches`, or `devices=2` and
            `strategy="ddp_fork"`.
        moment: whether checkpoints are saved, and the run killed, at the end of a batch, of a validation or
            of an epoch. After each of the steps there must be such a moment.

    Raises:
        AssertionError: naming the first difference, and between which steps it came about.
        ValueError: when `kill_at_steps` do not rise from 1 to less than `max_steps`.
    """
    stops = [*kill_at_steps, max_steps]
    if stops[0] < 1 or any(later <= earlier for earlier, later in pairwise(stops)):
        raise ValueError(f"kill_at_steps must rise from 1 to less than {max_steps}, got {kill_at_steps}")

    def run(folder: Path, steps: Sequence[int], seed: int, start: Path | None) -> None:
        kill = list(steps) != stops and steps[0] != max_steps
        pl.seed_everything(seed, verbose=False)
        arguments = QUIET | {"max_steps": max_steps} | dict(trainer_args or {})
        saver = _SaveAt(folder, steps, moment, kill)
        trainer = pl.Trainer(**arguments, callbacks=[*make_callbacks(), saver])
        try:
            trainer.fit(make_module(), make_data(), ckpt_path=start)
        except Exception as error:
            if not kill or _PowerCutError.__name__ not in repr(error):
                raise

    run(root / "whole", stops, 0, None)
    start = None
    for number, step in enumerate(stops):
        run(root / "killed", [step], number, start)
        saved = root / "killed" / f"{step}.ckpt"
        assert saved.exists(), f"the run never reached the end of a {moment} at step {step}"
        expected, got = _load(root / "whole" / saved.name), _load(saved)
        difference = next(_differences("checkpoint", expected, got), None)
        since = "from the start" if start is None else f"resumed after step {start.stem}"
        assert difference is None, f"at step {step}, {since}: {difference}"
        start = saved


def _load(path: Path) -> dict[str, Any]:
    checkpoint = torch.load(path, weights_only=True)
    return {name: checkpoint[name] for name in COMPARED if name in checkpoint}


def _differences(place: str, expected: Any, got: Any) -> Iterator[str]:
    if isinstance(expected, Tensor) and isinstance(got, Tensor) and expected.shape == got.shape:
        if not torch.equal(expected, got):
            yield f"{place} differs by up to {(expected.double() - got.double()).abs().max():.3g}"
    elif isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        for key in expected:
            yield from _differences(f"{place}[{key!r}]", expected[key], got[key])
    elif (
        isinstance(expected, (list, tuple)) and isinstance(got, type(expected)) and len(expected) == len(got)
    ):
        for index, pair in enumerate(zip(expected, got, strict=True)):
            yield from _differences(f"{place}[{index}]", *pair)
    elif isinstance(expected, Tensor) or isinstance(got, Tensor) or expected != got:
        yield f"{place} is {_short(got)}, not {_short(expected)}"


def _short(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:80]
