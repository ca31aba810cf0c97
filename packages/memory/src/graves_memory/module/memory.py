"""The LightningModule of networks with a memory: sequences of bits or classes, whole or in chunks."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_core.spec import Spec
from graves_memory.layers.encoders import StepEncoder
from graves_memory.layers.network import MemoryNetwork
from graves_memory.module.answers import Kind, Scores, checked_batch, said, score
from graves_memory.module.carried import CarriesState
from graves_memory.module.tallies import Tally


class MemoryRNN(Spec, CarriesState):
    """A network with a memory that learns to answer sequences.

    Batches are dicts, with the batch first:

    - `inputs`, `(batch, time, size)`, or what the encoder reads;
    - `targets`: bits `(batch, time, size)` as floats, due where `mask` `(batch, time)` says so; or classes
      `(batch, time)`, with -100 where nothing is due;
    - perhaps `reset`, booleans `(batch,)`: which sequences are new. The others go on where the batch before
      ended, with their memory; gradients reach back to the beginning of the batch. Such states are kept in
      checkpoints, for every rank its own. Without `reset` every sequence of every batch is new;
    - perhaps whole numbers by which evaluations are told apart: `level` and `task`, `(batch,)`; and `sight`,
      `(batch, time)`, how often a character was shown before.

    What is minimised is the mean of -log p(answer) over all answers of a batch on all ranks, so that `N`
    devices with `batch_size / N` do what one does with `batch_size`. A batch without any answer makes no
    update.

    Logs `train/loss` in nats per answer and `train/accuracy`, the share of right answers; for bits also
    `train/bits_per_sequence` and `train/wrong_bits`, the mean over sequences of the loss in bits and of the
    wrong bits, where batches hold whole sequences. Validation and test log the same, and those of groups as
    `val/wrong_bits_level_20`, `val/accuracy_sight_2`, `val/error_task_7`, for tasks also `mean_task_error`
    and `failed_tasks`. They leave the sequences of training alone. `predict` gives the most probable answers.

    Args:
        net: the network: `SAM`, `SDNC`, `DNC`, `NTM`, `DAM`, `LSTMNetwork` or your own.
        encoder: inputs of the network from the batch; without one, they are `inputs`.
        answers: whether the outputs are logits of `"bits"` or of `"classes"`.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.

    Raises:
        ValueError: when the parts do not fit.

    Example:
        >>> from graves_memory.layers.ntm import NTM
        >>> model = MemoryRNN(NTM(input_size=6, output_size=4, rows=16, heads=1))
        >>> model.predict_step({"inputs": torch.zeros(2, 9, 6)}, 0).shape
        torch.Size([2, 9, 4])
    """

    def __init__(
        self,
        net: MemoryNetwork,  # type: ignore[type-arg]  # the command line takes classes without parameters
        encoder: StepEncoder | None = None,
        answers: Kind = "bits",
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__(net)
        if answers not in ("bits", "classes"):
            raise ValueError(f"answers must be 'bits' or 'classes', not {answers!r}")
        if encoder is not None and encoder.size != net.input_size:
            raise ValueError(
                f"encoder has size={encoder.size}, but the network's input_size is {net.input_size}"
            )
        self.encoder = encoder
        self.answers: Kind = answers
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self._eval_state: Any = None
        self._tally = Tally()

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when the network is of another size, or has too few classes or tokens for the data.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        inputs = None if self.encoder is not None else self.net.input_size
        for name, size in {"input_size": inputs, "output_size": self.net.output_size}.items():
            told = getattr(spec, name, None)
            if None not in (told, size) and told != size:
                raise ValueError(f"the data have {name}={told}, but the network {size}")
        classes = self.net.output_size if self.answers == "classes" else None
        for name, size in {"classes": classes, "levels": getattr(self.encoder, "num_tokens", None)}.items():
            told = getattr(spec, name, None)
            if told is not None and size is not None and told > size:
                kind = "output_size" if name == "classes" else "num_tokens of the encoder"
                raise ValueError(f"{kind} must be at least {told}, the {name} of the data, not {size}")

    def forward(self, batch: Mapping[str, Tensor], state: Any = None) -> tuple[Tensor, Any]:
        """Logits `(batch, time, output)`, and the final state.

        Args:
            batch: as above; targets are not needed.
            state: where to go on from; None for new sequences.
        """
        inputs = batch["inputs"] if self.encoder is None else self.encoder(batch)
        if self.net.batch_first:
            outputs, state = self.net(inputs, state)
            return outputs, state
        outputs, state = self.net(inputs.transpose(0, 1), state)
        return outputs.transpose(0, 1), state

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """The loss of a batch; None if no answer was due on any rank."""
        batch = checked_batch(batch, {"targets"})
        size, reset = len(batch["targets"]), batch.get("reset")
        outputs, state = self(batch, self.begin(size, reset))
        scores = score(outputs, batch, self.answers)
        totals = self._over_ranks(scores, size)
        self._state = None if reset is None else state
        if reset is not None and not totals[2]:
            self.let_go()
            return None
        self._report(totals, whole=reset is None)
        return scores.nats.sum() * (self.trainer.world_size / totals[2].clamp(min=1))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Adds the scores of a batch."""
        self._evaluate(batch)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Adds the scores of a batch."""
        self._evaluate(batch)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """The most probable answers: booleans `(batch, time, bits)`, or classes `(batch, time)`."""
        return said(self._read(checked_batch(batch, set())), self.answers)

    def on_validation_epoch_start(self) -> None:
        """Begins to count, with new sequences."""
        self._restart_evaluation()

    def on_test_epoch_start(self) -> None:
        """Begins to count, with new sequences."""
        self._restart_evaluation()

    def on_predict_epoch_start(self) -> None:
        """Begins with new sequences."""
        self._restart_evaluation()

    def on_validation_epoch_end(self) -> None:
        """Logs what was counted."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Logs what was counted."""
        self._log_evaluation("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over what is learned, and its scheduler if there is one."""
        optimizer = self.optimizer([weight for weight in self.parameters() if weight.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _over_ranks(self, scores: Scores, size: int) -> Float[Tensor, "4"]:
        """The sums of the scores, and the number of sequences, on all ranks."""
        return self._reduced(torch.cat([scores.sums(), scores.due.new_tensor([size])]), "sum")

    def _reduced(self, part: Tensor, how: str) -> Tensor:
        """One tensor of those of all ranks."""
        reduced = self.trainer.strategy.reduce(part, reduce_op=how)
        assert isinstance(reduced, Tensor)
        return reduced

    def _report(self, totals: Float[Tensor, "4"], whole: bool) -> None:
        nats, wrong, due, sequences = totals.unbind()
        values = {"train/loss": nats / due, "train/accuracy": 1 - wrong / due}
        if self.answers == "bits" and whole:
            values["train/bits_per_sequence"] = nats / math.log(2) / sequences
            values["train/wrong_bits"] = wrong / sequences
        self.log_dict(values, prog_bar=True, batch_size=1)

    def _restart_evaluation(self) -> None:
        self._eval_state, self._tally = None, Tally()

    @torch.no_grad()
    def _read(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch time output"]:
        """The logits of all steps, apart from the sequences of training."""
        reset = batch.get("reset")
        state = None if reset is None else self.continued(self._eval_state, len(reset), reset)
        outputs, state = self.forward(batch, state)
        self._eval_state = None if reset is None else state
        return outputs

    def _evaluate(self, batch: Any) -> None:
        batch = checked_batch(batch, {"targets"})
        scores = score(self._read(batch), batch, self.answers)
        begun = batch.get("reset", torch.ones_like(scores.due[:, 0]))
        self._tally.add(scores, begun.to(scores.due.dtype), batch)

    def _log_evaluation(self, stage: str) -> None:
        values = self._tally.values(self.answers, self._reduced)
        self._restart_evaluation()
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()})
