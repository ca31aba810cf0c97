"""Continuous data: the network predicts the noise in the beliefs, and its output is a single point."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from graves_bfn.flows.arrays import beside, full_precision, over_variables
from graves_bfn.flows.bins import log_bin_probability
from graves_bfn.flows.gaussian import GaussianFlow, GaussianParams
from graves_bfn.flows.implied import UNBOUNDED, implied_data, implied_error
from graves_bfn.flows.outputs import OutputDistribution
from graves_bfn.flows.schedules import Schedule


@dataclass(frozen=True)
class Delta:
    """All mass on one point per variable: the data that beliefs and the noise predicted in them imply.

    Args:
        belief: the mean of the beliefs.
        noise: what the network says.
        scale: of the noise; see `implied_data`.
        bounds: what the point is clipped to.
    """

    belief: Float[Tensor, "batch *variables"]
    noise: Float[Tensor, "batch *variables"]
    scale: Tensor
    bounds: tuple[float, float]

    @property
    def mean(self) -> Float[Tensor, "batch *variables"]:
        """The point."""
        return implied_data(self.belief, self.noise, self.scale, self.bounds)

    @property
    def mode(self) -> Float[Tensor, "batch *variables"]:
        """The point."""
        return self.mean

    def sample(self, noise: Tensor) -> Float[Tensor, "batch *variables"]:
        """The point; the noise is not needed."""
        return self.mean

    def tempered(self, temperature: float) -> "Delta":
        """The point: what is certain stays so."""
        return self


class ContinuousFlow(GaussianFlow):
    """Bayesian flow for real-valued data. Source: Graves et al. 2023, section 4.

    The network gives one number per variable, the noise in the beliefs. A point has no density, so the
    reconstruction loss needs a width: a normal density (nats are then those of a density), or, for data on
    a grid of bins such as pixels, the probability of the bin under that normal.

    Args:
        sigma_1: standard deviation of the beliefs once all messages have arrived, in (0, 1), on the paper's
            schedule.
        bounds: range of the data; the predicted data are clipped to it. None when it has no bounds.
        num_bins: number of equal bins on [-1, 1] if the data are bin centres; None for real numbers.
        reconstruction_std: standard deviation for the reconstruction loss; `sigma_1` by default. The
            authors use 0.7 `sigma_1` for 16 bins.
        schedule: another schedule, in the place of `sigma_1`.

    Raises:
        ValueError: when an argument is out of range, or not just one of `sigma_1` and `schedule` is given.

    Example:
        >>> flow = ContinuousFlow(sigma_1=0.1)
        >>> x = torch.rand(4, 3) * 2 - 1
        >>> flow.continuous_time_loss(lambda mean, t: torch.zeros(4, 3, 1), x).shape
        torch.Size([4])
    """

    def __init__(
        self,
        sigma_1: float | None = None,
        bounds: tuple[float, float] | None = (-1.0, 1.0),
        num_bins: int | None = None,
        reconstruction_std: float | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(sigma_1, schedule)
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"bounds must be (low, high) with low < high, not {bounds}")
        if num_bins is not None and num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, not {num_bins}")
        if reconstruction_std is not None and not reconstruction_std > 0:
            raise ValueError(f"reconstruction_std must be positive, not {reconstruction_std}")
        self.bounds = bounds
        self.num_bins = num_bins
        self.reconstruction_std = self.sigma_1 if reconstruction_std is None else reconstruction_std

    @property
    def outputs_per_variable(self) -> int:
        """One: the predicted noise."""
        return 1

    def output_distribution(
        self,
        outputs: Float[Tensor, "batch *variables 1"],
        params: GaussianParams,
        t: Float[Tensor, " batch"],
    ) -> Delta:
        """The data implied by the predicted noise, clipped to the bounds; 0 before `T_MIN`."""
        noise = full_precision(outputs).squeeze(-1)
        return Delta(params[0], noise, self._noise_scale(t, noise.ndim), self.bounds or UNBOUNDED)

    def estimate_inputs(self, output: OutputDistribution) -> Float[Tensor, "batch *variables"]:
        """The point."""
        mean: Tensor = output.mean
        return mean

    def output_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """None: a point is certain."""
        return torch.empty(0, device=device)

    def continuous_cost(self, x: Tensor, output: Delta, t: Tensor, where: Any) -> Float[Tensor, " batch"]:
        """Per example: beta'(t)/2 times the squared error, summed over the variables that count."""
        weight = over_variables(self.schedule.beta_rate(t), x.ndim)
        return implied_error(output.belief, output.noise, output.scale, output.bounds, x, weight, where)

    def _squared_error(self, x: Tensor, output: Delta) -> Tensor:
        return functional.mse_loss(output.mean, x.to(output.mean), reduction="none")

    def _message_cost(
        self,
        x: Tensor,
        output: Delta,
        alpha: Tensor,
        sender_noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        return 0.5 * over_variables(alpha, x.ndim) * self._squared_error(x, output)

    def _clean_cost(self, x: Tensor, output: Delta) -> Tensor:
        std = torch.as_tensor(beside(over_variables(self.reconstruction_std, x.ndim), output.mean))
        if self.num_bins is not None:
            return -log_bin_probability(x, output.mean, std.to(x).expand_as(x), self.num_bins)
        return self._squared_error(x, output) / (2 * std**2) + 0.5 * torch.log(2 * math.pi * std**2)
