"""Discretised data, such as pixels: the network's output is a normal distribution cut into K bins."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bfn.flows.arrays import full_precision, over_variables
from graves_bfn.flows.bins import (
    bin_centre,
    expected_centre,
    log_bin_probabilities,
    log_bin_probability,
    mode_bin,
    quantise,
)
from graves_bfn.flows.gaussian import GaussianFlow, GaussianParams
from graves_bfn.flows.implied import implied_data
from graves_bfn.flows.outputs import OutputDistribution
from graves_bfn.flows.schedules import Schedule

STD_RANGE = (1e-3, 10.0)
"""The output's standard deviation is held in this range, as in the authors' code."""

QUADRATURE_NODES = 8
"""Gauss-Hermite nodes for the integral over a message: 8 agree with 32 to float32's precision."""

CHUNK = 2**22
"""How many bin probabilities the n-step loss holds at a time."""


@dataclass(frozen=True)
class DiscretisedNormal:
    """A normal distribution per variable whose mass is gathered in the centres of K bins on [-1, 1]."""

    location: Float[Tensor, "batch *variables"]
    std: Float[Tensor, "batch *variables"]
    num_bins: int

    @property
    def mean(self) -> Float[Tensor, "batch *variables"]:
        """The expected bin centre."""
        return expected_centre(self.location, self.std, self.num_bins)

    @property
    def mode(self) -> Float[Tensor, "batch *variables"]:
        """The centre of the most probable bin."""
        index = mode_bin(self.location, self.std, self.num_bins)
        return bin_centre(index, self.num_bins, self.location.dtype)

    def sample(self, noise: Float[Tensor, "batch *variables"]) -> Float[Tensor, "batch *variables"]:
        """Bin centres from standard normal numbers: rounding a normal draw is drawing a bin."""
        return quantise(self.location + self.std * noise, self.num_bins)

    def log_prob(self, x: Float[Tensor, "batch *variables"]) -> Float[Tensor, "batch *variables"]:
        """ln p of the bins that x falls into."""
        return log_bin_probability(x, self.location, self.std, self.num_bins)

    def tempered(self, temperature: float) -> "DiscretisedNormal":
        """The normal distribution before the cut, with sqrt(temperature) times its deviation."""
        return DiscretisedNormal(self.location, self.std * math.sqrt(temperature), self.num_bins)


