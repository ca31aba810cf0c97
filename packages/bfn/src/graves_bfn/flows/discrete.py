"""Discrete data: beliefs are class probabilities, kept as logits so that no class can vanish for good."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graves_bfn.flows.arrays import (
    beside,
    full_precision,
    over_classes,
    over_variables,
    real_dtype,
    scaled_noise,
    squared_norm,
)
from graves_bfn.flows.base import Estimate
from graves_bfn.flows.outputs import OutputDistribution
from graves_bfn.flows.schedules import QuadraticSchedule, Schedule, one_schedule
from graves_bfn.flows.single import SingleFlow
from graves_bfn.flows.solver_steps import discrete_correction, discrete_step

MESSAGE_SAMPLES = 10
"""Monte-Carlo messages per example in the n-step loss, as in the authors' code."""

IMPOSSIBLE = -1e4
"""ln p of a class that the network rules out, for prices of messages, which stay finite."""

CERTAIN = 60.0
"""Logit of a known class; the others have 0, and probabilities of e^-60."""


@dataclass(frozen=True)
class Categorical:
    """One of K classes per variable.

    Args:
        logits: up to a constant the logarithms of the probabilities, `(batch, *variables, K)`.
    """

    logits: Float[Tensor, "batch *variables classes"]

    @property
    def log_probabilities(self) -> Float[Tensor, "batch *variables classes"]:
        """ln p of every class."""
        return self.logits.log_softmax(-1)

    @property
    def mean(self) -> Float[Tensor, "batch *variables classes"]:
        """The probabilities."""
        return self.logits.softmax(-1)

    @property
    def mode(self) -> Int[Tensor, "batch *variables"]:
        """The most probable class."""
        return self.logits.argmax(-1)

    def sample(self, noise: Float[Tensor, "batch *variables"]) -> Int[Tensor, "batch *variables"]:
        """Classes by inversion of the distribution function at uniform numbers in [0, 1)."""
        cumulative = self.mean.cumsum(-1)
        level = (noise * cumulative[..., -1]).unsqueeze(-1)
        index = torch.searchsorted(cumulative, level, right=True).squeeze(-1)
        return index.clamp_(max=cumulative.shape[-1] - 1)

    def log_prob(self, x: Int[Tensor, "batch *variables"]) -> Float[Tensor, "batch *variables"]:
        """ln p(x) per variable."""
        return self.log_probabilities.gather(-1, x.unsqueeze(-1)).squeeze(-1)

    def tempered(self, temperature: float) -> "Categorical":
        """The logits divided by the temperature."""
        return Categorical(self.logits / temperature)


