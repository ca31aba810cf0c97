"""Callbacks for a BFN: what it generates while it learns, and what its code length is for n messages."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MeanMetric, SumMetric

from graves_bfn.flows.base import GenerationStep
from graves_bfn.module.bfn import BFN
from graves_core.media import log_animation, log_images, log_text
from graves_core.pictures import image_grid


class BFNSamples(Callback):
    """Generates after validation, from the same noise each time, and keeps it as pictures or text.

    Image data give a sheet of samples, an animation of the beliefs over the messages, and a strip of a few
    samples at evenly spaced times; text data give the text and how it came about. Files go into the run's
    folder and to the logger. Predictions are kept in the same way.

    Args:
        num_samples: how many to draw.
        num_steps: messages per sample; the model's `sample_steps` by default.
        every_n_epochs: draw after every so many epochs.
        frames: how many moments the animation shows; 0 for none.
        seed: seed of the noise.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> BFNSamples(num_samples=9, num_steps=20).num_samples
        9
    """

    def __init__(
        self,
        num_samples: int = 36,
        num_steps: int | None = None,
        every_n_epochs: int = 1,
        frames: int = 24,
        seed: int = 0,
    ) -> None:
        positive = {"num_samples": num_samples, "num_steps": num_steps, "every_n_epochs": every_n_epochs}
        for name, value in positive.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if frames < 0:
            raise ValueError(f"frames must be at least 0, not {frames}")
        self.num_samples = num_samples
        self.num_steps = num_steps
        self.every_n_epochs = every_n_epochs
        self.frames = frames
        self.seed = seed
        self._latest: str | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, on every rank alike (weights may be sharded), and keeps the result on the first.

        Raises:
            TypeError: when the model is not a BFN.
        """
        if not isinstance(pl_module, BFN):
            raise TypeError(f"BFNSamples needs a BFN, not {type(pl_module).__name__}")
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        self._keep(trainer, pl_module, self._generate(pl_module))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where the last samples are and how good the model is."""
        bound = trainer.callback_metrics.get("val/nats_per_example")
        if self._latest is not None and bound is not None:
            rank_zero_info(f"{bound:.2f} nats per example; samples: {self._latest}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what was predicted."""
        name = f"predictions_{batch_idx:04d}"
        if isinstance(outputs, list):
            log_text(trainer, name, outputs)
        elif outputs.dtype == torch.uint8:
            log_images(trainer, name, outputs)

    def _generate(self, model: BFN) -> list[GenerationStep]:
        """The moments to show, the last of which is the finished sample."""
        num_steps = self.num_steps or model.sample_steps
        shown = {round(i * num_steps / max(1, self.frames - 1)) for i in range(self.frames)} | {num_steps}
        generator = torch.Generator(model.device).manual_seed(self.seed)
        steps = model.generate(self.num_samples, num_steps, generator=generator)
        return [step for i, step in enumerate(steps) if i in shown]

    def _keep(self, trainer: Trainer, model: BFN, steps: list[GenerationStep]) -> None:
        result = steps[-1].output.mode
        beliefs = [model.flow.expectation(step.params) for step in steps]
        pictures, texts = model.codec.images(result), model.codec.texts(result)
        path = None
        if pictures is not None:
            path = log_images(trainer, "samples", pictures)
            frames = [model.codec.images(x) for x in [*beliefs, result]]
            if self.frames:
                sheets = [image_grid(frame) for frame in frames if frame is not None]
                log_animation(trainer, "generation", torch.stack(sheets))
                log_images(trainer, "strip", *_strip(frames))
        elif texts is not None:
            path = log_text(trainer, "samples", texts)
            if self.frames:
                first = [(model.codec.texts(x[:1]) or [""])[0] for x in beliefs]
                moments = zip(steps, first, strict=True)
                log_text(trainer, "generation", [f"t={step.time:.2f}  {line}" for step, line in moments])
        self._latest = None if path is None else str(path)


