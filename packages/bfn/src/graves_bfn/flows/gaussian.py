"""Real-valued beliefs: each variable is believed to be normal, and messages are normal around it."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_bfn.flows.arrays import beside, normal_noise, over_variables, real_dtype, scaled_noise
from graves_bfn.flows.base import Estimate
from graves_bfn.flows.schedules import ExponentialSchedule, Schedule, one_schedule
from graves_bfn.flows.single import SingleFlow
from graves_bfn.flows.solver_steps import gaussian_extrapolation, gaussian_step

T_MIN = 1e-6
"""Before this time the network's output is not used: the formulas divide by beta(t), which starts at 0."""

BETA_MIN = 1e-30
"""Below this accuracy neither: its inverse would overflow in float32."""


class GaussianParams(NamedTuple):
    """Normal beliefs: `mean` like the data; `precision` (1/variance) broadcasts over it."""

    mean: Tensor
    precision: Tensor


class GaussianFlow(SingleFlow):
    """The part that continuous and discretised data share. Source: Graves et al. 2023, section 4.

    With the precision rho = 1 + beta and the signal gamma = beta/(1 + beta).

    Args:
        sigma_1: standard deviation of the beliefs once all messages have arrived, in (0, 1), on the paper's
            schedule.
        schedule: another schedule, in the place of `sigma_1`.

    Raises:
        ValueError: when `sigma_1` is out of range, or not just one of the two is given.
    """

    def __init__(self, sigma_1: float | None, schedule: Schedule | None = None) -> None:
        super().__init__(one_schedule("sigma_1", sigma_1, schedule, ExponentialSchedule))

    @property
    def sigma_1(self) -> float | Tensor:
        """Standard deviation of the beliefs at t = 1; `(1, last axis)` with a schedule per variable."""
        std: float | Tensor = (1 + self.beta(1.0)) ** -0.5
        return std

    @property
    def inputs_per_variable(self) -> int:
        """One: the mean of the beliefs. Their precision is a function of the time."""
        return 1

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
        if not isinstance(alpha, Tensor):
            return torch.add(x, noise, alpha=alpha**-0.5)
        return x + beside(over_variables(alpha, x.ndim) ** -0.5, x) * noise

    def update(
        self, params: tuple[Tensor, Tensor], y: Float[Tensor, "batch *variables"], alpha: float | Tensor
    ) -> GaussianParams:
        """rho' = rho + alpha; mu' = (rho mu + alpha y)/rho'. Takes any pair of mean and precision."""
        mean, precision = params
        alpha = beside(over_variables(alpha, mean.ndim), precision)
        updated = precision + alpha
        weight = (alpha / updated).to(torch.promote_types(mean.dtype, y.dtype))
        return GaussianParams(torch.lerp(mean.to(weight), y.to(weight), weight), updated)

    def sample_params(
        self,
        x: Float[Tensor, "batch *variables"],
        t: Float[Tensor, " batch"],
        *,
        noise: Float[Tensor, "batch *variables"] | None = None,
        generator: torch.Generator | None = None,
    ) -> GaussianParams:
        """mu ~ N(gamma x, gamma (1 - gamma)); rho = 1 + beta(t)."""
        beta = over_variables(self.beta(t), x.ndim)
        precision = 1 + beta
        std = (beta.sqrt() / precision).to(torch.promote_types(beta.dtype, x.dtype))
        spread = scaled_noise(x.shape, std, noise, generator)
        return GaussianParams(spread.addcmul_(x, beta / precision), precision)

    def network_inputs(self, params: GaussianParams) -> Float[Tensor, "batch *variables"]:
        """The mean of the beliefs."""
        return params[0]

    def expectation(self, params: GaussianParams) -> Float[Tensor, "batch *variables"]:
        """The mean of the beliefs."""
        return params[0]

    def reveal(
        self,
        params: GaussianParams,
        x: Float[Tensor, "batch *variables"],
        known: Bool[Tensor, "batch *variables"],
    ) -> GaussianParams:
        """The data as means where they are known; the precision stays that of the time."""
        return GaussianParams(torch.where(known, x.to(params[0]), params[0]), params[1])

    def point_mean(self, x: Float[Tensor, "batch *variables"]) -> Float[Tensor, "batch *variables"]:
        """The data themselves."""
        return x

    def output_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=generator, device=device, dtype=real_dtype())

    def beliefs_about(
        self,
        mean: Float[Tensor, "batch *variables"] | None,
        t: float,
        noise: Float[Tensor, "batch *variables"],
    ) -> GaussianParams:
        """mu ~ N(gamma mean, gamma (1 - gamma)); rho = 1 + beta(t)."""
        beta = self.beta(t)
        beliefs = beside(beta**0.5 / (1 + beta), noise) * noise
        if mean is not None:
            beliefs = beliefs + beside(beta / (1 + beta), noise) * mean
        return self._beliefs(beliefs, beta)

    def solve(
        self,
        params: GaussianParams,
        now: Estimate,
        before: Estimate | None,
        t: float,
        noise: Float[Tensor, "batch *variables"] | None,
    ) -> GaussianParams:
        """A step of the mean; the precision follows from the time."""
        beta_s, beta_t = self.beta(now.time), self.beta(t)
        x = now.mean
        if before is not None:
            x = gaussian_extrapolation(x, before.mean, (self.beta(before.time), beta_s, beta_t))
        return self._beliefs(gaussian_step(params[0], x, beta_s, beta_t, noise), beta_t)

    def guide(
        self,
        unconditional: Float[Tensor, "batch *outputs"],
        conditional: Float[Tensor, "batch *outputs"],
        scale: float,
        rescale: float = 0.0,
    ) -> Float[Tensor, "batch *outputs"]:
        """u + scale (c - u), brought back to the standard deviation of c by the share `rescale`."""
        guided = torch.lerp(unconditional, conditional, scale)
        if not rescale:
            return guided
        others = tuple(range(1, guided.ndim))
        ratio = conditional.std(others, keepdim=True) / guided.std(others, keepdim=True).clamp(min=1e-12)
        return guided * (rescale * ratio + 1 - rescale)

    def leaves(self, params: GaussianParams) -> tuple[GaussianParams, list[Tensor]]:
        """The means."""
        mean = params[0].detach().requires_grad_()
        return GaussianParams(mean, params[1]), [mean]

    def nudge(self, params: GaussianParams, gradients: list[Tensor], s: float, t: float) -> GaussianParams:
        """mu += (beta(t) - beta(s))/rho(t)^2 grad."""
        beta_s, beta_t = self.beta(s), self.beta(t)
        weight = beside((beta_t - beta_s) / (1 + beta_t) ** 2, params[0])
        return GaussianParams(params[0] + weight * gradients[0], params[1])

    def _beliefs(self, mean: Tensor, beta: float | Tensor) -> GaussianParams:
        ones = mean.new_ones((len(mean), *[1] * (mean.ndim - 1)))
        return GaussianParams(mean, ones * (1 + beside(beta, mean)))

    def _noise_scale(self, t: Float[Tensor, " batch"], ndim: int) -> Tensor:
        """sqrt((1 - gamma)/gamma) = beta^(-1/2), for broadcasting; 0 before `T_MIN` and below `BETA_MIN`."""
        beta = self.beta(t)
        scale = over_variables(beta.rsqrt().masked_fill(beta < BETA_MIN, 0.0), ndim)
        return scale.masked_fill(over_variables(t < T_MIN, ndim), 0.0)
