"""One sequence after validation: what is read and said, and what happens in the memory meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graves_core.media import log_images
from graves_core.plots import check_plots
from graves_core.strips import Strip
from graves_memory.callbacks.access_chart import access_chart
from graves_memory.callbacks.accesses import accesses
from graves_memory.layers.network import MemoryNetwork
from graves_memory.module.answers import IGNORED


class MemoryAccessChart(Callback):
    """Draws one validation sequence: inputs, targets, answers, and when which row is written and read.

    Only rows that are touched are shown, in the order of their first writing; a reading is joined to the
    last writing of its row. So a network that has learned to copy shows two parallel diagonals. Training
    does not notice.

    Works in any LightningModule with the attribute `net`, a `MemoryNetwork`, which returns logits
    `(batch, time, size)`, alone or as the first of several, when it is called with a batch; batches are dicts
    as `MemoryRNN` takes them. Tokens and classes are named by the DataModule's `vocabulary`, if it has one.
    Needs `pip install "graves-memory[plots]"`.

    Args:
        every_n_epochs: draw after every so many epochs.
        batch: which validation batch has the sequence.
        sequence: which sequence of it.
        steps: how many steps to draw, from the first one on.
        rows: how many rows to draw at most.
        threshold: weights up to which an access is not shown.
        name: what the picture is called.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> from lightning.pytorch import LightningModule
        >>> from graves_memory.layers.ntm import NTM
        >>> class Mine(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = NTM(3, 2, rows=16, heads=1, batch_first=True)
        ...     def forward(self, batch):
        ...         return self.net(batch["inputs"])
        >>> batch = {"inputs": torch.rand(1, 9, 3), "targets": torch.ones(1, 9, 2)}
        >>> MemoryAccessChart().picture(Mine(), batch).shape[2]
        880
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        batch: int = 0,
        sequence: int = 0,
        steps: int = 80,
        rows: int = 64,
        threshold: float = 0.05,
        name: str = "memory",
    ) -> None:
        for argument, value in {"every_n_epochs": every_n_epochs, "steps": steps, "rows": rows}.items():
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, not {value}")
        for argument, value in {"batch": batch, "sequence": sequence}.items():
            if value < 0:
                raise ValueError(f"{argument} must be at least 0, not {value}")
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and less than 1, not {threshold}")
        self.every_n_epochs = every_n_epochs
        self.batch = batch
        self.sequence = sequence
        self.steps = steps
        self.rows = rows
        self.threshold = threshold
        self.name = name
        self._probe: dict[str, Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the module has no network with a memory.
            ImportError: when nothing can be drawn.
        """
        self._net(pl_module)
        check_plots(type(self).__name__, "graves-memory")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the sequence."""
        if batch_idx == self.batch and dataloader_idx == 0 and self._is_due(trainer):
            rows = {name: part[self.sequence : self.sequence + 1] for name, part in batch.items()}
            self._probe = {n: part if part.ndim == 1 else part[:, : self.steps] for n, part in rows.items()}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, on every rank alike, and keeps the picture on the first."""
        if self._probe is None or not self._is_due(trainer):
            return
        probe, self._probe = self._probe, None
        words = getattr(getattr(trainer, "datamodule", None), "vocabulary", None)
        log_images(trainer, self.name, self.picture(pl_module, probe, words)[None])

    @torch.no_grad()
    def picture(
        self, module: LightningModule, batch: Mapping[str, Tensor], words: Sequence[str] | None = None
    ) -> Tensor:
        """The picture of the first sequence of a batch, bytes `(3, height, width)`.

        Args:
            module: as above.
            batch: with targets.
            words: names of tokens and classes.

        Raises:
            TypeError: when the module has no network with a memory.
        """
        with self._net(module).recording() as record:
            said = module(batch)
        logits = (said if isinstance(said, Tensor) else said[0])[0].float().cpu()
        own = {name: part[0].cpu() for name, part in batch.items()}
        panels, wrong, due = answer_panels(own, logits, words)
        kind = "bits" if own["targets"].ndim == 2 else "answers"
        title = f"{wrong} of {due} {kind} wrong" if due else "nothing is due in these steps"
        found = accesses(record.steps, 0, self.threshold)
        panels = input_panels(own, words) | panels
        return access_chart(panels, found, title, self.threshold, self.rows)

    def _is_due(self, trainer: Trainer) -> bool:
        last = trainer.state.fn != "fit" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return last and not trainer.sanity_checking

    def _net(self, module: LightningModule) -> MemoryNetwork[Any]:
        net = getattr(module, "net", None)
        if not isinstance(net, MemoryNetwork):
            raise TypeError(
                f"{type(self).__name__}: {type(module).__name__} must have the attribute net, a MemoryNetwork"
            )
        return net


def input_panels(own: Mapping[str, Tensor], words: Sequence[str] | None) -> dict[str, Strip | Tensor]:
    """What one sequence reads, to be drawn.

    Args:
        own: the sequence, with `inputs`, `tokens` or `images`.
        words: names of tokens.
    """
    if "images" in own:
        return {"images": own["images"]}
    if "tokens" in own:
        tokens = own["tokens"].long()
        return {"inputs": _strip(tokens, _in_order(tokens), words)}
    low, high = own["inputs"].aminmax()
    scaled = (own["inputs"] - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    return {"inputs": Strip(scaled.T, [""] * scaled.shape[1])}


def answer_panels(
    own: Mapping[str, Tensor], logits: Float[Tensor, "time output"], words: Sequence[str] | None
) -> tuple[dict[str, Strip | Tensor], int, int]:
    """What one sequence should answer and what is answered, how many are wrong, and out of how many.

    Args:
        own: the sequence, with `targets`, and `mask` for bits.
        logits: of bits or classes.
        words: names of classes.
    """
    targets = own["targets"]
    if targets.ndim == 1:
        due = targets != IGNORED
        rows = _in_order(targets[due])
        wrong = int((logits.argmax(1) != targets)[due].sum())
        answers = Strip((logits.softmax(1)[:, rows] * due[:, None]).T, _names(rows, words))
        return {"targets": _strip(targets, rows, words), "answers": answers}, wrong, int(due.sum())
    due = own.get("mask", torch.ones_like(targets[:, 0], dtype=torch.bool))
    blank = [""] * targets.shape[1]
    strips = [Strip((bits * due[:, None]).T, blank) for bits in (targets.float(), logits.sigmoid())]
    wrong = int(((logits > 0) != (targets > 0.5))[due].sum())
    return {"targets": strips[0], "answers": strips[1]}, wrong, int(due.sum()) * targets.shape[1]


def _strip(numbers: Int[Tensor, " time"], rows: Int[Tensor, " rows"], words: Sequence[str] | None) -> Strip:
    return Strip((rows[:, None] == numbers).float(), _names(rows, words))


def _names(rows: Int[Tensor, " rows"], words: Sequence[str] | None) -> list[str]:
    return [str(row) if words is None else words[row] for row in rows.tolist()]


def _in_order(numbers: Int[Tensor, " time"]) -> Int[Tensor, " rows"]:
    """The different numbers, in the order in which they occur first."""
    return torch.tensor(list(dict.fromkeys(numbers.tolist())), dtype=torch.long)
