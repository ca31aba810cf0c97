"""What the networks with a sparse memory share: a fast controller, and a state that holds a memory."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from graves_memory.layers.controlled import Control, ControlledNetwork, full_precision
from graves_memory.layers.network import Outputs, State, check_sizes
from graves_memory.layers.sparse.control import Gathered, ShareWeights, Weights, control
from graves_memory.layers.sparse.memory import SparseMemory
from graves_memory.layers.sparse.searches import Search
from graves_memory.layers.sparse.state import MemoryState
from graves_memory.layers.sparse.tape import memory_type


class _Shared(NamedTuple):
    """The weights of a sequence."""

    token: Tensor
    gathered: Gathered


class SparseMemoryNetwork(ControlledNetwork[State]):
    """A network whose LSTM reads from and writes to few rows of a memory.

    A subclass defines `initial_state` and `step`, which is given what `prepare` made of the inputs. Its state
    is a NamedTuple of tensors with the batch first and one `MemoryState`, named `memory`.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory.
        width: numbers of a row.
        heads: that read.
        reads: rows that each head reads.
        interface_size: numbers that steer the memory.
        search: how rows are found; see `SparseMemory`.
        delta: up to which weight an access does not count.
        learn_start: whether what all rows hold at the start is trained; zeros if not.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, there are too few rows, or another number is out of range.

    Example:
        >>> from graves_memory.layers.sam import SAM
        >>> isinstance(SAM(3, 2), SparseMemoryNetwork)
        True
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int,
        rows: int,
        width: int,
        heads: int,
        reads: int,
        interface_size: int,
        search: Search,
        delta: float,
        learn_start: bool,
        clip: float | None,
        batch_first: bool,
    ) -> None:
        check_sizes({"rows": rows, "reads": reads})
        if rows < max(heads, reads):
            raise ValueError(
                f"rows must be at least {max(heads, reads)} for {heads=} and {reads=}, not {rows}"
            )
        if not 0 <= delta < 1:
            raise ValueError(f"delta must be at least 0 and less than 1, not {delta}")
        super().__init__(
            input_size, output_size, hidden_size, width, heads, interface_size, clip, batch_first
        )
        self.reads = reads
        self.delta = delta
        self.memory = SparseMemory(rows, width, search)
        self.start = nn.Parameter(torch.empty(width).normal_(std=0.01)) if learn_start else None
        self._shared: _Shared | None = None
        self._inside = False

    def forward(
        self, inputs: Float[Tensor, "one two input"] | PackedSequence, state: State | None = None
    ) -> tuple[Outputs, State]:
        """Outputs of the same layout as the inputs, and the final state.

        Args:
            inputs: `(time, batch, input)`, or `(batch, time, input)` if `batch_first`, or a packed batch.
            state: the state to go on from, in the order of the sequences that the user gave. Without it, an
                episode begins.

        Raises:
            ValueError: when the inputs do not fit the network or the state.
            RuntimeError: when the state has expired.
        """
        self._inside = True
        try:
            return super().forward(inputs, state)
        finally:
            self._inside, self._shared = False, None

    def prepare(self, inputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch prepared"]:
        """What the inputs of all steps and the biases add to the gates of the LSTM.

        Args:
            inputs: of all time steps.
        """
        cell = self.controller
        if self._inside:
            self._shared = self._share()
        bias = cell.bias_ih + cell.bias_hh
        projected = nn.functional.linear(inputs, cell.weight_ih[:, : self.input_size], bias)
        return projected.to(memory_type(cell.weight_hh))

    def control(
        self,
        inputs: Float[Tensor, "batch prepared"],
        words: Float[Tensor, "batch heads width"],
        hidden: Float[Tensor, "batch hidden"],
        cell: Float[Tensor, "batch hidden"],
    ) -> Control:
        """A step of the LSTM, in the type of the memory whatever autocast computes in.

        Args:
            inputs: what `prepare` made of the inputs of this step.
            words: what the heads read in the step before.
            hidden: the LSTM's output before.
            cell: the LSTM's cell before.
        """
        token, gathered = self._shared or self._share()
        with full_precision(inputs):
            return Control(*control(token, inputs, words.flatten(1), hidden, cell, gathered, self.clip))

    def readout(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch output"]:
        """The outputs, for all time steps at once, in the type of the output layer.

        Args:
            features: what the steps returned.
        """
        return super().readout(features.to(self.output.weight.dtype))

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """A part of a start state, on the device of the parameters and of the type of the memory.

        Args:
            *shape: its shape.
            dtype: another type.
        """
        like = self.output.weight
        return torch.zeros(shape, dtype=dtype or memory_type(like), device=like.device)

    def begin(self, batch_size: int) -> MemoryState:
        """The memory at the start of an episode.

        Args:
            batch_size: number of sequences.
        """
        return self.memory.begin(batch_size, self.output.weight, self.start)

    def reset(self, state: State, done: Bool[Tensor, " batch"]) -> State:
        """The state in which some sequences begin anew.

        Args:
            state: a state.
            done: which sequences begin anew.
        """
        start = self.zeros(self.width) if self.start is None else self.start
        return self._map(
            state,
            lambda value: value.masked_fill(done.view(-1, *[1] * (value.dim() - 1)), 0),
            lambda memory: memory.reset(done, start),
        )

    def detach(self, state: State) -> State:
        """The state without its history, for truncated backpropagation. The memory is carried on.

        Args:
            state: a state.
        """
        return self._map(state, Tensor.detach, MemoryState.detach)

    def narrow(self, state: State, count: int, start: int = 0) -> State:
        """The state of some sequences next to each other.

        Args:
            state: a state.
            count: number of sequences.
            start: the first of them.
        """
        return self._map(
            state, lambda value: value[start : start + count], lambda memory: memory.narrow(count, start)
        )

    def join(self, states: Sequence[State]) -> State:
        """The state of all sequences of several states of one memory, one of which is the newest.

        Args:
            states: those that `narrow` made, in order.

        Raises:
            ValueError: when they are not neighbours in one memory.
        """
        columns = zip(*cast(Sequence[tuple[Any, ...]], states), strict=True)
        joined = (
            MemoryState.join(column) if isinstance(column[0], MemoryState) else torch.cat(column)
            for column in columns
        )
        return self._state(joined)

    def reorder(self, state: State, order: Int[Tensor, " batch"]) -> State:
        """The state with its sequences in another order.

        Args:
            state: a state.
            order: for each place, the sequence that comes there.
        """
        return self._map(
            state, lambda value: value.index_select(0, order), lambda memory: memory.reorder(order)
        )

    def export_state(self, state: State) -> dict[str, Tensor]:
        """The state as plain tensors for a checkpoint, batch first; only rows that have been used.

        Args:
            state: a state.
        """
        tensors: dict[str, Tensor] = {}
        for name, value in cast(Any, state)._asdict().items():
            if isinstance(value, MemoryState):
                tensors |= {f"memory.{part}": tensor for part, tensor in value.export().items()}
            else:
                tensors[name] = value.detach()
        return tensors

    def import_state(self, tensors: Mapping[str, Tensor]) -> State:
        """The state that `export_state` made plain.

        Args:
            tensors: what `export_state` returned, on any device.

        Raises:
            ValueError: when they are not the tensors of a state of this network.
        """
        parts = [f"memory.{part}" for part in ("memory", "ranks", "start")]
        names = [name for name in self.state_type._fields if name != "memory"]
        if set(tensors) != {*names, *parts}:
            raise ValueError(f"tensors must be named {sorted([*names, *parts])}, not {sorted(tensors)}")
        device = self.output.weight.device
        memory = self.memory.load({name[7:]: tensors[name] for name in parts}, self.output.weight)
        values = {name: tensors[name].to(device) for name in names}
        return cast(State, self.state_type(**values, memory=memory))

    def __getstate__(self) -> dict[str, Any]:
        """The module without what belongs to a forward pass, for copies and pickles."""
        return {**self.__dict__, "_shared": None, "_inside": False}

    def _share(self) -> _Shared:
        """The weights for the steps of a sequence."""
        cell, kind = self.controller, memory_type(self.controller.weight_hh)
        recurrent = torch.cat((cell.weight_ih[:, self.input_size :], cell.weight_hh), 1)
        weights = [value.to(kind) for value in (recurrent, self.interface.weight, self.interface.bias)]
        gathered = Gathered(Weights(*(weight.detach() for weight in weights)))
        token = ShareWeights.apply(*weights, gathered)  # type: ignore[no-untyped-call]
        return _Shared(token, gathered)

    def _map(self, state: State, of_tensor: Any, of_memory: Any) -> State:
        """Another state, made of the parts of one."""
        values = cast(tuple[Any, ...], state)
        return self._state(
            of_memory(value) if isinstance(value, MemoryState) else of_tensor(value) for value in values
        )
