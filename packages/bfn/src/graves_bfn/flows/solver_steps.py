"""One step of the fast samplers: beliefs that solve a stochastic or an ordinary differential equation.

Plain numbers are times' functions: gamma (signal) for normal beliefs, u = sqrt(beta) for classes. `s` marks
the time before the step, `t` the time after it. First order holds the network's estimate fixed over the step;
second order lets it change as it did over the step before.

Source: Xue et al. 2024, "Unifying Bayesian flow networks and diffusion models".
"""

import math

from torch import Tensor


def log_snr(gamma: float) -> float:
    """lambda = ln(gamma / sqrt(gamma (1 - gamma))): half the log of the signal-to-noise ratio."""
    return 0.5 * math.log(gamma / (1 - gamma))


def gaussian_step(mean: Tensor, x: Tensor, gamma_s: float, gamma_t: float, noise: Tensor | None) -> Tensor:
    """Means after a step with the estimated data x fixed; without noise, of the ordinary equation.

    With noise this is exactly the paper's sampler.
    """
    h = log_snr(gamma_t) - log_snr(gamma_s)
    std_s, std_t = (math.sqrt(gamma * (1 - gamma)) for gamma in (gamma_s, gamma_t))
    if noise is None:
        return std_t / std_s * mean - gamma_t * math.expm1(-h) * x
    kept = -math.expm1(-2 * h)
    return std_t / std_s * math.exp(-h) * mean + gamma_t * kept * x + std_t * math.sqrt(kept) * noise


def gaussian_extrapolation(x: Tensor, before: Tensor, gammas: tuple[float, float, float]) -> Tensor:
    """The estimate in the middle of the step to come, from the last two; gammas of (before, now, next)."""
    previous, now, following = (log_snr(gamma) for gamma in gammas)
    return x + 0.5 * (following - now) / (now - previous) * (x - before)


def discrete_step(z: Tensor, p: Tensor, u_s: float, u_t: float, noise: Tensor | None) -> Tensor:
    """Logits after a step in which the estimated probabilities p stay fixed.

    With noise this is the paper's sampler with probabilities in the place of a drawn class.
    """
    drift = p.shape[-1] * p - 1
    if noise is None:
        return u_t / u_s * z + u_t * (u_t - u_s) * drift
    accuracy = u_t**2 - u_s**2
    return z + accuracy * drift + math.sqrt(p.shape[-1] * accuracy) * noise


def discrete_correction(p: Tensor, before: Tensor, u: tuple[float, float, float], stochastic: bool) -> Tensor:
    """What the change of p adds to the logits over a step; u at the times (before, now, next)."""
    previous, now, following = u
    slope = p.shape[-1] * (p - before) / (now - previous)
    weight = (2 * following + now) / 3 if stochastic else following / 2
    return (following - now) ** 2 * weight * slope