class DiscretisedFlow(GaussianFlow):
    """Bayesian flow for real values on a grid of bins. Source: Graves et al. 2023, section 5.

    Data are bin centres in [-1, 1]; `quantise` gets them there. The network gives two numbers per variable:
    the mean and the log standard deviation of the noise in the beliefs.

    Args:
        num_bins: K, at least 2.
        sigma_1: standard deviation of the beliefs once all messages have arrived, in (0, 1), on the paper's
            schedule.
        schedule: another schedule, in the place of `sigma_1`.

    Raises:
        ValueError: when an argument is out of range, or not just one of `sigma_1` and `schedule` is given.

    Example:
        >>> flow = DiscretisedFlow(num_bins=16, sigma_1=0.03)
        >>> x = flow.quantise(torch.rand(4, 3) * 2 - 1)
        >>> flow.reconstruction_loss(lambda mean, t: torch.zeros(4, 3, 2), x).shape
        torch.Size([4])
    """

    def __init__(self, num_bins: int, sigma_1: float | None = None, schedule: Schedule | None = None) -> None:
        super().__init__(sigma_1, schedule)
        if num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, not {num_bins}")
        self.num_bins = num_bins
        self._nodes, self._weights = _quadrature()

    @property
    def outputs_per_variable(self) -> int:
        """Two: mean and log standard deviation of the noise."""
        return 2

    def quantise(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The bin centres nearest to x."""
        return quantise(x, self.num_bins)

    def output_distribution(
        self,
        outputs: Float[Tensor, "batch *variables 2"],
        params: GaussianParams,
        t: Float[Tensor, " batch"],
    ) -> DiscretisedNormal:
        """The distribution of the data implied by that of the noise; standard normal where the scale is 0."""
        noise_mean, log_std = full_precision(outputs).unbind(-1)
        scale = self._noise_scale(t, noise_mean.ndim)
        location = implied_data(params[0], noise_mean, scale)
        std = scale * log_std.clamp(-10, 10).exp()
        std = std.masked_fill(scale == 0, 1.0).clamp(*STD_RANGE)
        return DiscretisedNormal(location, std, self.num_bins)

    def estimate_inputs(self, output: OutputDistribution) -> Float[Tensor, "batch *variables"]:
        """The expected bin centre."""
        mean: Tensor = output.mean
        return mean

    def guide(
        self,
        unconditional: Float[Tensor, "batch *variables 2"],
        conditional: Float[Tensor, "batch *variables 2"],
        scale: float,
        rescale: float = 0.0,
    ) -> Float[Tensor, "batch *variables 2"]:
        """The means as everywhere; the deviations go no further than those under the condition."""
        means = super().guide(unconditional[..., :1], conditional[..., :1], scale, rescale)
        stds = torch.lerp(unconditional[..., 1:], conditional[..., 1:], min(scale, 1.0))
        return torch.cat([means, stds], -1)

    def _squared_error(self, x: Tensor, output: DiscretisedNormal) -> Tensor:
        return (x - output.mean).square()

    def _message_cost(
        self,
        x: Tensor,
        output: DiscretisedNormal,
        alpha: Tensor,
        sender_noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        accuracy = over_variables(alpha, x.ndim)
        noise, weights = self._sender_noise(x) if sender_noise is None else _equal_weights(sender_noise)
        flat = [value.expand_as(x).flatten() for value in (x, output.location, output.std, accuracy)]
        flat_noise = noise.expand(-1, *x.shape).flatten(1)
        size = max(1, CHUNK // self.num_bins)
        costs = []
        for start in range(0, x.numel(), size):
            part = slice(start, start + size)
            some_x, location, std, some_accuracy = (value[part] for value in flat)
            some_noise = flat_noise[:, part]
            costs.append(
                _message_kl(some_x, location, std, some_accuracy, some_noise, weights, self.num_bins)
            )
        return torch.cat(costs).reshape(x.shape)

    def _sender_noise(self, x: Tensor) -> tuple[Tensor, list[float]]:
        nodes = torch.tensor(self._nodes, dtype=x.dtype).to(x.device, non_blocking=True)
        return nodes.reshape(-1, *[1] * x.ndim), self._weights

    def _clean_cost(self, x: Tensor, output: DiscretisedNormal) -> Tensor:
        return -output.log_prob(x)


def _quadrature() -> tuple[list[float], list[float]]:
    """Where to look at a standard normal number, and what each place counts."""
    from numpy.polynomial.hermite_e import hermegauss

    nodes, weights = hermegauss(QUADRATURE_NODES)
    return nodes.tolist(), (weights / math.sqrt(2 * math.pi)).tolist()


def _equal_weights(sender_noise: Tensor) -> tuple[Tensor, list[float]]:
    samples = sender_noise.shape[0]
    return sender_noise, [1 / samples] * samples


def _message_kl(
    x: Float[Tensor, " n"],
    location: Float[Tensor, " n"],
    std: Float[Tensor, " n"],
    alpha: Float[Tensor, " n"],
    noise: Float[Tensor, "samples n"],
    weights: list[float],
    num_bins: int,
) -> Float[Tensor, " n"]:
    """KL(N(x, 1/alpha) || sum_k p_k N(c_k, 1/alpha)), the expectation taken over weighted messages.

    Both densities have the same normalising constant, which cancels.
    """
    log_p = log_bin_probabilities(location, std, num_bins)
    centres = bin_centre(torch.arange(num_bins, device=x.device), num_bins, x.dtype)
    cost = torch.zeros_like(x)
    for z, weight in zip(noise, weights, strict=True):
        distance = (x + z * alpha.rsqrt()).unsqueeze(-1) - centres
        scores = torch.addcmul(log_p, alpha.unsqueeze(-1), distance.square(), value=-0.5)
        top = scores.amax(-1, keepdim=True)
        receiver = (scores - top).clamp(min=-80).exp().sum(-1).log() + top.squeeze(-1)
        cost = cost - weight * (0.5 * z.square() + receiver)
    return cost
