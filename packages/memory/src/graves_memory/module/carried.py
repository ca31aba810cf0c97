"""The state that goes on from batch to batch: in training, apart from evaluation, and in checkpoints."""

from typing import Any

import torch
from jaxtyping import Bool
from lightning.pytorch import LightningModule
from torch import Tensor

from graves_core.streams import gathered_states, own_state
from graves_memory.layers.network import MemoryNetwork

STREAMS = "memory_rnn"
"""Where checkpoints keep what this module adds to them."""


class CarriesState(LightningModule):
    """The part of `MemoryRNN` that keeps the state of a network between batches.

    While an evaluation interrupts training, the state lies aside as plain tensors, because a network may have
    a single memory for both.

    Args:
        net: the network.
    """

    def __init__(self, net: MemoryNetwork[Any]) -> None:
        super().__init__()
        self.net = net
        self._state: Any = None
        self._aside: dict[str, Tensor] | None = None
        self._saved: dict[str, Any] | None = None

    def on_train_start(self) -> None:
        """Begins with new sequences, or goes on with those of the checkpoint that is resumed.

        Raises:
            ValueError: when that was written by another number of devices.
        """
        self._state, self._aside = None, None
        if self._saved is not None and self.trainer.ckpt_path is not None:
            resumed: Any = own_state(self._saved["states"], self.device)
            self._aside = resumed
        self._saved = None

    def on_after_backward(self) -> None:
        """Lets go of the graph of the batch."""
        self.let_go()

    def on_validation_start(self) -> None:
        """Puts the state of training aside."""
        if self._state is not None:
            with torch.inference_mode(False), torch.no_grad():  # training is to go on from these tensors
                self._aside, self._state = self.net.export_state(self._state), None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the states of all ranks."""
        if self._saved is not None:  # loaded, and no training since
            checkpoint[STREAMS] = self._saved
            return
        state: Any = self._aside if self._state is None else self.net.export_state(self._state)
        checkpoint[STREAMS] = {"states": gathered_states(state)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the states for a run that goes on from the checkpoint."""
        self._saved = checkpoint.get(STREAMS)

    def let_go(self) -> None:
        """Cuts the graph of the state, so that gradients do not reach back to this batch."""
        if self._state is not None:
            self._state = self.net.detach(self._state)

    def begin(self, size: int, reset: Bool[Tensor, " batch"] | None) -> Any:
        """The state before the first step of a training batch; None where all its sequences are new.

        Args:
            size: number of sequences.
            reset: which of them are new; None for all.

        Raises:
            ValueError: when sequences are to go on whose number is another one.
        """
        aside, self._aside = self._aside, None
        state, self._state = self._state, None
        if reset is None or bool(reset.all()):
            return None
        if state is None and aside is not None:
            state = self.net.import_state(aside)
        return self.continued(state, size, reset)

    def continued(self, state: Any, size: int, reset: Bool[Tensor, " batch"] | None) -> Any:
        """The state after the batch before, but for sequences that start anew.

        Args:
            state: of the batch before; None if there was none.
            size: number of sequences of this batch.
            reset: which of them are new; None for all.

        Raises:
            ValueError: when sequences are to go on whose number is another one.
        """
        if state is None or reset is None or bool(reset.all()):
            return None
        given = len(state[0])
        if given != size:
            raise ValueError(
                f"{given} sequences are under way and cannot go on in a batch of {size}: "
                "use the same batch_size and number of devices"
            )
        return self.net.reset(state, reset)
