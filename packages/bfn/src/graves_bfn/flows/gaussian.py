"""Real-valued beliefs: each variable is believed to be normal, and messages are normal around it."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bfn.flows.base import Estimate, Flow, Real, normal_noise, over_variables
from graves_bfn.flows.solver_steps import gaussian_extrapolation, gaussian_step

T_MIN = 1e-6
"""Before this time the network's output is not used: the formulas divide by gamma(t), which starts at 0."""


class GaussianParams(NamedTuple):
    """Normal beliefs: `mean` like the data; `precision` (1/variance) broadcasts over it."""

    mean: Tensor
    precision: Tensor


def expm1(x: Real) -> Real:
    """exp(x) - 1 without cancellation, for numbers and tensors."""
    return torch.expm1(x) if isinstance(x, Tensor) else math.expm1(x)


def signal(t: Real, sigma_1: float) -> Real:
    """gamma(t) = beta/(1 + beta) = 1 - sigma_1^(2t): how much of the data the mean of the beliefs holds."""
    return -expm1(2 * math.log(sigma_1) * t)


def data_mean(
    mean: Float[Tensor, "batch *variables"],
    noise: Float[Tensor, "batch *variables"],
    t: Float[Tensor, " batch"],
    sigma_1: float,
) -> tuple[Float[Tensor, "batch *variables"], Float[Tensor, "batch *ones"]]:
    """The data that beliefs and predicted noise imply, and the scale of that noise.

    x = mu/gamma - sqrt((1 - gamma)/gamma) eps. Times before `T_MIN` are treated as `T_MIN`; callers
    overrule the result there.

    Source: Graves et al. 2023, section 4.4.
    """
    late = t.clamp(min=T_MIN)
    gamma = signal(late, sigma_1)
    scale = over_variables(torch.sqrt(sigma_1 ** (2 * late) / gamma), mean)
    return mean / over_variables(gamma, mean) - scale * noise, scale


class GaussianFlow(Flow):
    """The part that continuous and discretised data share. Source: Graves et al. 2023, section 4.

    Args:
        sigma_1: standard deviation of the beliefs once all messages have arrived, in (0, 1).

    Raises:
        ValueError: when `sigma_1` is out of range.
    """

    def __init__(self, sigma_1: float) -> None:
        if not 0 < sigma_1 < 1:
            raise ValueError(f"sigma_1 must lie in (0, 1), not {sigma_1}")
        self.sigma_1 = sigma_1

    @property
    def inputs_per_variable(self) -> int:
        """One: the mean of the beliefs. Their precision is a function of the time."""
        return 1

    def beta(self, t: Real) -> Real:
        """beta(t) = sigma_1^(-2t) - 1."""
        return expm1(-2 * math.log(self.sigma_1) * t)

    def beta_rate(self, t: Real) -> Real:
        """beta'(t) = -2 ln(sigma_1) sigma_1^(-2t)."""
        rate: Real = -2 * math.log(self.sigma_1) * self.sigma_1 ** (-2 * t)
        return rate

    def alpha(self, i: Real, n: int) -> Real:
        """alpha_i = sigma_1^(-2i/n) (1 - sigma_1^(2/n))."""
        step: Real = self.sigma_1 ** (-2 * i / n) * signal(1 / n, self.sigma_1)
        return step

    def prior(self, shape: tuple[int, ...], *, device: torch.device | str | None = None) -> GaussianParams:
        """Standard normal beliefs."""
        ones = (shape[0], *[1] * (len(shape) - 1))
        return GaussianParams(torch.zeros(shape, device=device), torch.ones(ones, device=device))

    def message_noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A number per variable."""
        return shape

    def send(
        self,
        x: Float[Tensor, "batch *variables"],
        alpha: float | Tensor,
        *,
        noise: Float[Tensor, "batch *variables"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch *variables"]:
        """y ~ N(x, 1/alpha)."""
        noise = normal_noise(x.shape, noise, generator, x.device)
        return x + over_variables(alpha**-0.5, x) * noise

    def update(
        self, params: tuple[Tensor, Tensor], y: Float[Tensor, "batch *variables"], alpha: float | Tensor
    ) -> GaussianParams:
        """rho' = rho + alpha; mu' = (rho mu + alpha y)/rho'. Takes any pair of mean and precision."""
        mean, precision = params
        alpha = over_variables(alpha, mean)
        updated = precision + alpha
        return GaussianParams(mean + alpha / updated * (y - mean), updated)

    def sample_params(
        self,
        x: Float[Tensor, "batch *variables"],
        t: Float[Tensor, " batch"],
        *,
        noise: Float[Tensor, "batch *variables"] | None = None,
        generator: torch.Generator | None = None,
    ) -> GaussianParams:
        """mu ~ N(gamma x, gamma (1 - gamma)); rho = 1 + beta(t)."""
        noise = normal_noise(x.shape, noise, generator, x.device)
        gamma, rest = signal(t, self.sigma_1), self.sigma_1 ** (2 * t)
        mean = over_variables(gamma, x) * x + over_variables(torch.sqrt(gamma * rest), x) * noise
        precision = over_variables(1 / rest, x)
        return GaussianParams(mean, precision)

    def network_inputs(self, params: GaussianParams) -> Float[Tensor, "batch *variables"]:
        """The mean of the beliefs."""
        return params[0]

    def expectation(self, params: GaussianParams) -> Float[Tensor, "batch *variables"]:
        """The mean of the beliefs."""
        return params[0]

    def output_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=generator, device=device)

    def uninformed(self, noise: Float[Tensor, "batch *variables"], t: float) -> GaussianParams:
        """mu ~ N(0, gamma (1 - gamma)); rho = 1 + beta(t)."""
        gamma = signal(t, self.sigma_1)
        return self._beliefs(math.sqrt(gamma * (1 - gamma)) * noise, t)

    def solve(
        self,
        params: GaussianParams,
        now: Estimate,
        before: Estimate | None,
        t: float,
        noise: Float[Tensor, "batch *variables"] | None,
    ) -> GaussianParams:
        """A step of the mean; the precision follows from the time."""
        gamma_s, gamma_t = signal(now.time, self.sigma_1), signal(t, self.sigma_1)
        x = now.mean
        if before is not None:
            gammas = (signal(before.time, self.sigma_1), gamma_s, gamma_t)
            x = gaussian_extrapolation(x, before.mean, gammas)
        return self._beliefs(gaussian_step(params[0], x, gamma_s, gamma_t, noise), t)

    def _beliefs(self, mean: Tensor, t: float) -> GaussianParams:
        precision = mean.new_full((len(mean), *[1] * (mean.ndim - 1)), 1 + self.beta(t))
        return GaussianParams(mean, precision)