class DiscreteFlow(SingleFlow):
    """Bayesian flow for classes; data are integers 0 to K-1. Source: Graves et al. 2023, section 6.

    Beliefs are logits z, `(batch, *variables, K)`, with class probabilities theta = softmax(z). The network
    is shown theta and gives K logits. With two classes it is shown the probability of class 0 alone and
    gives one logit, that of class 1, as the authors' code does.

    Args:
        num_classes: K, at least 2.
        beta_1: beta(1), the accuracy of all messages together, on the paper's schedule. The authors'
            settings name its square root.
        receiver: what the n-step loss scores a message with. "joint" is the paper's mixture of K normal
            distributions over the whole message; "factorised" takes the K numbers of a message as
            independent, as the authors' code does: a looser bound, to compare with published tables.
        schedule: another schedule, in the place of `beta_1`.

    Raises:
        ValueError: when an argument is out of range, or not just one of `beta_1` and `schedule` is given.

    Example:
        >>> flow = DiscreteFlow(num_classes=3, beta_1=2.0)
        >>> x = torch.tensor([[0, 2, 1, 1]])
        >>> loss = flow.continuous_time_loss(lambda theta, t: torch.zeros(1, 4, 3), x, t=torch.ones(1))
        >>> round(loss.item(), 3)
        16.0
    """

    def __init__(
        self,
        num_classes: int,
        beta_1: float | None = None,
        receiver: Literal["joint", "factorised"] = "joint",
        schedule: Schedule | None = None,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, not {num_classes}")
        if receiver not in RECEIVERS:
            raise ValueError(f"receiver must be one of {sorted(RECEIVERS)}, not {receiver!r}")
        super().__init__(one_schedule("beta_1", beta_1, schedule, QuadraticSchedule))
        self.receiver = receiver
        self.num_classes = num_classes

    @property
    def beta_1(self) -> float | Tensor:
        """beta(1); `(1, last axis)` with a schedule per variable."""
        return self.beta(1.0)

    @property
    def outputs_per_variable(self) -> int:
        """One logit per class; a single one for two classes."""
        return 1 if self.num_classes == 2 else self.num_classes

    @property
    def inputs_per_variable(self) -> int:
        """One probability per class; a single one for two classes."""
        return self.outputs_per_variable

    def prior(self, shape: tuple[int, ...], *, device: torch.device | str | None = None) -> Tensor:
        """Every class equally probable."""
        return torch.zeros(*shape, self.num_classes, device=device)

    def message_noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A number per variable and class."""
        return (*shape, self.num_classes)

    def send(
        self,
        x: Int[Tensor, "batch *variables"],
        alpha: float | Tensor,
        *,
        noise: Float[Tensor, "batch *variables classes"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch *variables classes"]:
        """y ~ N(alpha (K e_x - 1), alpha K I)."""
        kind = real_dtype() if noise is None else noise.dtype
        if not isinstance(alpha, Tensor):  # filled on the device: copying a number there would wait for it
            alpha = torch.full((1,), alpha, dtype=kind, device=x.device)
        accuracy = over_classes(alpha, x.ndim + 1).to(x.device, kind, non_blocking=True)
        peak = accuracy * self.num_classes
        y = scaled_noise((*x.shape, self.num_classes), peak.sqrt(), noise, generator)
        return y.sub_(accuracy).scatter_add_(-1, x.unsqueeze(-1), peak.expand(*x.shape, 1))

    def update(
        self,
        params: Float[Tensor, "batch *variables classes"],
        y: Float[Tensor, "batch *variables classes"],
        alpha: float | Tensor,
    ) -> Float[Tensor, "batch *variables classes"]:
        """z' = z + y, which is theta' proportional to theta exp(y); the accuracy plays no part."""
        return params + y

    def sample_params(
        self,
        x: Int[Tensor, "batch *variables"],
        t: Float[Tensor, " batch"],
        *,
        noise: Float[Tensor, "batch *variables classes"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch *variables classes"]:
        """z ~ N(beta (K e_x - 1), beta K I): the same as one message of accuracy beta(t)."""
        return self.send(x, self.beta(t), noise=noise, generator=generator)

    def probabilities(
        self, params: Float[Tensor, "batch *variables classes"]
    ) -> Float[Tensor, "batch *variables classes"]:
        """theta = softmax(z)."""
        return params.softmax(-1)

    def network_inputs(
        self, params: Float[Tensor, "batch *variables classes"]
    ) -> Float[Tensor, "batch *variables inputs"]:
        """theta; for two classes the probability of class 0."""
        if self.num_classes == 2:
            return torch.sigmoid(params[..., :1] - params[..., 1:])
        return self.probabilities(params)

    def expectation(self, params: Float[Tensor, "batch *variables classes"]) -> Tensor:
        """The probability of class 1 of two, else the most probable class."""
        if self.num_classes == 2:
            return torch.sigmoid(params[..., 1] - params[..., 0])
        return params.argmax(-1)

    def estimate_inputs(self, output: OutputDistribution) -> Float[Tensor, "batch *variables inputs"]:
        """The probabilities; for two classes that of class 0."""
        p: Tensor = output.mean
        return p[..., :1] if self.num_classes == 2 else p

    def reveal(
        self,
        params: Float[Tensor, "batch *variables classes"],
        x: Int[Tensor, "batch *variables"],
        known: Bool[Tensor, "batch *variables"],
    ) -> Float[Tensor, "batch *variables classes"]:
        """Logits that leave no doubt where the data are known."""
        return torch.where(known.unsqueeze(-1), CERTAIN * self.point_mean(x).to(params), params)

    def point_mean(self, x: Int[Tensor, "batch *variables"]) -> Float[Tensor, "batch *variables classes"]:
        """One-hot vectors."""
        classes = torch.arange(self.num_classes, device=x.device)
        return (x.unsqueeze(-1) == classes).to(torch.get_default_dtype())

    def output_distribution(
        self,
        outputs: Float[Tensor, "batch *variables outputs"],
        params: Tensor,
        t: Float[Tensor, " batch"],
    ) -> Categorical:
        """Softmax of the outputs; beliefs and times play no part."""
        outputs = full_precision(outputs)
        if self.num_classes == 2:
            return Categorical(torch.cat([torch.zeros_like(outputs), outputs], -1))
        return Categorical(outputs)

    def output_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=generator, device=device, dtype=real_dtype())

    def beliefs_about(
        self,
        mean: Float[Tensor, "batch *variables classes"] | None,
        t: float,
        noise: Float[Tensor, "batch *variables classes"],
    ) -> Float[Tensor, "batch *variables classes"]:
        """z ~ N(beta (K mean - 1), beta K I)."""
        beta = self._over_classes(self.beta(t), noise)
        beliefs = (beta * self.num_classes) ** 0.5 * noise
        return beliefs if mean is None else beliefs + beta * (self.num_classes * mean - 1)

    def solve(
        self,
        params: Float[Tensor, "batch *variables classes"],
        now: Estimate,
        before: Estimate | None,
        t: float,
        noise: Float[Tensor, "batch *variables classes"] | None,
    ) -> Float[Tensor, "batch *variables classes"]:
        """A step of the logits."""
        times = [t, now.time] if before is None else [t, now.time, before.time]
        u_t, u_s, *earlier = (self._over_classes(self.beta(time), params) ** 0.5 for time in times)
        z = discrete_step(params, now.mean, u_s, u_t, noise)
        if before is None:
            return z
        u = (earlier[0], u_s, u_t)
        return z + discrete_correction(now.mean, before.mean, u, stochastic=noise is not None)

    def guide(
        self,
        unconditional: Float[Tensor, "batch *variables outputs"],
        conditional: Float[Tensor, "batch *variables outputs"],
        scale: float,
        rescale: float = 0.0,
    ) -> Float[Tensor, "batch *variables outputs"]:
        """Logits u + scale (c - u).

        Raises:
            ValueError: when `rescale` is not 0.
        """
        if rescale:
            raise ValueError(f"rescale must be 0 for classes, not {rescale}")
        guided: Tensor = super().guide(unconditional, conditional, scale)
        return guided

    def leaves(self, params: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits."""
        z = params.detach().requires_grad_()
        return z, [z]

    def nudge(self, params: Tensor, gradients: list[Tensor], s: float, t: float) -> Tensor:
        """z += K (beta(t) - beta(s)) grad."""
        alpha = self._over_classes(self.beta(t) - self.beta(s), params)
        return params + self.num_classes * alpha * gradients[0]

    def _over_classes(self, value: float | Tensor, like: Tensor) -> float | Tensor:
        return beside(over_classes(value, like.ndim), like)

    def _squared_error(self, x: Tensor, output: Categorical) -> Tensor:
        # K |e_x - p|^2 without the one-hot e_x
        p = output.mean
        error = p.scatter_add(-1, x.unsqueeze(-1), p.new_full((1,), -1.0).expand(*x.shape, 1))
        return self.num_classes * squared_norm(error)

    def _message_cost(
        self,
        x: Tensor,
        output: Categorical,
        alpha: Tensor,
        sender_noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        cost = RECEIVERS[self.receiver]
        draws = [None] * MESSAGE_SAMPLES if sender_noise is None else list(sender_noise)
        messages = (self.send(x, alpha, noise=noise, generator=generator) for noise in draws)
        log_p = output.log_probabilities.clamp(min=IMPOSSIBLE)
        total = sum(cost(x, y, log_p, alpha) for y in messages)
        assert isinstance(total, Tensor)
        return total / len(draws)

    def _clean_cost(self, x: Tensor, output: Categorical) -> Tensor:
        return -output.log_prob(x)


def joint_message_cost(
    x: Int[Tensor, "batch *variables"],
    y: Float[Tensor, "batch *variables classes"],
    log_p: Float[Tensor, "batch *variables classes"],
    alpha: Tensor,
) -> Float[Tensor, "batch *variables"]:
    """ln of sender over receiver density at y, the receiver being sum_k p_k N(alpha (K e_k - 1), alpha K I).

    The quadratic terms cancel and y_x - ln sum_k p_k exp(y_k) remains.
    """
    # the logarithm of the posterior of x over its prior; ten times as fast as logsumexp
    posterior = (log_p + y).log_softmax(-1)
    index = x.unsqueeze(-1)
    return (posterior.gather(-1, index) - log_p.gather(-1, index)).squeeze(-1)


def factorised_message_cost(
    x: Int[Tensor, "batch *variables"],
    y: Float[Tensor, "batch *variables classes"],
    log_p: Float[Tensor, "batch *variables classes"],
    alpha: Tensor,
) -> Float[Tensor, "batch *variables"]:
    """The same with a receiver that mixes two normal distributions in each of the K numbers by itself.

    In units of the density around -alpha, the one around alpha (K - 1) is exp(y + alpha - alpha K/2).
    """
    accuracy = over_variables(alpha, y.ndim - 1).unsqueeze(-1)
    ratio = y + accuracy * (1 - y.shape[-1] / 2)
    log_rest = torch.log(-torch.expm1(log_p.clamp(max=-1e-7)))
    receiver = torch.logaddexp(log_p + ratio, log_rest).sum(-1)
    return ratio.gather(-1, x.unsqueeze(-1)).squeeze(-1) - receiver


RECEIVERS = {"joint": joint_message_cost, "factorised": factorised_message_cost}
"""Prices of one message, by the kind of receiver."""
