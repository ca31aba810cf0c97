"""What a model makes of examples of which it is told a part."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from graves_bfn.callbacks.base import DrawingCallback
from graves_bfn.callbacks.examples import Examples
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.codecs.base import Codec
from graves_bfn.flows.arrays import Data
from graves_bfn.guidance.masks import KnownMask, RandomKnown
from graves_bfn.module.draws import DrawsSamples
from graves_bfn.samplers.base import Sampler
from graves_core.media import log_images, log_text
from graves_core.sheets import labelled_sheet

HIDDEN = 96
"""Grey value of pixels that are not known."""

Method = Literal["clamp", "replace", "particles"]


class BFNCompletions(DrawingCallback):
    """Hides a part of validation examples and shows them, what was left, and what the model made of that.

    For pictures and texts; works in any LightningModule with the attributes `flow`, `network` and `codec`
    and the methods of `DrawsSamples`, as `BFN` has them. The first validation batch lends the examples.

    Args:
        num_samples: how many examples.
        methods: how to complete them, see `DrawsSamples.inpaint`; "clamp" for models that were trained with
            `known`, else "replace" and "particles".
        mask: which variables are known; by default as the model was trained, else `RandomKnown`.
        num_steps: steps per sample; the model's `sample_steps` by default.
        every_n_epochs: draw after every so many epochs.
        seed: seed of the mask and of the noise.
        sampler: how to generate; the model's by default.
        codec: what turns batches into data of the flow, for models without a `codec`.

    Raises:
        ValueError: when a number is out of range, or a method is unknown.

    Example:
        >>> from graves_bfn import BoxUnknown
        >>> BFNCompletions(methods=["clamp"], mask=BoxUnknown(probability=1.0)).num_samples
        12
    """

    def __init__(
        self,
        num_samples: int = 12,
        methods: list[Method] | None = None,
        mask: KnownMask | None = None,
        num_steps: int | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(num_samples, num_steps, every_n_epochs, seed, sampler, None, codec)
        wrong = [method for method in methods or [] if method not in ("clamp", "replace", "particles")]
        if wrong:
            raise ValueError(f"methods must be 'clamp', 'replace' or 'particles', not {wrong}")
        self.methods = methods
        self.mask = mask
        self._seen: Examples | None = None

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the model lacks something.
        """
        super().check(trainer, pl_module)
        if not isinstance(pl_module, DrawsSamples):
            name = type(pl_module).__name__
            raise TypeError(f"BFNCompletions: {name} must have the methods of DrawsSamples")

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
            seen = model.examples(batch, model.generator(self.seed))
            self._seen = seen.cycled(min(self.num_samples, seen.number))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Completes, on every rank alike (weights may be sharded), and keeps the result on the first."""
        if self._seen is None or not self.is_due(trainer):
            return
        assert isinstance(pl_module, DrawsSamples)
        seen, model = self._seen, self.model(pl_module)
        self._seen = None
        generator = model.generator(self.seed)
        known = self._mask(pl_module)(seen.x, generator)
        completed = {
            method: pl_module.inpaint(
                seen.x,
                known,
                self.num_steps,
                method=method,
                condition=seen.condition,
                valid=seen.valid,
                sampler=self.sampler,
                generator=generator,
            )
            for method in self._methods(pl_module)
        }
        self._keep(trainer, model, seen, known, completed)

    def _mask(self, pl_module: Any) -> KnownMask:
        trained: KnownMask | None = getattr(pl_module, "known", None)
        return self.mask or trained or RandomKnown(probability=1.0)

    def _methods(self, pl_module: Any) -> list[Method]:
        trained = getattr(pl_module, "known", None) is not None
        return self.methods or (["clamp"] if trained else ["replace", "particles"])

    def _keep(
        self,
        trainer: Trainer,
        model: FlowModel,
        seen: Examples,
        known: Data,
        completed: Mapping[Method, Data],
    ) -> None:
        pictures, texts = model.codec.images(seen.x), model.codec.texts(seen.x)
        if pictures is not None and isinstance(known, Tensor):
            places = known.permute(0, 3, 1, 2).expand_as(pictures)
            told = torch.where(places, pictures, HIDDEN)
            rows = [pictures, told, *(model.codec.images(x) for x in completed.values())]
            cells = [list(row.cpu()) for row in rows if row is not None]
            names = ["data", "known", *completed]
            log_images(trainer, "completions", labelled_sheet(cells, names, [""] * seen.number)[None])
        elif texts is not None and isinstance(known, Tensor):
            hidden = [_hidden(text, row) for text, row in zip(texts, known.tolist(), strict=True)]
            made = [model.codec.texts(x) or [] for x in completed.values()]
            names = ["data", "known", *completed]
            rows_of_text = zip(texts, hidden, *made, strict=True)
            lines = [
                f"{name:<9} {text}" for row in rows_of_text for name, text in zip(names, row, strict=True)
            ]
            log_text(trainer, "completions", lines)


def _hidden(text: str, known: list[bool]) -> str:
    """The text with a dot for every character that is not known."""
    return "".join(letter if told else "." for letter, told in zip(text, known, strict=False))
