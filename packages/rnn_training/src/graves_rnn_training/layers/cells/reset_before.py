"""The gated recurrent unit in its first form, which resets before the matrix product."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from graves_rnn_training.equations.reset_before import (
    Factors,
    ResetBefore,
    dynamics,
    factors,
    gates,
    immediate,
    new_state,
)
from graves_rnn_training.layers.cells.base import LinearMaps, OnlineCell


class ResetBeforeGRUCell(OnlineCell):
    """A gated recurrent unit with the candidate tanh(W_in x + b_in + b_hn + W_hn (r h)).

    A parameter of a reset gate touches every unit in one step, so that `SnAp` keeps much more of its
    influence, and all of it at order 2; `GRUCell`, which resets after the product, suits it better.

    Parameters have the names, shapes and order of gates of `torch.nn.GRUCell`.

    Args:
        input_size: features of an input.
        hidden_size: units.

    Raises:
        ValueError: when a size is below 1.

    Example:
        >>> cell = ResetBeforeGRUCell(input_size=3, hidden_size=8)
        >>> cell(torch.zeros(2, 3), torch.zeros(2, cell.state_size)).shape
        torch.Size([2, 8])

    Source: Cho et al. 2014; the GRU of Tallec and Ollivier 2017.
    """

    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias_ih: nn.Parameter
    bias_hh: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, hidden_size)
        rows, bound = 3 * hidden_size, hidden_size**-0.5
        shapes: tuple[tuple[int, ...], ...] = ((rows, input_size), (rows, hidden_size), (rows,), (rows,))
        for name, shape in zip(ResetBefore._fields, shapes, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """The state after one step."""
        return new_state(state, gates(inputs, state, self._weights()))

    @torch.no_grad()
    def linear_maps(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> LinearMaps:
        """The step and its Jacobians, written out."""
        weights = self._weights()
        step = gates(inputs, state, weights)
        found = factors(state, step, weights)
        by_name = immediate(found, inputs, state, step.reset * state)
        return LinearMaps(new_state(state, step), dynamics(found, step, weights), self._joined(by_name))

    def patterns(self) -> tuple[Bool[Tensor, "state state"], Bool[Tensor, "state parameters"]]:
        """Everything in D; in I, everything of reset gates, and the own unit of the rest."""
        ones = self.bias_ih.new_ones(1, self.hidden_size)
        everywhere = ones.expand(1, self.hidden_size, -1)
        reached = immediate(Factors(everywhere, ones, ones), ones.new_ones(1, self.input_size), ones, ones)
        return everywhere[0] != 0, self._joined(reached)[0] != 0

    def _weights(self) -> ResetBefore:
        return ResetBefore(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def _joined(self, by_name: dict[str, Tensor]) -> Tensor:
        none = by_name["bias_ih"][..., :0]
        return torch.cat([none, *(by_name[name] for name, _ in self.learned())], 2)
