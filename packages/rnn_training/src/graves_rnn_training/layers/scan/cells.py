"""What a user may give as a cell, brought to the form `cell(inputs, state) -> (output, state)`."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from torch import Tensor, nn

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.scan.fused import Kernel
from graves_rnn_training.layers.scan.steps import Cell, Readout

Returns = Literal["auto", "output and state", "state"]
"""What a cell returns. Of a state alone, the output is the state, or its first part if it has several."""


def adapted(cell: Callable[[Any, Any], Any], returns: Returns) -> Cell:
    """The cell in the common form.

    Args:
        cell: a module or function.
        returns: what it returns; "auto" knows cells that return the state alone: `nn.LSTMCell` and its kin,
            and every `OnlineCell`.

    Raises:
        ValueError: when `returns` is none of the choices.
    """
    if returns not in get_args(Returns):
        raise ValueError(f"returns must be one of {get_args(Returns)}, not {returns!r}")
    module = getattr(cell, "_orig_mod", cell)
    if isinstance(cell, nn.RNNBase):
        return kernel_of(cell)
    if isinstance(module, OnlineCell):
        return functools.partial(_online, cell, module)
    if returns == "output and state" or (returns == "auto" and not isinstance(module, nn.RNNCellBase)):
        return cell

    def with_output(inputs: Any, state: Any) -> tuple[Any, Any]:
        state = cell(inputs, state)
        return (state[0] if isinstance(state, (tuple, list)) else state), state

    return with_output


def _online(cell: Callable[[Any, Any], Tensor], module: OnlineCell, inputs: Tensor, state: Any) -> Any:
    """A step of a cell, compiled perhaps, whose output is a part of its state."""
    state = inputs.new_zeros(len(inputs), module.state_size) if state is None else state
    state = cell(inputs, state)
    return module.output(state), state


def with_targets(readout: Callable[..., Any] | None, targets: Any) -> Readout | None:
    """The readout in the common form, `readout(output, targets)`."""
    if readout is None or targets is not None:
        return readout
    return lambda output, _: readout(output)


def modules_of(cell: Any) -> list[nn.Module]:
    """The modules that a cell is, or that it is a method, a partial or a wrapper of."""
    if isinstance(cell, nn.Module):
        return [cell]
    if isinstance(cell, functools.partial):
        parts = (cell.func, *cell.args, *cell.keywords.values())
        return list(dict.fromkeys(module for part in parts for module in modules_of(part)))
    if inspect.ismethod(cell):
        return modules_of(cell.__self__)
    return modules_of(cell.__wrapped__) if hasattr(cell, "__wrapped__") else []


def shared_tensors(modules: Iterable[nn.Module], parameters: Iterable[Tensor]) -> dict[str, Tensor]:
    """All that want a gradient of every step, by name: parameters of modules, and what the user names."""
    named: list[tuple[str, Tensor]] = [pair for module in modules for pair in module.named_parameters()]
    named += [(f"number {number} of parameters", tensor) for number, tensor in enumerate(parameters)]
    unique = {id(tensor): (name, tensor) for name, tensor in reversed(named) if tensor.requires_grad}
    return dict(reversed(unique.values()))


def owner_of(cell: Any) -> Any:
    """What lives as long as cells of this kind do: a module, or the code of a function.

    A function that is defined anew for every batch is the same code each time.
    """
    if isinstance(cell, functools.partial):
        return owner_of(cell.func)
    return cell.__self__ if inspect.ismethod(cell) else getattr(cell, "__code__", cell)


def label_of(function: Any) -> str:
    """A name that tells functions with the same owner apart."""
    return f"{getattr(function, '__qualname__', type(function).__qualname__)}"


def kernel_of(rnn: nn.RNNBase) -> Kernel:
    """All layers of one of torch's recurrent modules as a cell that takes many time steps at once.

    Raises:
        ValueError: when it does not read from the beginning to the end, time first.
    """
    for name in ("bidirectional", "batch_first"):
        if getattr(rnn, name):
            raise ValueError(f"{name} must be False for a scan in segments; CheckpointedRNN takes it")
    dropout = rnn.dropout if rnn.training and rnn.num_layers > 1 else 0.0
    return Kernel(rnn.mode, [list(layer) for layer in rnn.all_weights], rnn.bias, dropout)
