"""The LightningModule: a learner and a readout, trained step by step or sequence by sequence."""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from graves_core.spec import Spec
from graves_core.streams import gathered_states, own_state
from graves_rnn_training.layers.encoders import SymbolEncoder
from graves_rnn_training.layers.learners.base import Learner, OnlineState
from graves_rnn_training.layers.readouts import Readout
from graves_rnn_training.module.batches import Sequences, sequences
from graves_rnn_training.module.reading import ReadsSequences
from graves_rnn_training.module.streams import plain_state, resumed_state
from graves_rnn_training.module.windows import Window, windows

STREAMS = "online_rnn"
"""Where checkpoints keep what this module adds to them."""


class OnlineRNN(Spec, ReadsSequences):
    """A recurrent network that learns while it reads. Source: Menick et al. 2020.

    Batches are dicts of

    - `inputs`, symbols `(batch, time)` or features `(batch, time, size)`;
    - `targets`, classes `(batch, time)`, with -100 where nothing is to be said;
    - `reset`, booleans `(batch,)`: which sequences start anew. The others go on where the batch before ended,
      with state and traces, and these are kept in checkpoints, for every rank its own. Without `reset` every
      sequence of every batch starts anew.

    The gradient of an update is that of the mean of -log p(target) over the targets of its steps, in all
    sequences on all ranks, so that `N` devices with `batch_size / N` do what one does with `batch_size`.
    Learners that carry an influence go backward at every step that has a target; others go backward once per
    update, and their graph reaches back to the update before. Steps without targets cost no backward pass,
    windows without targets make no update, and no update spans two batches.

    What counts updates: the `lr_scheduler`, `trainer.global_step` and with it `max_steps` and
    `every_n_train_steps` of checkpoints. All of these act at the end of a batch, so that a run with
    `max_steps` may end some updates later. `limit_train_batches`, `log_every_n_steps` and
    `val_check_interval` count batches.

    Logs `train/loss` in nats and `train/bits_per_char`, means over the targets of a batch, and what was done
    so far: `train/tokens`, the symbols read on all ranks, and `train/updates`. Validation and test log `loss`
    and `bits_per_char` and leave the streams of training alone. `predict` gives the most probable classes.

    Args:
        learner: the cell and how its gradient is computed: `SnAp`, `RTRL`, `UORO`, `BPTT` or your own.
        readout: logits of classes from the output of the cell.
        encoder: inputs of the cell from symbols; without one, inputs are features already.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
        update_every: update after every step that has targets, at the end of the batch's sequences, or after
            so many steps.
        gradient_clip_val: largest norm of the gradient of an update; not clipped by default.
        frozen: leave the recurrent network as it was made and train the rest: a baseline.

    Raises:
        ValueError: when the parts do not fit, or a number is out of range.

    Example:
        >>> from graves_rnn_training import GRUCell, LinearReadout, OneHotEncoder, SnAp
        >>> cell = GRUCell(input_size=4, hidden_size=16, sparsity=0.75)
        >>> model = OnlineRNN(SnAp(cell), LinearReadout(16, 2), OneHotEncoder(4))
        >>> model.predict_step({"inputs": torch.tensor([[0, 1, 2, 3, 3]])}, 0).shape
        torch.Size([1, 5])
    """

    def __init__(
        self,
        learner: Learner,
        readout: Readout,
        encoder: SymbolEncoder | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        update_every: Literal["step", "sequence"] | int = "step",
        gradient_clip_val: float | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__(learner, readout, encoder)
        self.automatic_optimization = False
        if update_every not in ("step", "sequence") and not (
            isinstance(update_every, int) and update_every > 0
        ):
            raise ValueError(f'update_every must be "step", "sequence" or at least 1, not {update_every!r}')
        if gradient_clip_val is not None and gradient_clip_val <= 0:
            raise ValueError(f"gradient_clip_val must be positive or None, not {gradient_clip_val}")
        if frozen:
            learner.requires_grad_(False)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.update_every = update_every
        self.gradient_clip_val = gradient_clip_val
        self.frozen = frozen
        self._tokens = 0
        self._state: OnlineState | None = None
        self._saved: dict[str, Any] | None = None
        self._resumed: Any = None

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when the data have other symbols or classes than the network.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        levels, known = getattr(spec, "levels", None), getattr(self.encoder, "num_symbols", None)
        if levels is not None and known is not None and levels != known:
            raise ValueError(f"encoder has num_symbols={known}, but the data have {levels} symbols")
        classes, said = getattr(spec, "classes", None) or levels, self.readout.num_classes
        if classes is not None and classes != said:
            raise ValueError(f"readout has num_classes={said}, but the data have {classes} classes")

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Reads the batch, learns from it, and keeps the state if its sequences go on."""
        data = self._as_long_as_on_every_rank(sequences(batch))
        counts = self._counts(data)
        state = self._begin(data)
        losses: list[Tensor] = []
        learn = self._learn_forward if self.learner.forward_accumulation else self._learn_backward
        for window in windows(counts, self._window_length(len(counts))):
            state, found = learn(data, counts, window, state)
            losses += found
            if window.targets:
                self._update()
        self._state = None if data.reset is None else self.learner.detach(state)
        self._report(data, losses, sum(counts))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips the gradient of an update, here because mixed precision has unscaled it by now."""
        if self.gradient_clip_val is not None:
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over what is learned, and its scheduler if there is one.

        Raises:
            TypeError: when the scheduler waits for a metric, which updates do not have.
        """
        optimizer = self.optimizer([weight for weight in self.parameters() if weight.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise TypeError(
                "lr_scheduler must be stepped by updates alone, not by a metric: ReduceLROnPlateau"
            )
        return [optimizer], [scheduler]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the streams of all ranks, and the symbols read."""
        if self._saved is not None:  # loaded, and no training since
            checkpoint[STREAMS] = self._saved
            return
        state = plain_state(self._state) if self._resumed is None else self._resumed
        checkpoint[STREAMS] = {"tokens": self._tokens, "states": gathered_states(state)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the streams for a run that goes on from the checkpoint."""
        self._saved = checkpoint.get(STREAMS)

    def on_train_start(self) -> None:
        """Begins with new streams, or goes on with those of the checkpoint that is resumed.

        Raises:
            ValueError: when that was written by another number of devices.
        """
        self._tokens, self._state, self._resumed = 0, None, None
        if self._saved is not None and self.trainer.ckpt_path is not None:
            self._tokens = self._saved["tokens"]
            self._resumed = own_state(self._saved["states"], self.device)
        self._saved = None

    def _begin(self, data: Sequences) -> OnlineState:
        """The state before the first step of a training batch."""
        state, self._state = self._state, None
        if self._resumed is not None and data.reset is not None:
            state = resumed_state(self._resumed, self.learner.initial_state(data.size))
        self._resumed = None
        return self._continued(state, data)

    def _learn_forward(
        self, data: Sequences, counts: list[int], window: Window, state: OnlineState
    ) -> tuple[OnlineState, list[Tensor]]:
        """Goes backward at every step with targets: the learner's influence stands for the past."""
        scale = self.trainer.world_size / max(window.targets, 1)
        losses = []
        for step in window.steps:
            output, state = self.learner(self._encoded(data.inputs[step]), state)
            if counts[step]:
                loss = self._loss(self.readout(output), data, step)
                with self._local(step != window.last):
                    self.manual_backward(loss * scale)
                losses.append(loss.detach())
        return state, losses

    def _learn_backward(
        self, data: Sequences, counts: list[int], window: Window, state: OnlineState
    ) -> tuple[OnlineState, list[Tensor]]:
        """Goes backward through time at the end of the window."""
        losses = []
        for step in window.steps:
            output, state = self.learner(self._encoded(data.inputs[step]), state)
            if counts[step]:
                losses.append(self._loss(self.readout(output), data, step))
        if not losses:
            return state, losses
        self.manual_backward(torch.stack(losses).sum() * (self.trainer.world_size / window.targets))
        return self.learner.detach(state), [loss.detach() for loss in losses]

    def _update(self) -> None:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert not isinstance(optimizer, list)
        assert not isinstance(scheduler, list)
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()

    def _local(self, local: bool) -> AbstractContextManager[None]:
        """Keeps the gradients of a backward pass on their rank until a later one completes them."""
        strategy = self.trainer.strategy
        if local and isinstance(strategy, ParallelStrategy):
            return strategy.block_backward_sync()
        return nullcontext()

    def _window_length(self, steps: int) -> int:
        if isinstance(self.update_every, int):
            return self.update_every
        return 1 if self.update_every == "step" else max(steps, 1)

    def _as_long_as_on_every_rank(self, data: Sequences) -> Sequences:
        """Adds steps without targets, because every rank must take part in every update."""
        if self.trainer.world_size == 1:
            return data
        length = torch.tensor(len(data.inputs), device=self.device)
        return data.padded(int(self.trainer.strategy.reduce(length, reduce_op="max")))

    def _counts(self, data: Sequences) -> list[int]:
        """How many targets each step has on all ranks, read from the device once per batch."""
        counts = data.counts()
        if self.trainer.world_size > 1:
            counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        return counts.tolist()

    def _report(self, data: Sequences, losses: list[Tensor], targets: int) -> None:
        world = self.trainer.world_size
        self._tokens += world * data.inputs.shape[:2].numel()
        progress = {"train/tokens": float(self._tokens), "train/updates": float(self.trainer.global_step)}
        self.log_dict(progress, batch_size=data.size)
        if losses:
            loss = torch.stack(losses).sum() * (world / targets)
            names = {"train/loss": loss, "train/bits_per_char": loss / math.log(2)}
            self.log_dict(names, prog_bar=True, sync_dist=world > 1, batch_size=data.size)
