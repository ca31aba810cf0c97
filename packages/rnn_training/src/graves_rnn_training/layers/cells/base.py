"""What every recurrent cell of one time step offers to the learners."""

import warnings
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from graves_core.spec import Spec

PROBES = 16
"""At how many random points the Jacobians are looked at for their pattern."""


class LinearMaps(NamedTuple):
    """A step and its Jacobians, for each sequence of the batch.

    Args:
        state: the new state.
        dynamics: D, of the new state by the state before.
        immediate: I, of the new state by the learned parameters, with the state before held fixed.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> maps = GRUCell(input_size=3, hidden_size=8).linear_maps(torch.zeros(2, 3), torch.zeros(2, 8))
        >>> maps.state.shape, maps.dynamics.shape, maps.immediate.shape
        (torch.Size([2, 8]), torch.Size([2, 8, 8]), torch.Size([2, 8, 312]))
    """

    state: Float[Tensor, "batch state"]
    dynamics: Float[Tensor, "batch state state"]
    immediate: Float[Tensor, "batch state parameters"]


class OnlineCell(Spec, nn.Module, ABC):
    """A recurrent cell: one time step of a network, s' = f(s, x; theta).

    The state of a sequence is one vector, of which the first `hidden_size` numbers are the output. A subclass
    defines `forward` with ordinary differentiable PyTorch, and may define `linear_maps` and `patterns` where
    it knows its Jacobians; otherwise `torch.func` computes them, which is slower and said once. Sequences of
    a batch do not touch each other, and the same numbers give the same state: no dropout.

    Args:
        input_size: numbers that the cell reads at a step.
        hidden_size: numbers of its output.
        state_size: numbers of its state, output included.

    Raises:
        ValueError: when a size is out of range.

    Example:
        >>> class Leaky(OnlineCell):
        ...     def __init__(self) -> None:
        ...         super().__init__(2, 3, 3)
        ...         self.mix = nn.Linear(5, 3)
        ...     def forward(self, inputs, state):
        ...         return 0.9 * state + 0.1 * self.mix(torch.cat([inputs, state], dim=1)).tanh()
        >>> dynamics, immediate = Leaky().patterns()
        >>> dynamics.sum().item(), immediate.shape, immediate.sum().item()
        (9, torch.Size([3, 18]), 18)
    """

    def __init__(self, input_size: int, hidden_size: int, state_size: int) -> None:
        super().__init__()
        for name, size in {"input_size": input_size, "hidden_size": hidden_size}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if state_size < hidden_size:
            raise ValueError(f"state_size must be at least hidden_size={hidden_size}, got {state_size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.state_size = state_size
        self._said_slow = False

    @abstractmethod
    def forward(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """The state after one step."""

    def output(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch hidden"]:
        """What the rest of the network sees of a state."""
        return state[:, : self.hidden_size]

    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters whose influence is followed, in the order in which they are flattened."""
        return [(name, value) for name, value in self.named_parameters() if value.requires_grad]

    def linear_maps(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> LinearMaps:
        """The step and its Jacobians, without a graph."""
        if not self._said_slow:
            warnings.warn(
                f"{type(self).__name__} has no Jacobians of its own: torch.func computes them, more slowly",
                stacklevel=2,
            )
            self._said_slow = True
        learned = {name: value.detach() for name, value in self.learned()}
        return self._differentiated(learned, inputs, state, others={})

    def patterns(self) -> tuple[Bool[Tensor, "state state"], Bool[Tensor, "state parameters"]]:
        """Which entries of D and I can be other than zero: a matter of the cell's structure.

        Here, those that are not zero at one of several random inputs, states and parameters. Trained weights
        do not matter, whether learned or not, but buffers keep their values, as those of masks should.
        """
        generator = torch.Generator().manual_seed(0)
        device = next(iter(self.parameters())).device
        dynamics = torch.zeros(self.state_size, self.state_size, dtype=torch.bool, device=device)
        size = sum(value.numel() for _, value in self.learned())
        immediate = torch.zeros(self.state_size, size, dtype=torch.bool, device=device)
        for _ in range(PROBES):
            maps = self._probed(generator)
            dynamics |= maps.dynamics[0] != 0
            immediate |= maps.immediate[0] != 0
        return dynamics, immediate

    def _probed(self, generator: torch.Generator) -> LinearMaps:
        """The step at a random point, in double precision so that nothing small is taken for zero."""
        learned = {name for name, _ in self.learned()}
        values = {
            name: _drawn(value, tuple(value.shape), generator) for name, value in self.named_parameters()
        }
        like = next(iter(values.values()))
        inputs = _drawn(like, (self.input_size,), generator)[None]
        state = _drawn(like, (self.state_size,), generator)[None]
        others = {name: value for name, value in values.items() if name not in learned}
        others |= {name: _doubled(value) for name, value in self.named_buffers()}
        return self._differentiated({name: values[name] for name, _ in self.learned()}, inputs, state, others)

    def _differentiated(
        self, parameters: dict[str, Tensor], inputs: Tensor, state: Tensor, others: dict[str, Tensor]
    ) -> LinearMaps:
        """The step with the Jacobians by the given parameters, and others of the cell's tensors replaced."""

        def step(values: dict[str, Tensor], x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
            after = functional_call(self, {**others, **values}, (x[None], before[None]))[0]
            return after, after

        with torch.no_grad():
            jacobians = vmap(jacrev(step, argnums=(0, 2), has_aux=True), in_dims=(None, 0, 0))
            (by_parameter, dynamics), after = jacobians(parameters, inputs, state)
        none = after.new_zeros(*after.shape, 0)
        immediate = torch.cat([none, *(by_parameter[name].flatten(2) for name in parameters)], dim=2)
        return LinearMaps(after, dynamics, immediate)


def _drawn(like: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random numbers in double precision, of matrices so small that units do not saturate."""
    scale = shape[-1] ** -0.5 if len(shape) > 1 else 1.0
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64).to(like.device)


def _doubled(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value
