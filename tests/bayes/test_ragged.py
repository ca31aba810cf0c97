"""The bidirectional LSTM without packing against PyTorch's packed one."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from graves_bayes.layers.ragged import RaggedBLSTM, reverse_ragged

LENGTHS = torch.tensor([4, 7, 1])


def packed_twin(net: RaggedBLSTM, input_size: int, hidden_size: int) -> nn.LSTM:
    twin = nn.LSTM(input_size, hidden_size, len(net.forwards), batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for layer, (there, back) in enumerate(zip(net.forwards, net.backwards, strict=True)):
            for name, weight in there.named_parameters():
                getattr(twin, name.replace("l0", f"l{layer}")).copy_(weight)
            for name, weight in back.named_parameters():
                getattr(twin, name.replace("l0", f"l{layer}_reverse")).copy_(weight)
    return twin


@pytest.mark.parametrize("layers", [1, 2])
def test_it_equals_the_packed_lstm_of_torch(layers: int) -> None:
    torch.manual_seed(0)
    net = RaggedBLSTM(3, 5, layers).double()
    inputs = torch.randn(3, 7, 3, dtype=torch.float64)
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(packed_twin(net, 3, 5)(packed)[0], batch_first=True)
    valid = (torch.arange(7) < LENGTHS[:, None])[..., None]
    torch.testing.assert_close(net(inputs, LENGTHS) * valid, expected, rtol=1e-10, atol=1e-12)


def test_what_fills_up_a_batch_changes_nothing() -> None:
    torch.manual_seed(0)
    net = RaggedBLSTM(3, 5, 2).double()
    inputs = torch.randn(3, 7, 3, dtype=torch.float64)
    other = torch.where((torch.arange(7) < LENGTHS[:, None])[..., None], inputs, 100.0)
    alone = net(inputs[:1, :4], LENGTHS[:1])
    torch.testing.assert_close(net(other, LENGTHS)[:1, :4], alone, rtol=1e-12, atol=1e-12)


def test_turning_around_twice_changes_nothing() -> None:
    inputs = torch.arange(21.0).reshape(3, 7, 1)
    assert torch.equal(reverse_ragged(reverse_ragged(inputs, LENGTHS), LENGTHS), inputs)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        RaggedBLSTM(3, 5, 0)
