"""Very long texts by full backpropagation through time, in whatever memory there is."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_core.spec import Spec
from graves_rnn_training.layers.encoders import SymbolEncoder
from graves_rnn_training.layers.readouts import Readout
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cost import Report
from graves_rnn_training.layers.scan.rnn import Kind
from graves_rnn_training.layers.scan.scan import checkpointed_scan

LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class LongSequenceRNN(Spec, LightningModule):
    """A recurrent model of symbols that are read in one go, however long they are, within a memory budget.

    Every symbol but the first is predicted from all before it. Encoder, network, readout and loss are run
    together, segment by segment, so that nothing of the whole length is ever stored but the symbols: how long
    sequences can be is a matter of time alone. The gradient is that of full backpropagation through time.

    Logs `train/bits_per_char` and `train/loss` in nats, and the same for validation and test.

    Args:
        encoder: inputs of the network from symbols.
        readout: logits of the next symbol from outputs of the network.
        kind: which of torch's recurrent layers.
        hidden_size: numbers of its hidden state.
        num_layers: layers on top of each other.
        budget: how much memory the states may use; by default what is needed to run each step twice.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.

    Raises:
        ValueError: when the parts do not fit, or a number is less than 1.

    Source: Gruslys et al. 2016, for the memory.

    Example:
        >>> from graves_rnn_training import LinearReadout, OneHotEncoder
        >>> model = LongSequenceRNN(
        ...     OneHotEncoder(27), LinearReadout(16, 27), hidden_size=16, budget=MemoryBudget(fraction=0.05)
        ... )
        >>> tokens = torch.randint(27, (2, 5000), dtype=torch.uint8)
        >>> loss = model.loss(tokens)
        >>> loss.shape
        torch.Size([])
    """

    def __init__(
        self,
        encoder: SymbolEncoder,
        readout: Readout,
        kind: Kind = "LSTM",
        hidden_size: int = 256,
        num_layers: int = 1,
        budget: MemoryBudget | None = None,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__()
        if readout.input_size != hidden_size:
            raise ValueError(f"readout has input_size={readout.input_size}, but hidden_size is {hidden_size}")
        if readout.num_classes != encoder.num_symbols:
            raise ValueError(
                f"readout has num_classes={readout.num_classes}, but the encoder has "
                f"num_symbols={encoder.num_symbols}"
            )
        if kind not in LAYERS:
            raise ValueError(f"kind must be one of {tuple(LAYERS)}, not {kind!r}")
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {num_layers}")
        self.encoder = encoder
        self.rnn = LAYERS[kind](encoder.size, hidden_size, num_layers)
        self.readout = readout
        self.budget = MemoryBudget() if budget is None else budget
        self.report: Report | None = None
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when the data have other symbols.
        """
        levels = getattr(getattr(getattr(self.trainer, "datamodule", None), "spec", None), "levels", None)
        if levels is not None and levels != self.encoder.num_symbols:
            raise ValueError(
                f"encoder has num_symbols={self.encoder.num_symbols}, but the data have {levels} symbols"
            )

    def loss(self, tokens: UInt8[Tensor, "batch time"] | Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """The mean of -log p over all symbols but the first, in nats.

        Args:
            tokens: at least two of each sequence.
        """
        symbols = tokens.T.long()
        loss, _ = checkpointed_scan(
            self._segment,
            symbols[:-1],
            readout=self._losses,
            targets=symbols[1:],
            budget=self.budget,
            outputs="mean",
            segments=True,
            report=self.report,
        )
        mean: Tensor = loss
        return mean

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of a batch of texts."""
        loss = self.loss(batch)
        self._log("train", loss, batch, on_epoch=False)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Logs the loss per symbol."""
        self._log("val", self.loss(batch), batch, on_epoch=True)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Logs the loss per symbol."""
        self._log("test", self.loss(batch), batch, on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters, and its scheduler if there is one."""
        optimizer = self.optimizer(self.parameters())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _segment(self, symbols: Int[Tensor, "steps batch"], state: Any) -> tuple[Tensor, Any]:
        """Outputs of the network for some time steps, and the state after them."""
        inputs = self.encoder(symbols.flatten()).reshape(*symbols.shape, -1)
        outputs, state = self.rnn(inputs, state)
        return outputs, state

    def _losses(
        self, outputs: Float[Tensor, "steps batch hidden"], targets: Int[Tensor, "steps batch"]
    ) -> Float[Tensor, " steps"]:
        """The loss of each time step, averaged over the batch."""
        logits = self.readout(outputs).flatten(0, 1)
        losses = nn.functional.cross_entropy(logits, targets.flatten(), reduction="none")
        return losses.reshape(targets.shape).mean(1)

    def _log(
        self, stage: Literal["train", "val", "test"], loss: Tensor, batch: Tensor, on_epoch: bool
    ) -> None:
        values = {f"{stage}/loss": loss.detach(), f"{stage}/bits_per_char": loss.detach() / math.log(2)}
        self.log_dict(values, prog_bar=True, on_epoch=on_epoch, sync_dist=on_epoch, batch_size=batch.shape[0])