def _strip(frames: list[Tensor | None], rows: int = 4, columns: int = 8) -> tuple[Tensor, int]:
    """A few samples, one per row, at evenly spaced moments; and the number of columns."""
    columns = min(columns, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(1, columns - 1))] for i in range(columns)]
    stacked = torch.stack([frame[:rows] for frame in chosen if frame is not None], 1)
    return stacked.flatten(0, 1), columns


class BFNLikelihood(Callback):
    """Code length in nats per example for a list of step counts, with standard errors, over the test set.

    Logs `test/nats_per_example_n=10` and so on, `n=inf` for infinitely many messages, each with the
    reconstruction loss included, and beside it `..._stderr` over examples. With several repeats (fresh
    times, noise and binarisation) the examples' means are scored, and `..._repeat_stderr` is the standard
    error over repeats, the figure that the paper gives. Ranks are weighted by how many examples they saw.

    Args:
        steps: numbers of messages, besides infinitely many.
        repeats: passes over each batch.

    Raises:
        ValueError: when a number is not positive.

    Example:
        >>> BFNLikelihood(steps=[10, 100]).steps
        [10, 100]
    """

    def __init__(self, steps: list[int] | None = None, repeats: int = 1) -> None:
        self.steps = [10, 25, 50, 100] if steps is None else steps
        if min(self.steps, default=1) < 1:
            raise ValueError(f"steps must all be at least 1, not {self.steps}")
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, not {repeats}")
        self.repeats = repeats
        self._scores: dict[str, _Score] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts counting.

        Raises:
            TypeError: when the model is not a BFN.
        """
        if not isinstance(pl_module, BFN):
            raise TypeError(f"BFNLikelihood needs a BFN, not {type(pl_module).__name__}")
        names = [*map(str, self.steps), "inf"]
        self._scores = {name: _Score(self.repeats, pl_module.device) for name in names}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Scores the batch with every number of messages."""
        assert isinstance(pl_module, BFN)
        flow, network = pl_module.flow, pl_module.network
        repeats: dict[str, list[Tensor]] = {name: [] for name in self._scores}
        for _ in range(self.repeats):
            x = pl_module.codec.encode(batch)
            reconstruction = flow.reconstruction_loss(network, x)
            for n in self.steps:
                repeats[str(n)].append(flow.discrete_time_loss(network, x, n) + reconstruction)
            repeats["inf"].append(flow.continuous_time_loss(network, x) + reconstruction)
        for name, values in repeats.items():
            self._scores[name].update(torch.stack(values))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the means and their standard errors."""
        for name, score in self._scores.items():
            for suffix, value in score.compute().items():
                pl_module.log(f"test/nats_per_example_n={name}{suffix}", value, rank_zero_only=False)


class _Score:
    """Mean and standard errors of values per repeat and example, reduced over ranks by example counts."""

    def __init__(self, repeats: int, device: torch.device) -> None:
        self.mean, self.square = MeanMetric().to(device), MeanMetric().to(device)
        self.count = SumMetric().to(device)
        self.per_repeat = [MeanMetric().to(device) for _ in range(repeats)]

    def update(self, values: Tensor) -> None:
        """Takes `(repeats, batch)`."""
        examples = values.mean(0)
        self.mean.update(examples)
        self.square.update(examples.square())
        self.count.update(len(examples))
        for metric, row in zip(self.per_repeat, values, strict=True):
            metric.update(row)

    def compute(self) -> dict[str, Tensor]:
        """The mean and, by suffix, its standard errors."""
        mean = self.mean.compute()
        variance = (self.square.compute() - mean.square()).clamp(min=0)
        result = {"": mean, "_stderr": (variance / self.count.compute()).sqrt()}
        if len(self.per_repeat) > 1:
            repeats = torch.stack([metric.compute() for metric in self.per_repeat])
            result["_repeat_stderr"] = repeats.std() / math.sqrt(len(repeats))
        return result
