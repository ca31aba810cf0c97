"""Bayesian Flow Networks as the equations stand, one tensor for each symbol: what to compare with.

Classes are one-hot vectors and beliefs about them probabilities; all K bins are differences of normal
distribution functions; mixtures are `torch.distributions`. Source: Graves et al. 2023, sections 4 to 6.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from parts.bfn_cases import STEPS, Case
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

MESSAGES = 10
"""Monte-Carlo messages in the n-step loss."""


class PlainGaussian:
    """Continuous and discretised data."""

    def __init__(self, case: Case, x: Tensor, outputs: Tensor) -> None:
        self.case, self.x, self.outputs = case, x, outputs
        self.sigma_1 = case.accuracy
        self.mean, self.precision, self.message = torch.zeros_like(x), 1.0, 0

    def column(self, t: Tensor) -> Tensor:
        return t.reshape(-1, *[1] * (self.x.ndim - 1))

    def beliefs(self, t: Tensor) -> Tensor:
        gamma = 1 - self.sigma_1 ** (2 * t)
        return gamma * self.x + (gamma * (1 - gamma)).sqrt() * torch.randn_like(self.x)

    def output(self, mean: Tensor, t: Tensor) -> Normal:
        """What the network says about the data: for continuous data only the mean has a meaning."""
        gamma = 1 - self.sigma_1 ** (2 * t.clamp(min=1e-6))
        spread = ((1 - gamma) / gamma).sqrt()
        location = mean / gamma - spread * self.outputs[..., 0]
        location = torch.where(t < 1e-6, torch.zeros_like(location), location)
        if self.case.kind == "continuous":
            return Normal(location.clamp(-1, 1), 1.0, validate_args=False)
        std = spread * self.outputs[..., 1].clamp(-10, 10).exp()
        std = torch.where(t < 1e-6, torch.ones_like(std), std).clamp(1e-3, 10)
        return Normal(location, std, validate_args=False)

    def centres(self) -> Tensor:
        return (2 * torch.arange(self.case.levels) + 1) / self.case.levels - 1

    def probabilities(self, output: Normal) -> Tensor:
        """p_k = G(right edge of bin k) - G(left edge of bin k)."""
        edges = torch.arange(1, self.case.levels) * (2 / self.case.levels) - 1
        inner = Normal(output.loc.unsqueeze(-1), output.scale.unsqueeze(-1), validate_args=False).cdf(edges)
        below = torch.cat([torch.zeros_like(inner[..., :1]), inner, torch.ones_like(inner[..., :1])], -1)
        return below[..., 1:] - below[..., :-1]

    def expected(self, output: Normal) -> Tensor:
        if self.case.kind == "continuous":
            return output.loc
        return (self.probabilities(output) * self.centres()).sum(-1)

    def loss(self) -> Tensor:
        if self.case.messages:
            return self.message_loss()
        t = self.column(torch.rand(self.case.batch))
        output = self.output(self.beliefs(t), t)
        error = (self.x - self.expected(output)).square()
        return (-math.log(self.sigma_1) * self.sigma_1 ** (-2 * t) * error).mean()

    def message_loss(self) -> Tensor:
        i = self.column(torch.randint(1, STEPS + 1, (self.case.batch,)))
        t = (i - 1) / STEPS
        alpha = self.sigma_1 ** (-2 * i / STEPS) * (1 - self.sigma_1 ** (2 / STEPS))
        weights = self.probabilities(self.output(self.beliefs(t), t))
        sender = Normal(self.x, alpha.rsqrt(), validate_args=False)
        around = Normal(self.centres(), alpha.rsqrt().unsqueeze(-1), validate_args=False)
        receiver = MixtureSameFamily(Categorical(weights, validate_args=False), around, validate_args=False)
        y = sender.sample((MESSAGES,))
        return STEPS * (sender.log_prob(y) - receiver.log_prob(y)).mean()

    def step(self) -> object:
        self.message += 1
        t = self.column(torch.full((self.case.batch,), (self.message - 1) / STEPS))
        output = self.output(self.mean, t)
        if self.case.kind == "continuous":
            draw = output.loc
        else:
            index = ((output.sample() + 1) / 2 * self.case.levels).floor().long()
            draw = self.centres()[index.clamp(0, self.case.levels - 1)]
        alpha = self.sigma_1 ** (-2 * self.message / STEPS) * (1 - self.sigma_1 ** (2 / STEPS))
        y = draw + alpha**-0.5 * torch.randn_like(draw)
        self.mean = (self.precision * self.mean + alpha * y) / (self.precision + alpha)
        self.precision += alpha
        return self.mean

    def final(self) -> Tensor:
        t = self.column(torch.ones(self.case.batch))
        output = self.output(self.beliefs(t), t)
        if self.case.kind == "continuous":
            return output.loc
        return self.centres()[self.probabilities(output).argmax(-1)]


class PlainDiscrete:
    """Discrete data with more than two classes."""

    def __init__(self, case: Case, x: Tensor, outputs: Tensor) -> None:
        self.case, self.x, self.outputs = case, x, outputs
        self.theta, self.message = torch.full((*case.shape, case.levels), 1 / case.levels), 0

    def send(self, x: Tensor, alpha: Tensor | float) -> Tensor:
        """y ~ N(alpha (K e_x - 1), alpha K I)."""
        e_x, K = F.one_hot(x, self.case.levels).float(), self.case.levels
        return alpha * (K * e_x - 1) + (alpha * K) ** 0.5 * torch.randn_like(e_x)

    def beliefs(self, t: Tensor) -> Tensor:
        beta = self.case.accuracy * t.square().reshape(-1, *[1] * self.x.ndim)
        return self.send(self.x, beta).softmax(-1)

    def output(self, theta: Tensor) -> Tensor:
        """The network is shown theta; what it answers does not depend on it here."""
        return self.outputs.softmax(-1)

    def loss(self) -> Tensor:
        if self.case.messages:
            return self.message_loss()
        t = torch.rand(self.case.batch)
        p = self.output(self.beliefs(t))
        error = (F.one_hot(self.x, self.case.levels).float() - p).square().sum(-1)
        return (self.case.levels * self.case.accuracy * t.unsqueeze(-1) * error).mean()

    def message_loss(self) -> Tensor:
        K = self.case.levels
        i = torch.randint(1, STEPS + 1, (self.case.batch,))
        p = self.output(self.beliefs((i - 1) / STEPS))
        alpha = (self.case.accuracy * (2 * i - 1) / STEPS**2).reshape(-1, 1, 1)
        scale = (alpha * K).sqrt().unsqueeze(-1) * torch.eye(K)
        sender = MultivariateNormal(alpha * (K * F.one_hot(self.x, K) - 1), scale_tril=scale)
        means = alpha.unsqueeze(-1) * (K * torch.eye(K) - 1)
        around = MultivariateNormal(means, scale_tril=scale.unsqueeze(-3))
        receiver = MixtureSameFamily(Categorical(p), around)
        y = sender.sample((MESSAGES,))
        return STEPS * (sender.log_prob(y) - receiver.log_prob(y)).mean()

    def step(self) -> object:
        self.message += 1
        draw = Categorical(self.output(self.theta)).sample()
        y = self.send(draw, self.case.accuracy * (2 * self.message - 1) / STEPS**2)
        theta = self.theta * y.exp()
        self.theta = theta / theta.sum(-1, keepdim=True)
        return self.theta

    def final(self) -> Tensor:
        return self.output(self.beliefs(torch.ones(self.case.batch))).argmax(-1)


def plain(case: Case, x: Tensor, outputs: Tensor) -> PlainGaussian | PlainDiscrete:
    """The side that suits the case."""
    return (PlainDiscrete if case.kind == "discrete" else PlainGaussian)(case, x, outputs)
