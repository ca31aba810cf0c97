"""What a model generates while it learns."""

from math import sqrt
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from graves_bfn.callbacks.base import DrawingCallback
from graves_bfn.callbacks.columns import columns_of, table_lines
from graves_bfn.callbacks.examples import Examples
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.codecs.base import Codec
from graves_bfn.flows.arrays import Data, concatenated, rows
from graves_bfn.samplers.base import Sampler
from graves_core.media import log_animation, log_images, log_text
from graves_core.pictures import image_grid


class Generation(NamedTuple):
    """Samples and how they came about.

    Attributes:
        times: of the moments that are shown.
        beliefs: what was believed at those times.
        samples: the finished data.
    """

    times: list[float]
    beliefs: list[Data]
    samples: Data


class BFNSamples(DrawingCallback):
    """Generates after validation, from the same noise each time, and keeps it as pictures or text.

    Works in any LightningModule with the attributes `flow`, `network` and `codec`. Image data give a sheet of
    samples, an animation of the beliefs over the messages, and a strip of a few samples at evenly spaced
    times; text data give the text and how it came about; tables give their rows. Files go into the run's
    folder and to the logger. Predictions are kept in the same way.

    A network that is told a class draws all classes in turn, in columns of the sheet; one that is told
    vectors, or where data have padding, takes those of the first validation batch.

    Args:
        num_samples: how many to draw.
        num_steps: steps per sample; the model's `sample_steps` by default.
        every_n_epochs: draw after every so many epochs.
        frames: how many moments the animation shows; 0 for none.
        seed: seed of the noise.
        sampler: how to generate; the model's by default.
        batch_size: how many to draw at a time; all at once by default.
        codec: what turns batches into data of the flow, for models without a `codec`.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> from graves_bfn import SDESolver
        >>> BFNSamples(num_samples=9, num_steps=20, sampler=SDESolver()).num_samples
        9
    """

    def __init__(
        self,
        num_samples: int = 36,
        num_steps: int | None = None,
        every_n_epochs: int = 1,
        frames: int = 24,
        seed: int = 0,
        sampler: Sampler | None = None,
        batch_size: int | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(num_samples, num_steps, every_n_epochs, seed, sampler, batch_size, codec)
        if frames < 0:
            raise ValueError(f"frames must be at least 0, not {frames}")
        self.frames = frames
        self._seen: Examples | None = None
        self._latest: str | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the first batch."""
        if batch_idx == 0 and dataloader_idx == 0 and self.is_due(trainer):
            model = self.model(pl_module)
            self._seen = model.examples(batch, model.generator(self.seed))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, on every rank alike (weights may be sharded), and keeps the result on the first."""
        if self._seen is not None and self.is_due(trainer):
            model = self.model(pl_module)
            self._keep(trainer, model, self._generate(model, self._wanted(model, self._seen)))
            self._seen = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where the last samples are and how good the model is."""
        bound = trainer.callback_metrics.get("val/nats_per_example")
        if self._latest is not None:
            rank_zero_info(
                ("" if bound is None else f"{bound:.2f} nats per example; ") + f"samples: {self._latest}"
            )

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what was predicted, if it is text or pictures."""
        name = f"predictions_{batch_idx:04d}"
        if isinstance(outputs, list) and all(isinstance(line, str) for line in outputs):
            log_text(trainer, name, outputs)
        elif isinstance(outputs, Tensor) and outputs.dtype == torch.uint8 and outputs.ndim == 4:
            log_images(trainer, name, outputs)

    def _wanted(self, model: FlowModel, seen: Examples) -> Examples:
        """What the network is to be told of each sample."""
        wanted = seen.cycled(self.num_samples)
        if model.classes is None:
            return wanted
        classes = torch.arange(self.num_samples, device=model.module.device) % model.classes
        return wanted._replace(condition=classes)

    def _generate(self, model: FlowModel, wanted: Examples) -> Generation:
        generator = model.generator(self.seed)
        size = self.batch_size or self.num_samples
        parts = []
        for start in range(0, self.num_samples, size):
            part = wanted.cycled(min(size, self.num_samples - start), start)
            parts.append(self._generate_part(model, part, generator))
        beliefs = [
            concatenated(list(moment)) for moment in zip(*(part.beliefs for part in parts), strict=True)
        ]
        return Generation(parts[0].times, beliefs, concatenated([part.samples for part in parts]))

    def _generate_part(self, model: FlowModel, part: Examples, generator: torch.Generator) -> Generation:
        num_steps = self.num_steps or model.sample_steps
        shown = {round(i * num_steps / max(1, self.frames - 1)) for i in range(self.frames)}
        times, beliefs = [], []
        for i, step in enumerate(model.generate(part, num_steps, self.sampler, generator)):
            if i in shown:
                times.append(step.time)
                beliefs.append(part.padded(model.flow.expectation(step.params)))
        return Generation(times, beliefs, part.padded(step.output.mode))

    def _keep(self, trainer: Trainer, model: FlowModel, generation: Generation) -> None:
        codec, samples = model.codec, generation.samples
        pictures, texts = codec.images(samples), codec.texts(samples)
        if pictures is not None:
            columns = _columns(model.classes, self.num_samples)
            path = log_images(trainer, "samples", pictures, columns)
            frames = [codec.images(x) for x in generation.beliefs]
            self._keep_frames(trainer, [*(x for x in frames if x is not None), pictures], columns)
        elif texts is not None:
            path = log_text(trainer, "samples", texts)
            first = [(codec.texts(rows(x, slice(1))) or [""])[0] for x in generation.beliefs]
            moments = zip(generation.times, first, strict=True)
            if self.frames:
                log_text(trainer, "generation", [f"t={time:.2f}  {line}" for time, line in moments])
        else:
            path = log_text(trainer, "samples", table_lines(columns_of(trainer, codec.decode(samples))))
        self._latest = None if path is None else str(path)

    def _keep_frames(self, trainer: Trainer, frames: list[Tensor], columns: int | None) -> None:
        if self.frames:
            sheets = [image_grid(frame, columns) for frame in frames]
            log_animation(trainer, "generation", torch.stack(sheets))
            log_images(trainer, "strip", *_strip(frames))


def _columns(classes: int | None, count: int) -> int | None:
    """How many samples stand in a row, so that a column holds one class, as nearly square as can be."""
    if classes is None or classes > count:
        return None
    return classes * max(1, round(sqrt(count) / classes))


def _strip(frames: list[Tensor], down: int = 4, columns: int = 8) -> tuple[Tensor, int]:
    """A few samples, one per row, at evenly spaced moments; and the number of columns."""
    columns = min(columns, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(1, columns - 1))] for i in range(columns)]
    return torch.stack([frame[:down] for frame in chosen], 1).flatten(0, 1), columns
