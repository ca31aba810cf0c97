"""A linear layer with learned noise on its weights."""

import math
from collections.abc import Callable
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from graves_bayes.layers.kept import Kept
from graves_bayes.layers.noisy_weight import factorised_weight, is_traced
from graves_bayes.noise.draws import FactorisedNoise, IndependentNoise, Noise, NoiseKind, draw_noise
from graves_bayes.noise.forms import (
    NoisyWeights,
    materialised,
    sampled_bias,
    sampled_weight,
    thin_products,
)

INDEPENDENT_SIGMA = 0.017
PARAMETERS = 4
FEW_ROWS = 16
"""Up to so many rows, two thin products cost less than forming the matrix once."""
FEW_TRAINED_ROWS = 2
"""The same where gradients are wanted."""


class NoisyLinear(nn.Module):
    """A linear layer whose weights and biases are mu + sigma * eps, with mu and sigma learned.

    The noise eps is drawn at construction and stays as it is until `resample` draws another or `zero` removes
    it: switching between training and evaluation mode does not change it. It is neither a parameter nor a
    buffer: it is not in the `state_dict`, other processes do not overwrite it, and `to(device)` and copies
    take it along. Noise that is replaced before `backward` is still the noise of the gradient, unless
    activation checkpointing computes the layer again.

    Of forms that give the same values, the cheapest is computed: with gradients, the noisy matrix is formed;
    without, two products with thin noise, or, after `hold()`, one product with a matrix that is kept.

    The means are called `weight` and `bias`, so that checkpoints of `nn.Linear` fit but for the sigmas.

    Args:
        in_features: p, number of inputs.
        out_features: q, number of outputs.
        kind: `"factorised"` noise draws p + q numbers, `"independent"` noise one for each weight.
        sigma0: with factorised noise, all sigmas begin at sigma0 / sqrt(p); with independent noise they begin
            at 0.017.
        bias: whether to add (noisy) biases.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> layer = NoisyLinear(4, 3)
        >>> x = torch.ones(2, 4)
        >>> first = layer(x)
        >>> bool(torch.equal(layer(x), first))
        True
        >>> layer.resample()
        >>> bool(torch.equal(layer(x), first))
        False

    Source: Fortunato et al. 2018.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kind: NoiseKind = "factorised",
        sigma0: float = 0.5,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check(in_features, out_features, kind, sigma0)
        self.in_features = in_features
        self.out_features = out_features
        self.kind = kind
        self.sigma0 = sigma0
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.weight_sigma = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.bias_sigma = nn.Parameter(torch.empty(out_features)) if bias else None
        self._noise: Noise | None = None
        self._holding = False
        self._held: Kept[tuple[Tensor, Tensor | None]] | None = None
        self.reset_parameters()
        self.resample()

    @property
    def initial_sigma(self) -> float:
        """Where all sigmas begin."""
        return self.sigma0 / math.sqrt(self.in_features) if self.kind == "factorised" else INDEPENDENT_SIGMA

    @property
    def noise(self) -> Noise | None:
        """The noise at hand, or None for no noise; it may be set, and is moved to the device of the weights.

        Raises:
            TypeError: when noise of the other kind is given.
            ValueError: when its shapes are not those of the layer.
        """
        return self._noise

    @noise.setter
    def noise(self, noise: Noise | None) -> None:
        if noise is not None:
            self._check_noise(noise)
            noise = type(noise)(*(part.to(self.weight) for part in noise))
        self._noise, self._holding, self._held = noise, False, None

    def reset_parameters(self) -> None:
        """Draws the means anew and sets the sigmas to their initial value."""
        bound = math.sqrt((1 if self.kind == "factorised" else 3) / self.in_features)
        with torch.no_grad():
            for mean, sigma in ((self.weight, self.weight_sigma), (self.bias, self.bias_sigma)):
                if mean is not None and sigma is not None:
                    mean.uniform_(-bound, bound)
                    sigma.fill_(self.initial_sigma)

    def resample(self, generator: torch.Generator | None = None, count: int | None = None) -> None:
        """Draws new noise.

        Args:
            generator: source of the draws; by default torch's global one.
            count: draw noise for each row of a batch of so many rows, such as the environments of a vector of
                them; by default one noise is for all rows. With independent noise, this takes a matrix for
                each row.

        Raises:
            ValueError: when count is less than 1.
        """
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        with torch.inference_mode(False):  # training refuses tensors of inference mode
            like = self.weight.detach()
            self.noise = draw_noise(self.kind, self.in_features, self.out_features, count, like, generator)

    def hold(self) -> None:
        """Says that the noise will be used many times: without gradients, the noisy matrix is kept.

        It is formed again when parameters change, so this is a matter of speed alone. It ends with the noise.
        Noise for each row is used as before.
        """
        self._holding = True

    @property
    def holding(self) -> bool:
        """Whether `hold` was called for the noise at hand."""
        return self._holding

    def zero(self) -> None:
        """Removes the noise: the layer is linear with its means, until it is resampled."""
        self.noise = None

    @property
    def weights(self) -> NoisyWeights:
        """The parameters."""
        return NoisyWeights(self.weight, self.weight_sigma, self.bias, self.bias_sigma)

    def forward(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The outputs with the noise at hand.

        Args:
            inputs: where rows have noise of their own, the first axis is that of the rows.

        Raises:
            ValueError: when there is noise for another number of rows.
        """
        noise = self._noise
        if noise is None:
            return linear(inputs, self.weight, self.bias)
        if noise[1].ndim == 2:
            return self._each_row(inputs, noise)
        gradients = self._needs_gradients(inputs)
        if not gradients and self._may_keep():
            return linear(inputs, *self._kept(noise))
        if isinstance(noise, IndependentNoise):
            return materialised(inputs, self.weights, noise)
        rows = inputs.numel() // self.in_features
        if rows <= (FEW_TRAINED_ROWS if gradients else FEW_ROWS):
            return thin_products(inputs, self.weights, noise)
        weight = factorised_weight(self.weights, noise)
        return linear(inputs, weight, sampled_bias(self.weights, noise))

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.in_features}, {self.out_features}, kind={self.kind!r}, sigma0={self.sigma0}, "
            f"bias={self.bias is not None}"
        )

    def _each_row(self, inputs: Tensor, noise: Noise) -> Tensor:
        if inputs.ndim < 2 or len(inputs) != len(noise[1]):
            raise ValueError(
                f"the noise is for {len(noise[1])} rows, and the inputs have the shape "
                f"{tuple(inputs.shape)}; resample(count=None) draws one noise for all rows"
            )
        if isinstance(noise, FactorisedNoise):
            return thin_products(inputs, self.weights, noise)
        return materialised(inputs, self.weights, noise)

    def _needs_gradients(self, inputs: Tensor) -> bool:
        return torch.is_grad_enabled() and (
            inputs.requires_grad or any(part is not None and part.requires_grad for part in self.weights)
        )

    def _may_keep(self) -> bool:
        """Whether a matrix may be kept; of parametrised weights, it could become old unnoticed."""
        return self._holding and len(self._parameters) == PARAMETERS and not is_traced(self.weight)

    def _kept(self, noise: Noise) -> tuple[Tensor, Tensor | None]:
        """The noisy matrix and biases, formed anew where parameters have changed."""
        if self._held is None or not self._held.is_fresh(self._parameters.values()):
            with torch.inference_mode(False), torch.no_grad():
                made = sampled_weight(self.weights, noise), sampled_bias(self.weights, noise)
                self._held = Kept(made, self._parameters.values())
        return self._held.made

    def _check_noise(self, noise: Noise) -> None:
        wanted = FactorisedNoise if self.kind == "factorised" else IndependentNoise
        if not isinstance(noise, wanted):
            raise TypeError(f"noise must be {wanted.__name__}, not {type(noise).__name__}")
        p, q = self.in_features, self.out_features
        last = ((p,), (q,)) if self.kind == "factorised" else ((q, p), (q,))
        rows = noise[1].shape[:-1]
        shapes = [tuple(part.shape) for part in noise]
        if len(rows) > 1 or shapes != [(*rows, *shape) for shape in last]:
            raise ValueError(f"noise must have the shapes {last}, perhaps with rows before, not {shapes}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "NoisyLinear":
        """Moves the noise with the parameters; noise that was never more than a shape is drawn."""
        noise, was_meta = self._noise, self.weight.is_meta
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._held = None
        if noise is not None and was_meta:
            self.resample(count=len(noise[1]) if noise[1].ndim == 2 else None)
        elif noise is not None:
            self._noise = type(noise)(*(fn(part) for part in noise))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave out what is only kept for speed."""
        return self.__dict__ | {"_held": None}


def _check(in_features: int, out_features: int, kind: str, sigma0: float) -> None:
    for name, value in (("in_features", in_features), ("out_features", out_features)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if kind not in get_args(NoiseKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(NoiseKind))}, not {kind!r}")
    if not 0 <= sigma0 < math.inf:
        raise ValueError(f"sigma0 must be at least 0 and finite, not {sigma0}")
