"""The gated recurrent unit, dense or sparse."""

from typing import ClassVar

from torch import nn

from graves_rnn_training.equations.gru import GRU, gru_linearised, gru_state
from graves_rnn_training.equations.units import Linearised, Units, UnitStructure
from graves_rnn_training.layers.cells.unit import UnitCell


class GRUCell(UnitCell):
    """The gated recurrent unit of `torch.nn.GRUCell`, which resets after the matrix product.

    That is also the variant of the paper: here every parameter touches one unit in one step. See
    `ResetBeforeGRUCell` for the older one.

    Arguments, sparsity and parameters are those of `UnitCell`.

    Example:
        >>> import torch
        >>> cell = GRUCell(input_size=4, hidden_size=16, sparsity=0.75)
        >>> [(key, tuple(value.shape)) for key, value in cell.learned()]
        [('weight_ih', (192,)), ('weight_hh', (192,)), ('bias_ih', (48,)), ('bias_hh', (48,))]
        >>> cell(torch.zeros(2, 4), torch.zeros(2, cell.state_size)).shape
        torch.Size([2, 16])
    """

    structure: ClassVar[UnitStructure] = GRU
    torch_class: ClassVar[type[nn.RNNCellBase]] = nn.GRUCell

    @staticmethod
    def new_state(pre: Units, state: Units) -> Units:
        """See `gru_state`."""
        return gru_state(pre, state)

    @staticmethod
    def linearised(pre: Units, state: Units) -> Linearised:
        """See `gru_linearised`."""
        return gru_linearised(pre, state)
