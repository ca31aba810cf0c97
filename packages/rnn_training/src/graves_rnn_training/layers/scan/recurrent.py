"""Whole `nn.LSTM`, `nn.GRU` and `nn.RNN` modules, run as checkpointed segments."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cost import Report
from graves_rnn_training.layers.scan.fused import DenseSteps, Kernel, PackedSteps
from graves_rnn_training.layers.scan.run import Scan
from graves_rnn_training.layers.scan.steps import Steps


def run_rnn(
    rnn: nn.RNNBase,
    inputs: Tensor | PackedSequence,
    hx: Any = None,
    *,
    budget: MemoryBudget | None = None,
    report: Report | None = None,
) -> tuple[Any, Any]:
    """What `rnn(inputs, hx)` returns, with gradients that need no more memory than the budget allows.

    Dropout between layers draws other numbers than the module would.

    Args:
        rnn: an `nn.LSTM`, `nn.GRU` or `nn.RNN`.
        inputs: as the module takes them.
        hx: the initial state, zeros by default.
        budget: for each layer and direction of a bidirectional module, whose layers' outputs are stored
            besides; for all layers together of others.
        report: told what each scan costs; there is one for each layer and direction if bidirectional.

    Returns:
        outputs and final state, as the module returns them.

    Example:
        >>> lstm = nn.LSTM(3, 5, num_layers=2)
        >>> output, (h, c) = run_rnn(lstm, torch.randn(100, 4, 3), budget=MemoryBudget(slots=5))
        >>> output.shape, h.shape
        (torch.Size([100, 4, 5]), torch.Size([2, 4, 5]))
    """
    budget = MemoryBudget() if budget is None else budget
    if isinstance(inputs, PackedSequence):
        return _run_packed(rnn, inputs, hx, budget, report)
    batched = inputs.dim() == 3
    if not batched:
        inputs = inputs.unsqueeze(0 if rnn.batch_first else 1)
        hx = _each(hx, lambda part: part.unsqueeze(1))
    x = inputs.transpose(0, 1) if rnn.batch_first else inputs
    state = _checked(rnn, inputs, hx, None)
    output, state = _Run(rnn, None, budget, report)(x, state)
    output = output.transpose(0, 1) if rnn.batch_first else output
    if batched:
        return output, state
    return output.squeeze(0 if rnn.batch_first else 1), _each(state, lambda part: part.squeeze(1))


def _run_packed(
    rnn: nn.RNNBase, packed: PackedSequence, hx: Any, budget: MemoryBudget, report: Report | None
) -> tuple[PackedSequence, Any]:
    data, sizes, order, back = packed
    hx = hx if order is None else _each(hx, lambda part: part.index_select(1, order))
    state = _checked(rnn, data, hx, sizes)
    output, state = _Run(rnn, sizes, budget, report)(data, state)
    state = state if back is None else _each(state, lambda part: part.index_select(1, back))
    return PackedSequence(output, sizes, order, back), state


def _each(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, tuple):
        return tuple(change(part) for part in state)
    return None if state is None else change(state)


def _checked(rnn: nn.RNNBase, inputs: Tensor, hx: Any, sizes: Tensor | None) -> Any:
    """The initial state, after the checks that torch's layers make."""
    rnn.check_input(inputs, sizes)
    shape = rnn.get_expected_hidden_size(inputs, sizes)
    shapes = [shape, (*shape[:2], rnn.hidden_size)] if rnn.mode == "LSTM" else [shape]
    if hx is None:
        state = [inputs.new_zeros(expected) for expected in shapes]
    else:
        state = list(hx) if rnn.mode == "LSTM" else [hx]
    for part, expected in zip(state, shapes, strict=True):
        rnn.check_hidden_size(part, expected)
    return tuple(state) if rnn.mode == "LSTM" else state[0]


class _Run:
    """One call of a module: one scan, or one for each layer and direction.

    Args:
        rnn: the module.
        batch_sizes: how many sequences go on at each time step, if packed.
        budget: for each scan.
        report: told what each scan costs.
    """

    def __init__(
        self, rnn: nn.RNNBase, batch_sizes: Tensor | None, budget: MemoryBudget, report: Report | None
    ) -> None:
        self.rnn = rnn
        self.batch_sizes = batch_sizes
        self.budget = budget
        self.report = report
        self.weights: list[list[Tensor]] = [list(layer) for layer in rnn.all_weights]
        self.dropout = rnn.dropout if rnn.training and rnn.num_layers > 1 else 0.0

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Outputs and final state, time first."""
        if not self.rnn.bidirectional:
            return self._scan(x, state, self.weights, self.dropout)
        states = []
        for layer in range(self.rnn.num_layers):
            x = nn.functional.dropout(x, self.dropout) if layer and self.dropout else x
            both = [self._direction(x, state, 2 * layer + reverse) for reverse in (0, 1)]
            x = torch.cat([output for output, _ in both], -1)
            states += [after for _, after in both]
        if isinstance(state, tuple):
            return x, tuple(torch.cat(parts) for parts in zip(*states, strict=True))
        return x, torch.cat(states)

    def _direction(self, x: Tensor, state: Any, number: int) -> tuple[Tensor, Any]:
        """One layer in one direction; odd numbers go from the end to the beginning."""
        own = _each(state, lambda part: part[number : number + 1])
        if number % 2 == 0:
            return self._scan(x, own, [self.weights[number]], 0.0)
        output, after = self._scan(self._reversed(x), own, [self.weights[number]], 0.0)
        return self._reversed(output), after

    def _scan(self, x: Tensor, state: Any, layers: list[list[Tensor]], dropout: float) -> tuple[Tensor, Any]:
        sizes = self.batch_sizes
        kernel = Kernel(self.rnn.mode, layers, self.rnn.bias, dropout)

        def steps(segment: int) -> Steps:
            return DenseSteps(kernel, x, segment) if sizes is None else PackedSteps(kernel, x, sizes, segment)

        names = {id(weight): name for name, weight in self.rnn.named_parameters()}
        shared = {
            names.get(id(weight), f"weight {place} of layer {number}"): weight
            for number, layer in enumerate(layers)
            for place, weight in enumerate(layer)
            if weight.requires_grad
        }
        length = len(x) if sizes is None else len(sizes)
        scan = Scan(steps, length, "stack", shared, [], bool(dropout), self.rnn, fused=True)
        return scan.run(state, self.budget, self.report)

    def _reversed(self, x: Tensor) -> Tensor:
        """Each sequence from its end to its beginning."""
        if self.batch_sizes is None:
            return x.flip(0)
        return x.index_select(0, reversed_places(self.batch_sizes).to(x.device))


def reversed_places(batch_sizes: Int[Tensor, " time"]) -> Int[Tensor, " rows"]:
    """Where the rows of a packed sequence are when each sequence runs from its end to its beginning.

    Args:
        batch_sizes: how many sequences go on at each time step; the longest come first.

    Example:
        >>> reversed_places(torch.tensor([2, 2, 1])).tolist()
        [4, 3, 2, 1, 0]
    """
    starts = batch_sizes.cumsum(0) - batch_sizes
    time = torch.repeat_interleave(torch.arange(len(batch_sizes)), batch_sizes)
    sequence = torch.arange(len(time)) - starts[time]
    lengths = (batch_sizes[:, None] > torch.arange(int(batch_sizes[0]))).sum(0)
    return starts[lengths[sequence] - 1 - time] + sequence
