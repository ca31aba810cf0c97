"""Weights and labels as an actual message, of the length that the description length promises.

The receiver knows the inputs, the network's code and the prior. The sender takes bits that it has to send
anyway and decodes a sample of the posterior from them, encodes the labels with the network that has these
weights, and the weights with the prior. The receiver goes the other way; knowing the posterior, it gets back
the bits that the sample was made of. What remains is the complexity of the weights and the error of the
labels, in bits.

Both sides must compute the same predictions bit for bit: the same program, on the same kind of machine.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

Predict = Callable[[Float[Tensor, " weights"]], Float[Tensor, "examples classes"]]
"""Computes the log-probabilities of all labels from the weights of a network."""

RANGE = 2**20
"""At most so many values of a weight; the coder's probabilities are multiples of 2**-24."""


class Gaussians(NamedTuple):
    """An independent Gaussian for each weight.

    Attributes:
        mean: of each weight.
        std: the standard deviations.

    Example:
        >>> Gaussians(torch.zeros(3), torch.ones(3)).std.tolist()
        [1.0, 1.0, 1.0]
    """

    mean: Float[Tensor, " weights"]
    std: Float[Tensor, " weights"]


class Grid(NamedTuple):
    """The values that sent weights may have: whole multiples of a width.

    Attributes:
        width: distance of neighbours.
        most: the multiples go from `-most` to `most`.

    Example:
        >>> Grid(0.5, 10).values(torch.tensor([3, -1])).tolist()
        [1.5, -0.5]
    """

    width: float
    most: int

    def values(self, multiples: Int64[Tensor, " weights"]) -> Float[Tensor, " weights"]:
        """The weights.

        Args:
            multiples: of the width.
        """
        return (multiples * self.width).to(torch.get_default_dtype())


class Message(NamedTuple):
    """What is sent.

    Attributes:
        words: of 32 bits each.
        bits: how many of them are used.
        borrowed: bits that the receiver gets back, because a sample was decoded from them.

    Example:
        >>> Message(np.zeros(4, np.uint32), bits=120, borrowed=96).net_bits
        24
    """

    words: "np.ndarray[Any, np.dtype[np.uint32]]"
    bits: int
    borrowed: int

    @property
    def net_bits(self) -> int:
        """Length of weights and labels."""
        return self.bits - self.borrowed


class Received(NamedTuple):
    """What a receiver finds in a message.

    Attributes:
        weights: of the network.
        labels: of the examples.
        borrowed: the words that the sample was made of, if the posterior is known.

    Example:
        >>> Received(torch.zeros(2), torch.tensor([1]), None).labels.tolist()
        [1]
    """

    weights: Float[Tensor, " weights"]
    labels: Int64[Tensor, " examples"]
    borrowed: "np.ndarray[Any, np.dtype[np.uint32]] | None"


def grid_for(posterior: Gaussians, prior: Gaussians, fineness: float = 4.0) -> Grid:
    """The grid for a posterior: finer than its narrowest Gaussian, and as wide as its widest.

    Args:
        posterior: of the weights.
        prior: of the weights.
        fineness: the narrowest standard deviation by the width.

    Raises:
        ValueError: when the grid would be larger than the coder's probabilities can tell apart.

    Example:
        >>> one, half = torch.ones(1), torch.full((1,), 0.5)
        >>> grid_for(Gaussians(one, half), Gaussians(one, one), fineness=2.0)
        Grid(width=0.25, most=36)
    """
    width = float(torch.minimum(posterior.std.min(), prior.std.min())) / fineness
    reach = float((posterior.mean.abs() + 8 * torch.maximum(posterior.std, prior.std)).max())
    most = math.ceil(reach / width)
    if 2 * most + 1 > RANGE:
        raise ValueError(
            f"weights from -{reach:.3g} to {reach:.3g} in steps of {width:.3g} have more than {RANGE} "
            "values; take a smaller fineness, or leave out weights with a narrow posterior"
        )
    return Grid(width, most)


