"""One step of the samplers that solve an equation: beliefs as a stochastic or an ordinary process in time.

`s` marks the time before the step, `t` the time after it; beta is the accuracy of all messages up to then, a
number or one per variable. First order holds the network's estimate fixed over the step; second order lets it
change as it did over the step before.

Source: Xue et al. 2024, "Unifying Bayesian flow networks and diffusion models", written in beta: with the
signal gamma = beta/(1 + beta), half the log of the signal-to-noise ratio is lambda = ln(beta)/2.
"""

import torch
from torch import Tensor

from graves_bfn.flows.arrays import Real, beside


def gaussian_step(mean: Tensor, x: Tensor, beta_s: Real, beta_t: Real, noise: Tensor | None) -> Tensor:
    """Means after a step with the estimated data x fixed; without noise, of the ordinary equation.

    With noise this is exactly the paper's sampler, Bayes' rule for the message x + noise/sqrt(alpha).
    """
    kept = (1 + beta_s) / (1 + beta_t)
    alpha = beta_t - beta_s
    if noise is None:
        ratio = (beta_t / beta_s) ** 0.5
        pull = (beta_t - (beta_t * beta_s) ** 0.5) / (1 + beta_t)
        return beside(kept * ratio, mean) * mean + beside(pull, x) * x
    moved = beside(kept, mean) * mean + beside(alpha / (1 + beta_t), x) * x
    return moved + beside(alpha**0.5 / (1 + beta_t), noise) * noise


def gaussian_extrapolation(x: Tensor, before: Tensor, betas: tuple[Real, Real, Real]) -> Tensor:
    """The estimate in the middle of the step to come, from the last two; betas of (before, now, next)."""
    previous, now, following = (torch.as_tensor(beta, dtype=torch.float64) for beta in betas)
    half = 0.5 * (following / now).log() / (now / previous).log()
    return x + beside(half if half.ndim else float(half), x) * (x - before)


def discrete_step(z: Tensor, p: Tensor, u_s: Real, u_t: Real, noise: Tensor | None) -> Tensor:
    """Logits after a step in which the estimated probabilities p stay fixed; u = sqrt(beta).

    With noise this is the paper's sampler with probabilities in the place of a drawn class.
    """
    drift = p.shape[-1] * p - 1
    if noise is None:
        return beside(u_t / u_s, z) * z + beside(u_t * (u_t - u_s), z) * drift
    accuracy = u_t**2 - u_s**2
    return z + beside(accuracy, z) * drift + beside((p.shape[-1] * accuracy) ** 0.5, z) * noise


def discrete_correction(p: Tensor, before: Tensor, u: tuple[Real, Real, Real], stochastic: bool) -> Tensor:
    """What the change of p adds to the logits over a step; u = sqrt(beta) at (before, now, next)."""
    previous, now, following = u
    weight = (2 * following + now) / 3 if stochastic else following / 2
    slope = (following - now) ** 2 * weight * p.shape[-1] / (now - previous)
    return beside(slope, p) * (p - before)
