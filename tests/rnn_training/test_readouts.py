"""Readouts and encoders."""

import pytest
import torch
from torch.nn.functional import one_hot

from graves_core.spec import build
from graves_rnn_training.layers.encoders import EmbeddingEncoder, OneHotEncoder
from graves_rnn_training.layers.readouts import LinearReadout, MLPReadout


def test_one_hot_is_that_of_torch() -> None:
    symbols = torch.tensor([3, 0, 2])
    assert torch.equal(OneHotEncoder(5)(symbols), one_hot(symbols, 5).float())


def test_one_hot_follows_the_dtype_and_leaves_nothing_in_checkpoints() -> None:
    encoder = OneHotEncoder(5).double()
    assert encoder(torch.tensor([1])).dtype == torch.float64
    assert not encoder.state_dict()


def test_embedding_gives_the_row_of_the_symbol() -> None:
    encoder = EmbeddingEncoder(4, 3)
    assert torch.equal(encoder(torch.tensor([2, 2])), encoder.embedding.weight[[2, 2]])


def test_the_mlp_is_one_hidden_layer_of_rectified_units() -> None:
    readout = MLPReadout(3, 2, width=7).double()
    first, _, last = readout.layers
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = (x @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(readout(x), expected)
    assert MLPReadout(128, 256).layers[0].out_features == 1024


@pytest.mark.parametrize(
    "part", [LinearReadout(3, 2), MLPReadout(3, 2, width=4), OneHotEncoder(4), EmbeddingEncoder(4, 2)]
)
def test_parts_are_rebuilt_from_their_spec(part: torch.nn.Module) -> None:
    again = build(part.spec)
    assert again.spec == part.spec
    again.load_state_dict(part.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearReadout(0, 2), "input_size must be at least 1, not 0"),
        (lambda: MLPReadout(3, 2, width=0), "width must be at least 1, not 0"),
        (lambda: OneHotEncoder(0), "num_symbols must be at least 1, not 0"),
        (lambda: EmbeddingEncoder(4, 0), "size must be at least 1, not 0"),
    ],
)
def test_wrong_sizes_are_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