def encode(
    labels: Int64[Tensor, " examples"],
    predict: Predict,
    posterior: Gaussians,
    prior: Gaussians,
    grid: Grid,
    generator: torch.Generator | None = None,
) -> Message:
    """Encodes a sample of the weights and the labels by bits-back coding.

    Needs `pip install "graves-bayes[coding]"`.

    Args:
        labels: of the examples.
        predict: computes what the network expects.
        posterior: of the weights.
        prior: of the weights.
        grid: of the weights' values.
        generator: source of the bits that the sample is made of, which stand for ones to be sent anyway.

    Raises:
        ImportError: when constriction is not installed.

    Source: Hinton and van Camp 1993, "Keeping the neural networks simple by minimizing the description length
    of the weights"; Graves 2011, section 3.
    """
    coder = _coder(_random_words(len(posterior.mean), generator), seal=True)
    borrowed = coder.num_valid_bits()
    multiples = coder.decode(_weights(grid), *_parameters(posterior, grid))
    probabilities = _probabilities(predict(grid.values(torch.from_numpy(multiples).long())))
    coder.encode_reverse(_symbols(labels), _classes(), probabilities)
    coder.encode_reverse(multiples, _weights(grid), *_parameters(prior, grid))
    return Message(coder.get_compressed(), coder.num_valid_bits(), borrowed)


def decode(
    words: "np.ndarray[Any, np.dtype[np.uint32]]",
    predict: Predict,
    prior: Gaussians,
    grid: Grid,
    posterior: Gaussians | None = None,
) -> Received:
    """Decodes weights and labels, and the bits that the sample was made of if the posterior is known.

    Needs `pip install "graves-bayes[coding]"`.

    Args:
        words: of the message.
        predict: computes what the network expects.
        prior: of the weights.
        grid: of the weights' values.
        posterior: of the weights.

    Raises:
        ImportError: when constriction is not installed.
    """
    coder = _coder(words, seal=False)
    multiples = coder.decode(_weights(grid), *_parameters(prior, grid))
    weights = grid.values(torch.from_numpy(multiples).long())
    labels = coder.decode(_classes(), _probabilities(predict(weights)))
    borrowed = None
    if posterior is not None:
        coder.encode_reverse(multiples, _weights(grid), *_parameters(posterior, grid))
        borrowed = coder.get_compressed(unseal=True)
    return Received(weights, torch.from_numpy(labels).long(), borrowed)


def encode_fixed(
    labels: Int64[Tensor, " examples"],
    predict: Predict,
    weights: Float[Tensor, " weights"],
    prior: Gaussians,
    grid: Grid,
) -> Message:
    """Encodes given weights, such as a posterior's means, rounded to the grid, and the labels.

    `decode` reads it. A coarse grid makes it short, a fine one makes the labels cost little. Needs
    `pip install "graves-bayes[coding]"`.

    Args:
        labels: of the examples.
        predict: computes what the network expects.
        weights: to be sent.
        prior: of the weights.
        grid: of the weights' values.

    Raises:
        ImportError: when constriction is not installed.
    """
    coder = _coder(np.zeros(0, np.uint32), seal=False)
    multiples = (weights.double() / grid.width).round().clamp(-grid.most, grid.most).long()
    coder.encode_reverse(_symbols(labels), _classes(), _probabilities(predict(grid.values(multiples))))
    coder.encode_reverse(_symbols(multiples), _weights(grid), *_parameters(prior, grid))
    return Message(coder.get_compressed(), coder.num_valid_bits(), 0)


def _random_words(weights: int, generator: torch.Generator | None) -> "np.ndarray[Any, np.dtype[np.uint32]]":
    """Enough for a sample: no value has less than 2**-24 of the probability."""
    count = weights * 24 // 32 + 4
    device = torch.device("cpu") if generator is None else generator.device
    drawn = torch.randint(2**32, (count,), generator=generator, device=device)
    words: np.ndarray[Any, np.dtype[np.uint32]] = _array(drawn, torch.int64).astype(np.uint32)
    return words


def _coder(words: "np.ndarray[Any, np.dtype[np.uint32]]", seal: bool) -> Any:
    return _constriction().stream.stack.AnsCoder(words, seal=seal)


def _weights(grid: Grid) -> Any:
    return _constriction().stream.model.QuantizedGaussian(-grid.most, grid.most)


def _classes() -> Any:
    return _constriction().stream.model.Categorical(perfect=False)


def _constriction() -> Any:
    try:
        import constriction  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError('coded messages need: pip install "graves-bayes[coding]"') from error
    return constriction


def _parameters(gaussians: Gaussians, grid: Grid) -> tuple[Any, Any]:
    """Means and deviations as multiples of the grid's width."""
    mean, std = (_array(values.double() / grid.width, torch.float64) for values in gaussians)
    return mean, std


def _probabilities(log_probs: Float[Tensor, "examples classes"]) -> Any:
    return _array(log_probs.double().exp(), torch.float32)


def _symbols(values: Tensor) -> Any:
    return _array(values, torch.int32)


def _array(values: Tensor, dtype: torch.dtype) -> Any:
    return values.detach().to("cpu", dtype).contiguous().numpy()
