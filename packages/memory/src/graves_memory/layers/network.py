"""What all networks with a memory share: the loop over time, states that users can handle, and recording."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from graves_core.spec import Spec

State = TypeVar("State")
Outputs = Float[Tensor, "time batch output"] | Float[Tensor, "batch time output"] | PackedSequence


class Record:
    """Where a network read and wrote, step by step; see `MemoryNetwork.recording`.

    Args:
        steps: for each time step the tensors that the network recorded, without a graph.

    Example:
        >>> record = Record()
        >>> record.add({"read_weights": torch.zeros(2, 4, 16, requires_grad=True)})
        >>> len(record.steps), record.steps[0]["read_weights"].requires_grad
        (1, False)
    """

    def __init__(self, steps: list[dict[str, Tensor]] | None = None) -> None:
        self.steps = [] if steps is None else steps

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Appends a time step.

        Args:
            tensors: what the step read and wrote.
        """
        self.steps.append({name: tensor.detach() for name, tensor in tensors.items()})


class MemoryNetwork(Spec, nn.Module, ABC, Generic[State]):
    """A recurrent network with the interface of `nn.LSTM`, whose state has the batch as the first axis.

    A subclass calls this constructor, names its `state_type`, a NamedTuple of tensors with the batch first,
    and defines `initial_state` and `step`. The loop over time stands here, once; the output layer runs over
    all steps at once. A state of another kind needs methods of its own wherever the default ones here say so.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of its controller.
        feature_size: numbers that a step hands to the output layer.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> from typing import NamedTuple
        >>> class Total(NamedTuple):
        ...     total: Tensor
        >>> class Summing(MemoryNetwork[Total]):
        ...     state_type = Total
        ...     def __init__(self, size: int) -> None:
        ...         super().__init__(size, 1, hidden_size=size, feature_size=size)
        ...     def initial_state(self, batch_size):
        ...         return Total(torch.zeros(batch_size, self.input_size))
        ...     def step(self, inputs, state):
        ...         return state.total + inputs, Total(state.total + inputs)
        >>> outputs, state = Summing(3)(torch.ones(5, 2, 3))
        >>> outputs.shape, state.total[0].tolist()
        (torch.Size([5, 2, 1]), [5.0, 5.0, 5.0])
    """

    state_type: ClassVar[type[Any]]

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int,
        feature_size: int,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "output_size": output_size, "hidden_size": hidden_size}
        check_sizes({**sizes, "feature_size": feature_size})
        self.input_size = input_size
        self.output_size = output_size
        self.hidden_size = hidden_size
        self.feature_size = feature_size
        self.batch_first = batch_first
        self.output = nn.Linear(feature_size, output_size)
        self._record: Record | None = None

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state at the start of an episode, on the device and of the type of the parameters.

        Args:
            batch_size: number of sequences.
        """

    @abstractmethod
    def step(
        self, inputs: Float[Tensor, "batch prepared"], state: State
    ) -> tuple[Float[Tensor, "batch feature"], State]:
        """One time step: what the output layer reads, and the new state.

        Args:
            inputs: what `prepare` made of the inputs of this step.
            state: the state before.
        """

    def prepare(self, inputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch prepared"]:
        """What can be computed of the inputs of all steps at once; here, nothing.

        Args:
            inputs: of all time steps.
        """
        return inputs

    def readout(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch output"]:
        """The outputs, for all time steps at once.

        Args:
            features: what the steps returned.
        """
        return cast(Tensor, self.output(features))

    def forward(
        self, inputs: Float[Tensor, "one two input"] | PackedSequence, state: State | None = None
    ) -> tuple[Outputs, State]:
        """Outputs of the same layout as the inputs, and the final state.

        Args:
            inputs: `(time, batch, input)`, or `(batch, time, input)` if `batch_first`, or a packed batch.
            state: the state to go on from, in the order of the sequences that the user gave.

        Raises:
            ValueError: when the inputs do not fit the network or the state.
        """
        if isinstance(inputs, PackedSequence):
            return self._run_packed(inputs, state)
        check_inputs(inputs, self.input_size, self.batch_first)
        steps = inputs.transpose(0, 1) if self.batch_first else inputs
        outputs, state = self._run(steps, self._start(state, steps.shape[1]))
        return (outputs.transpose(0, 1) if self.batch_first else outputs), state

    def reset(self, state: State, done: Bool[Tensor, " batch"]) -> State:
        """The state in which some sequences begin anew. By default, of a NamedTuple of tensors.

        Args:
            state: a state.
            done: which sequences begin anew.
        """
        values = cast(tuple[Tensor, ...], state)
        fresh = cast(tuple[Tensor, ...], self.initial_state(done.shape[0]))
        pairs = zip(fresh, values, strict=True)
        return self._state(torch.where(done.view(-1, *[1] * (new.dim() - 1)), new, old) for new, old in pairs)

    def detach(self, state: State) -> State:
        """The state without its history, for truncated backpropagation. By default, of a NamedTuple.

        Args:
            state: a state.
        """
        return self._state(value.detach() for value in cast(tuple[Tensor, ...], state))

    def narrow(self, state: State, count: int, start: int = 0) -> State:
        """The state of some sequences next to each other. By default, of a NamedTuple of tensors.

        Args:
            state: a state.
            count: number of sequences.
            start: the first of them.
        """
        return self._state(value[start : start + count] for value in cast(tuple[Tensor, ...], state))

    def join(self, states: Sequence[State]) -> State:
        """The state of all sequences of several states. By default, of NamedTuples of tensors.

        Args:
            states: those that `narrow` made, in order.
        """
        return self._state(map(torch.cat, zip(*cast(Sequence[tuple[Tensor, ...]], states), strict=True)))

    def reorder(self, state: State, order: Int[Tensor, " batch"]) -> State:
        """The state with its sequences in another order. By default, of a NamedTuple of tensors.

        Args:
            state: a state.
            order: for each place, the sequence that comes there.
        """
        return self._state(value.index_select(0, order) for value in cast(tuple[Tensor, ...], state))

    def export_state(self, state: State) -> dict[str, Tensor]:
        """The state as plain tensors for a checkpoint, batch first. By default, of a NamedTuple.

        Args:
            state: a state.
        """
        return {name: value.detach() for name, value in cast(Any, state)._asdict().items()}

    def import_state(self, tensors: Mapping[str, Tensor]) -> State:
        """The state that `export_state` made plain.

        Args:
            tensors: what `export_state` returned, on any device.

        Raises:
            ValueError: when they are not the tensors of a state of this network.
        """
        fields = set(self.state_type._fields)
        if set(tensors) != fields:
            raise ValueError(f"tensors must be named {sorted(fields)}, not {sorted(tensors)}")
        device = next(self.parameters()).device
        return cast(State, self.state_type(**{name: value.to(device) for name, value in tensors.items()}))

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Within it, every step adds to the record where it read and wrote.

        Example:
            >>> from graves_memory.layers.ntm import NTM
            >>> net = NTM(3, 2, rows=16, heads=1)
            >>> with net.recording() as record:
            ...     outputs, state = net(torch.zeros(5, 2, 3))
            >>> len(record.steps), record.steps[0]["read_weights"].shape
            (5, torch.Size([2, 1, 16]))
        """
        before, self._record = self._record, Record()
        try:
            yield self._record
        finally:
            self._record = before

    def record(self, tensors: Mapping[str, Tensor]) -> None:
        """For the steps of subclasses: keeps what this step read and wrote, if somebody records.

        Args:
            tensors: for a dense memory `write_weights` and `read_weights`, `(batch, heads, rows)`; for a
                sparse one also `write_rows` and `read_rows`, `(batch, heads, kept)`.
        """
        if self._record is not None:
            self._record.add(tensors)

    def _state(self, values: Any) -> State:
        return cast(State, self.state_type(*values))

    def _start(self, state: State | None, batch_size: int) -> State:
        """The state to begin with."""
        if state is None:
            return self.initial_state(batch_size)
        given = cast(Sequence[Tensor], state)[0].shape[0]
        if given != batch_size:
            raise ValueError(f"state must be of {batch_size} sequences like inputs, not of {given}")
        return state

    def _run(self, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """All time steps, `(time, batch, input)`."""
        features = []
        for inputs in self.prepare(steps):
            feature, state = self.step(inputs, state)
            features.append(feature)
        return self.readout(torch.stack(features)), state

    def _run_packed(self, inputs: PackedSequence, state: State | None) -> tuple[PackedSequence, State]:
        """All time steps of a packed batch, the longest sequences first."""
        counts = inputs.batch_sizes.tolist()
        state = self._start(state, counts[0])
        if inputs.sorted_indices is not None:
            state = self.reorder(state, inputs.sorted_indices)
        features: list[Tensor] = []
        finished: list[State] = []
        steps = torch.split(self.prepare(inputs.data), counts)
        for before, count, step_inputs in zip(counts[:1] + counts, counts, steps, strict=False):
            if count < before:
                finished.append(self.narrow(state, before - count, start=count))
                state = self.narrow(state, count)
            feature, state = self.step(step_inputs, state)
            features.append(feature)
        state = self.join([state, *reversed(finished)]) if finished else state
        if inputs.unsorted_indices is not None:
            state = self.reorder(state, inputs.unsorted_indices)
        return inputs._replace(data=self.readout(torch.cat(features))), state


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuses sizes that are not positive.

    Args:
        sizes: by the names of their arguments.

    Raises:
        ValueError: when one is less than 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


def check_inputs(inputs: Tensor, input_size: int, batch_first: bool) -> None:
    """Refuses inputs that are not a batch of sequences for the network.

    Args:
        inputs: what was given.
        input_size: numbers that the network reads at a step.
        batch_first: the layout.

    Raises:
        ValueError: when the shape is wrong or there is no time step.
    """
    layout = f"({'batch, time' if batch_first else 'time, batch'}, {input_size})"
    if inputs.dim() != 3 or inputs.shape[-1] != input_size:
        raise ValueError(f"inputs must be {layout} or packed, not {tuple(inputs.shape)}")
    if not inputs.shape[int(batch_first)]:
        raise ValueError("inputs must have at least 1 time step, not 0")
