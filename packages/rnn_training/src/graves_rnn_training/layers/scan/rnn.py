"""Recurrent layers with the interface of `nn.LSTM` that train within a memory budget."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from graves_core.spec import Spec
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cells import Returns
from graves_rnn_training.layers.scan.cost import Report
from graves_rnn_training.layers.scan.recurrent import run_rnn
from graves_rnn_training.layers.scan.scan import checkpointed_scan

Kind = Literal["LSTM", "GRU", "RNN"]
FORWARDS = (nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)
"""Those that segments can stand for."""


class CheckpointedRNN(Spec, nn.RNNBase):
    """An `nn.LSTM`, `nn.GRU` or `nn.RNN` that trains within a memory budget, in segments of many time steps.

    Parameters have the names that they have in torch, so that checkpoints fit both ways, and outputs and
    gradients are the same. Dropout between layers is drawn anew for every segment. A bidirectional layer
    stores the outputs of all its layers besides. All outputs, `(time, batch, hidden)`, take memory that no
    budget can save; where only a loss is needed, `checkpointed_scan` with a readout does without.

    Args:
        kind: which of torch's layers.
        input_size: numbers that it reads at a step.
        hidden_size: numbers of its hidden state.
        num_layers: layers on top of each other.
        nonlinearity: of an "RNN".
        bias: whether there are biases.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.
        dropout: probability with which outputs between layers are dropped in training.
        bidirectional: whether each layer has a second half that reads from the end.
        proj_size: numbers of the output of an "LSTM", if its hidden state is projected.
        budget: how much memory training may use; by default what is needed to run each step twice.

    Raises:
        ValueError: when an argument is out of range, or `kind` does not have it.

    Example:
        >>> rnn = CheckpointedRNN("LSTM", 3, 16, num_layers=2, budget=MemoryBudget(fraction=0.1))
        >>> output, (h, c) = rnn(torch.randn(500, 4, 3))
        >>> output.shape, h.shape
        (torch.Size([500, 4, 16]), torch.Size([2, 4, 16]))
        >>> sorted(rnn.state_dict()) == sorted(nn.LSTM(3, 16, 2).state_dict())
        True
    """

    def __init__(
        self,
        kind: Kind,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        budget: MemoryBudget | None = None,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}, not {kind!r}")
        if proj_size and kind != "LSTM":
            raise ValueError(f"proj_size must be 0 for kind {kind!r}, not {proj_size}")
        mode = f"RNN_{nonlinearity.upper()}" if kind == "RNN" else kind
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
        )
        self.budget = MemoryBudget() if budget is None else budget
        self.report: Report | None = None

    @classmethod
    def wrap(cls, rnn: nn.RNNBase, budget: MemoryBudget | None = None) -> "CheckpointedRNN":
        """A layer with the very parameters of one of torch's.

        Args:
            rnn: the layer, on any device.
            budget: how much memory training may use.

        Raises:
            TypeError: when the layer does something of its own.
        """
        check_plain(rnn)
        kind, _, nonlinearity = rnn.mode.partition("_")
        with torch.device("meta"):
            wrapped = cls(
                kind,  # type: ignore[arg-type]
                rnn.input_size,
                rnn.hidden_size,
                rnn.num_layers,
                nonlinearity.lower() or "tanh",  # type: ignore[arg-type]
                rnn.bias,
                rnn.batch_first,
                rnn.dropout,
                rnn.bidirectional,
                rnn.proj_size,
                budget,
            )
        for name, weight in rnn.named_parameters():
            setattr(wrapped, name, weight)
        return wrapped.train(rnn.training)

    def forward(self, inputs: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """Outputs and final state, as torch's layer returns them.

        Args:
            inputs: a batch of sequences, one sequence, or a packed batch.
            hx: the initial state, zeros by default.
        """
        return run_rnn(self, inputs, hx, budget=self.budget, report=self.report)


class CheckpointedCell(nn.Module):
    """A cell of any kind as a layer that runs it over a sequence, within a memory budget.

    Args:
        cell: one time step, `cell(inputs_t, state) -> (output_t, state)` or the state alone.
        budget: how much memory training may use; by default what is needed to run each step twice.
        batch_first: whether inputs and outputs are `(batch, time, ...)` instead of `(time, batch, ...)`.
        returns: what the cell returns, where it is not clear: "output and state", or the "state" alone.

    Example:
        >>> layer = CheckpointedCell(nn.GRUCell(3, 16), MemoryBudget(slots=20))
        >>> output, hidden = layer(torch.randn(500, 4, 3))
        >>> output.shape, hidden.shape
        (torch.Size([500, 4, 16]), torch.Size([4, 16]))
    """

    def __init__(
        self,
        cell: Callable[[Any, Any], Any],
        budget: MemoryBudget | None = None,
        batch_first: bool = False,
        returns: Returns = "auto",
    ) -> None:
        super().__init__()
        self.cell = cell
        self.budget = MemoryBudget() if budget is None else budget
        self.report: Report | None = None
        self.batch_first = batch_first
        self.returns = returns

    def forward(self, inputs: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Outputs of all steps and the final state.

        Args:
            inputs: a batch of sequences.
            hx: the initial state, as the cell takes it.
        """
        x = inputs.transpose(0, 1) if self.batch_first else inputs
        output, state = checkpointed_scan(
            self.cell, x, hx, budget=self.budget, returns=self.returns, report=self.report
        )
        return output.transpose(0, 1) if self.batch_first else output, state


def checkpointed(
    module: nn.Module, budget: MemoryBudget | None = None, batch_first: bool = False
) -> CheckpointedRNN | CheckpointedCell:
    """A layer that does what a module does, within a memory budget and with the same parameters.

    Args:
        module: an `nn.LSTM`, `nn.GRU` or `nn.RNN`; or a cell, which the layer runs over a sequence.
        budget: how much memory training may use; by default what is needed to run each step twice.
        batch_first: for cells, whether sequences are `(batch, time, ...)`; others know themselves.

    Raises:
        TypeError: when the module is a subclass of torch's layers that does something of its own.

    Example:
        >>> layer = checkpointed(nn.LSTM(3, 16), MemoryBudget(slots=30))
        >>> output, (h, c) = layer(torch.randn(500, 4, 3))
        >>> output.sum().backward()
    """
    if isinstance(module, nn.RNNBase):
        return CheckpointedRNN.wrap(module, budget)
    return CheckpointedCell(module, budget, batch_first)


def check_plain(rnn: nn.RNNBase) -> None:
    """Refuses layers that segments would not do justice to.

    Raises:
        TypeError: when the layer is not simply one of torch's.
    """
    name = type(rnn).__name__
    if type(rnn).forward not in FORWARDS:
        raise TypeError(f"{name} has a forward of its own; segments can stand for nn.LSTM, nn.GRU and nn.RNN")
    if len(list(rnn.children())):
        raise TypeError(f"{name} has parametrized weights; use the callback MemoryEfficientBPTT for it")
