"""Bidirectional LSTM over sequences of different lengths."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


def reverse_ragged(
    inputs: Float[Tensor, "batch time features"], lengths: Int64[Tensor, " batch"]
) -> Float[Tensor, "batch time features"]:
    """Turns the first `lengths` steps of each sequence around, and leaves the rest where it is.

    Example:
        >>> reverse_ragged(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
        [2.0, 1.0, 0.0]
    """
    steps = torch.arange(inputs.shape[1], device=inputs.device)
    ends = lengths[:, None].to(inputs.device)
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    return inputs.gather(1, places[..., None].expand_as(inputs))


class RaggedBLSTM(nn.Module):
    """Layers of LSTM in both directions whose outputs do not depend on how far a batch is filled up.

    The backward direction reads each sequence from its own end. Nothing is packed: on a CPU, the gradients
    of packed sequences take many times as long.

    Args:
        input_size: features of a step.
        hidden_size: units of each direction.
        num_layers: one above the other.

    Raises:
        ValueError: when a size is less than 1.

    Source: Graves and Schmidhuber 2005, "Framewise phoneme classification with bidirectional LSTM".

    Example:
        >>> net = RaggedBLSTM(input_size=4, hidden_size=8, num_layers=2)
        >>> net(torch.zeros(3, 5, 4), torch.tensor([5, 2, 1])).shape
        torch.Size([3, 5, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        widths = [input_size] + [2 * hidden_size] * (num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(width, hidden_size, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(nn.LSTM(width, hidden_size, batch_first=True) for width in widths)

    def forward(
        self, inputs: Float[Tensor, "batch time input_size"], lengths: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch time both"]:
        """Reads all sequences.

        Args:
            inputs: filled up at the end with anything.
            lengths: steps of each.
        """
        for there, back in zip(self.forwards, self.backwards, strict=True):
            from_end = back(reverse_ragged(inputs, lengths))[0]
            inputs = torch.cat((there(inputs)[0], reverse_ragged(from_end, lengths)), -1)
        return inputs
