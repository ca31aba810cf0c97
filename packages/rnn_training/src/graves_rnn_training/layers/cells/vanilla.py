"""The vanilla cell, dense or sparse."""

from typing import ClassVar

from torch import nn

from graves_rnn_training.equations.units import Linearised, Units, UnitStructure
from graves_rnn_training.equations.vanilla import VANILLA, vanilla_linearised, vanilla_state
from graves_rnn_training.layers.cells.unit import UnitCell


class VanillaCell(UnitCell):
    """A layer with tanh: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), as `torch.nn.RNNCell`.

    Arguments, sparsity and parameters are those of `UnitCell`.

    Example:
        >>> import torch
        >>> cell = VanillaCell(input_size=4, hidden_size=16, sparsity=0.75)
        >>> [(key, tuple(value.shape)) for key, value in cell.learned()]
        [('weight_ih', (64,)), ('weight_hh', (64,)), ('bias_ih', (16,)), ('bias_hh', (16,))]
        >>> cell(torch.zeros(2, 4), torch.zeros(2, cell.state_size)).shape
        torch.Size([2, 16])
    """

    structure: ClassVar[UnitStructure] = VANILLA
    torch_class: ClassVar[type[nn.RNNCellBase]] = nn.RNNCell

    @staticmethod
    def new_state(pre: Units, state: Units) -> Units:
        """See `vanilla_state`."""
        return vanilla_state(pre, state)

    @staticmethod
    def linearised(pre: Units, state: Units) -> Linearised:
        """See `vanilla_linearised`."""
        return vanilla_linearised(pre, state)
