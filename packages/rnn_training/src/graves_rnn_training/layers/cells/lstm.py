"""The long short-term memory, dense or sparse."""

from typing import ClassVar

from torch import nn

from graves_rnn_training.equations.lstm import LSTM, lstm_linearised, lstm_state
from graves_rnn_training.equations.units import Linearised, Units, UnitStructure
from graves_rnn_training.layers.cells.unit import UnitCell


class LSTMCell(UnitCell):
    """The long short-term memory of `torch.nn.LSTMCell`; its state is h and then c.

    Arguments, sparsity and parameters are those of `UnitCell`.

    Example:
        >>> import torch
        >>> cell = LSTMCell(input_size=4, hidden_size=16, sparsity=0.75)
        >>> [(key, tuple(value.shape)) for key, value in cell.learned()]
        [('weight_ih', (256,)), ('weight_hh', (256,)), ('bias_ih', (64,)), ('bias_hh', (64,))]
        >>> cell(torch.zeros(2, 4), torch.zeros(2, cell.state_size)).shape
        torch.Size([2, 32])
    """

    structure: ClassVar[UnitStructure] = LSTM
    torch_class: ClassVar[type[nn.RNNCellBase]] = nn.LSTMCell

    @staticmethod
    def new_state(pre: Units, state: Units) -> Units:
        """See `lstm_state`."""
        return lstm_state(pre, state)

    @staticmethod
    def linearised(pre: Units, state: Units) -> Linearised:
        """See `lstm_linearised`."""
        return lstm_linearised(pre, state)
