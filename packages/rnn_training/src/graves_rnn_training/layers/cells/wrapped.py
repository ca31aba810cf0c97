"""Any module that makes one time step, as an `OnlineCell`."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_rnn_training.layers.cells.base import OnlineCell


class WrappedCell(OnlineCell):
    """What `wrap_cell` returns.

    Checkpoints hold its weights, but not how its module was made. To go on from one, make the model in Python
    and load the weights into it; a subclass of `OnlineCell` can also be rebuilt from a checkpoint alone.

    Args:
        input_size: numbers that the module reads at a step.
        hidden_size: numbers of its output.
        state_sizes: numbers of each tensor of its state.
        single: the state is one tensor rather than a tuple of tensors.
        output: the module returns an output beside the new state.
        own_output: this output is another tensor than the first of the new state.

    Example:
        >>> cell = wrap_cell(nn.LSTMCell(3, 8))
        >>> type(cell).__name__, cell.state_size
        ('WrappedCell', 16)
    """

    module: nn.Module | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        state_sizes: Sequence[int],
        single: bool,
        output: bool,
        own_output: bool,
    ) -> None:
        super().__init__(input_size, hidden_size, sum(state_sizes) + own_output * hidden_size)
        self.state_sizes = list(state_sizes)
        self.single = single
        self.has_output = output
        self.own_output = own_output
        self.module = None

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """The state after one step."""
        assert self.module is not None
        kept = state[:, self.hidden_size :] if self.own_output else state
        parts = torch.split(kept, self.state_sizes, 1)
        found = self.module(inputs, parts[0] if self.single else parts)
        after = found[1] if self.has_output else found
        after = (after,) if self.single else tuple(after)
        return torch.cat([found[0], *after] if self.own_output else after, 1)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        """Says what cannot be done with a cell that was rebuilt from a checkpoint."""
        if self.module is None:
            others[-1].append(
                f"{prefix[:-1]} was made by wrap_cell, from a module that a checkpoint cannot hold: make the "
                "model in Python and load its state_dict, or write a subclass of OnlineCell"
            )
        super()._load_from_state_dict(state_dict, prefix, *others)


def wrap_cell(
    module: nn.Module, input_size: int | None = None, state_sizes: int | Sequence[int] | None = None
) -> OnlineCell:
    """Makes an `OnlineCell` of a module that is called as `module(inputs, state)`.

    The module returns the new state, like `torch.nn.GRUCell` and `LSTMCell`, or a pair of an output and the
    new state. Without an output, the first tensor of the state is what the network sees. The module is called
    once, on zeros, to find out.

    The built-in `GRUCell`, `LSTMCell` and `VanillaCell` are much faster than wrapped ones: use their
    `from_torch`.

    Args:
        module: makes a step, the same each time: without dropout, and every sequence by itself.
        input_size: numbers that it reads; `module.input_size` by default.
        state_sizes: numbers of its state if that is one tensor, or of each tensor if it is a tuple; known for
            the cells of torch.

    Raises:
        TypeError: when the module returns something else, or a size is missing.
        ValueError: when the module returns a state of other sizes.

    Example:
        >>> from graves_rnn_training.layers.learners.rtrl import RTRL
        >>> learner = RTRL(wrap_cell(nn.GRUCell(3, 8)))
        >>> learner.trace_bytes(batch_size=1)
        9984
    """
    input_size, state_sizes = _sizes(module, input_size, state_sizes)
    single = isinstance(state_sizes, int)
    sizes = [state_sizes] if isinstance(state_sizes, int) else list(state_sizes)
    like = next(module.parameters()).detach()
    states = [like.new_zeros(1, size) for size in sizes]
    with torch.no_grad():
        found = module(like.new_zeros(1, input_size), states[0] if single else tuple(states))
    output, after = _taken_apart(found, single)
    returned = [tuple(part.shape) for part in after]
    if returned != [(1, size) for size in sizes]:
        raise ValueError(f"module must return a state of the sizes {sizes} for one sequence, got {returned}")
    own_output = output is not None and output is not after[0]
    hidden_size = (after[0] if output is None else output).shape[1]
    cell = WrappedCell(input_size, hidden_size, sizes, single, output is not None, own_output)
    cell.module = module
    return cell


def _sizes(
    module: nn.Module, input_size: int | None, state_sizes: int | Sequence[int] | None
) -> tuple[int, int | Sequence[int]]:
    if input_size is None:
        input_size = getattr(module, "input_size", None)
    if state_sizes is None and isinstance(module, nn.RNNCellBase):
        state_sizes = [module.hidden_size] * 2 if isinstance(module, nn.LSTMCell) else module.hidden_size
    for name, given in (("input_size", input_size), ("state_sizes", state_sizes)):
        if given is None:
            raise TypeError(f"wrap_cell needs {name} for a {type(module).__name__}")
    assert input_size is not None
    assert state_sizes is not None
    return input_size, state_sizes


def _taken_apart(found: Any, single: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """The output, if there is one, and the tensors of the new state."""
    state, output = found, None
    if isinstance(found, tuple) and len(found) == 2 and (single or not isinstance(found[1], Tensor)):
        output, state = found
    parts = (state,) if single else state
    tensors = [output] if output is not None else []
    if not isinstance(parts, tuple | list) or not all(isinstance(x, Tensor) for x in (*parts, *tensors)):
        wanted = "tensor" if single else "tuple of tensors"
        raise TypeError(
            f"module must return its new state, a {wanted}, or a pair of an output and that state"
        )
    return output, tuple(parts)
