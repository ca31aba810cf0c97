"""Unrolling a cell with exact gradients within a memory budget."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cells import (
    Returns,
    adapted,
    label_of,
    modules_of,
    owner_of,
    shared_tensors,
    with_targets,
)
from graves_rnn_training.layers.scan.cost import PlanCost, Report
from graves_rnn_training.layers.scan.fused import Kernel
from graves_rnn_training.layers.scan.run import Scan
from graves_rnn_training.layers.scan.steps import CellSteps, SegmentSteps
from graves_rnn_training.layers.scan.trees import flatten, sequence_length


def checkpointed_scan(
    cell: Callable[[Any, Any], Any],
    inputs: Any,
    state: Any = None,
    *,
    readout: Callable[..., Any] | None = None,
    targets: Any = None,
    budget: MemoryBudget | None = None,
    outputs: Any = "stack",
    returns: Returns = "auto",
    segments: bool = False,
    length: int | None = None,
    parameters: Iterable[Tensor] = (),
    preserve_rng_state: bool = True,
    report: Report | None = None,
) -> tuple[Any, Any]:
    """Runs a cell over a sequence; going backward through it needs no more memory than the budget allows.

    The result and all gradients are those of `for x in inputs: output, state = cell(x, state)`: from the same
    operations, and those of parameters added up in the same order, so that most are equal to the last bit.
    What is not stored is run again, with the random numbers that it drew at first, under the same autocast,
    and without updating buffers once more. Gradients can be taken once, and not differentiated again.

    Outputs take memory as well, which the budget does not count. What is needed in the end, such as the loss,
    is best computed and reduced step by step, in a `readout`: that is not run where only states are wanted.

    Args:
        cell: `cell(inputs_t, state) -> (output_t, state)`, a module or a function. `nn.LSTMCell` and its kin
            return the state alone, which is their output. `nn.LSTM` and its kin run in `segments`.
        inputs: a tensor, or a nest of tensors, with the time as the first axis. What is no tensor is given to
            every step as it is.
        state: the initial state, a tensor, None, or a nest of tensors and other values.
        readout: `readout(output_t, targets_t)`, or `readout(output_t)` without targets; a module or a
            function, whose results are the outputs instead.
        targets: what the readout needs of every step besides, nested like inputs.
        budget: how much may be stored; by default what is needed to run each step twice.
        outputs: what becomes of the outputs: "stack", "sum", "mean", "last" or "none", for all of them or in
            a nest like theirs, such as `{"loss": "sum", "logits": "last"}`.
        returns: what the cell returns, where it is not clear: "output and state", or the "state" alone.
        segments: whether cell and readout take many time steps at once, time first, and return the outputs
            of all of them: faster than one by one where kernels are fused. How many is the budget's matter.
        length: number of time steps, if no input is a tensor.
        parameters: tensors besides those of modules that cell or readout use and that want a gradient.
        preserve_rng_state: draw the same random numbers again; without it, cells that draw give wrong
            gradients, and others run a few microseconds faster.
        report: told what it costs, each time that gradients are wanted.

    Returns:
        outputs and final state.

    Raises:
        ValueError: when inputs disagree about the time, outputs do not fit, or the budget is too small.
        RuntimeError: when the cell uses tensors that want a gradient and that nobody named; when parameters
            are changed before backward.

    Example:
        >>> import torch
        >>> cell, linear = torch.nn.LSTMCell(3, 8), torch.nn.Linear(8, 1)
        >>> loss, (h, c) = checkpointed_scan(
        ...     cell,
        ...     torch.randn(100, 2, 3),
        ...     (torch.zeros(2, 8), torch.zeros(2, 8)),
        ...     readout=lambda h, target: (linear(h) - target).square().mean(),
        ...     targets=torch.randn(100, 2, 1),
        ...     budget=MemoryBudget(slots=5),
        ...     outputs="mean",
        ...     parameters=linear.parameters(),
        ... )
        >>> loss.backward()

    Source: Gruslys et al. 2016.
    """
    scan = _cell_scan(
        cell, inputs, readout, targets, returns, segments, outputs, length, parameters, preserve_rng_state
    )
    return scan.run(state, MemoryBudget() if budget is None else budget, report)


def plan_cost(
    cell: Callable[[Any, Any], Any],
    inputs: Any,
    state: Any = None,
    *,
    readout: Callable[..., Any] | None = None,
    targets: Any = None,
    budget: MemoryBudget | None = None,
    outputs: Any = "stack",
    returns: Returns = "auto",
    segments: bool = False,
    length: int | None = None,
    parameters: Iterable[Tensor] = (),
) -> PlanCost:
    """What `checkpointed_scan` with the same arguments would cost; the cell runs for two steps at most.

    Args:
        cell: one time step.
        inputs: with the time as the first axis.
        state: the initial state.
        readout: what makes the outputs.
        targets: what the readout needs besides.
        budget: how much may be stored.
        outputs: what becomes of the outputs.
        returns: what the cell returns.
        segments: whether cell and readout take many time steps at once.
        length: number of time steps, if no input is a tensor.
        parameters: tensors besides those of a module that want a gradient.

    Example:
        >>> import torch
        >>> cell = torch.nn.LSTMCell(8, 16)
        >>> cost = plan_cost(cell, torch.randn(1000, 4, 8), budget=MemoryBudget(slots=50, strategy="hidden"))
        >>> cost.forwards, f"{cost.saved:.0%}"
        (2948, '98%')
    """
    scan = _cell_scan(cell, inputs, readout, targets, returns, segments, outputs, length, parameters, True)
    return scan.cost(state, MemoryBudget() if budget is None else budget, sized=True)


def _cell_scan(
    cell: Callable[[Any, Any], Any],
    inputs: Any,
    readout: Callable[..., Any] | None,
    targets: Any,
    returns: Returns,
    segments: bool,
    outputs: Any,
    length: int | None,
    parameters: Iterable[Tensor],
    random: bool,
) -> Scan:
    flat = flatten(inputs), flatten(targets)
    length = sequence_length([*flat[0][0], *flat[1][0]], length)
    modules = list(dict.fromkeys([*modules_of(cell), *modules_of(readout)]))
    step, read = adapted(cell, returns), with_targets(readout, targets)
    if isinstance(step, Kernel):
        segments = True
        parameters = [*parameters, *(weight for layer in step.layers for weight in layer)]
    kind = SegmentSteps if segments else CellSteps
    return Scan(
        lambda segment: kind(step, read, *flat, length, segment, outputs),
        length,
        outputs,
        shared_tensors(modules, parameters),
        modules,
        random,
        owner_of(cell),
        (label_of(cell), label_of(readout)),
        segments,
    )
