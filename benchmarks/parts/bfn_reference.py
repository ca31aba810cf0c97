"""Bayesian Flow Networks the way the authors' released code computes them, written anew for comparison.

Times, means and precisions have the full shape of the data; classes are one-hot vectors of integers and
beliefs about them probabilities, multiplied by exp(y); all K bins are differences of normal distribution
functions; draws, densities and mixtures come from `torch.distributions`; n-step losses average over ten
messages, and a message about K classes counts as K mixtures, one for each of its numbers.

Source: Graves et al. 2023, sections 4 to 6; the released code's conventions.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from parts.bfn_cases import STEPS, Case
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

MESSAGES = 10
"""Monte-Carlo messages in the n-step loss."""

T_MIN = 1e-6
"""Before this time the output does not depend on the network."""


class ReferenceGaussian:
    """Continuous and discretised data."""

    def __init__(self, case: Case, x: Tensor, outputs: Tensor) -> None:
        self.case, self.x, self.outputs, self.variables = case, x, outputs, 1
        self.sigma_1 = case.accuracy
        self.mean, self.precision, self.message = torch.zeros_like(x), torch.ones_like(x), 0

    def everywhere(self, t: Tensor) -> Tensor:
        """A value per example at every variable."""
        return t.reshape(-1, *[1] * (self.x.ndim - 1)) * torch.ones_like(self.x)

    def beliefs(self, t: Tensor) -> tuple[Tensor, Tensor]:
        gamma = 1 - self.sigma_1 ** (2 * t)
        mean = gamma * self.x
        std = (gamma * (1 - gamma)).sqrt()
        return mean + std * torch.randn_like(mean), 1 / (1 - gamma)

    def output(self, mean: Tensor, t: Tensor) -> Normal | Tensor:
        """What the network says about the data: a point for continuous data, else a normal distribution."""
        t, flat = t.flatten(1).unsqueeze(-1), mean.flatten(1).unsqueeze(-1)
        noise = self.outputs.flatten(1, -2)
        early = t < T_MIN
        gamma = 1 - self.sigma_1 ** (2 * t)
        gamma = torch.where(early, torch.ones_like(gamma), gamma)  # or gradients would be 0 times infinity
        spread = ((1 - gamma) / gamma).sqrt()
        location = flat / gamma - spread * noise[..., :1]
        location = torch.where(early, torch.zeros_like(location), location).reshape(self.x.shape)
        if self.case.kind == "continuous":
            return location.clamp(-1, 1)
        std = spread * noise[..., 1:].clamp(-10, 10).exp()
        std = torch.where(early, torch.ones_like(std), std).reshape(self.x.shape).clamp(1e-3, 10)
        return Normal(location, std, validate_args=False)

    def centres(self) -> Tensor:
        return (2 * torch.arange(self.case.levels) + 1) / self.case.levels - 1

    def probabilities(self, output: Normal) -> Tensor:
        """p_k = G(right edge of bin k) - G(left edge of bin k), the bins in the last axis."""
        edges = torch.arange(1, self.case.levels) * (2 / self.case.levels) - 1
        inner = output.cdf(edges.reshape(-1, *[1] * self.x.ndim))
        ends = torch.zeros_like(inner[:1]), torch.ones_like(inner[:1])
        below = torch.cat([ends[0], inner, ends[1]])
        return (below[1:] - below[:-1]).movedim(0, -1)

    def expected(self, output: Normal | Tensor) -> Tensor:
        if isinstance(output, Tensor):
            return output
        return (self.probabilities(output) * self.centres()).sum(-1)

    def loss(self) -> Tensor:
        if self.case.messages:
            return self.message_loss()
        t = self.everywhere(torch.rand(self.case.batch))
        mean, _ = self.beliefs(t)
        error = (self.x - self.expected(self.output(mean, t))).square()
        return (-math.log(self.sigma_1) * error / self.sigma_1 ** (2 * t)).mean()

    def accuracy(self, message: Tensor | int) -> Tensor | float:
        return self.sigma_1 ** (-2 * message / STEPS) * (1 - self.sigma_1 ** (2 / STEPS))

    def message_loss(self) -> Tensor:
        i = self.everywhere(torch.randint(1, STEPS + 1, (self.case.batch,)))
        t = (i - 1) / STEPS
        std = self.accuracy(i).rsqrt()
        weights = self.probabilities(self.output(self.beliefs(t)[0], t))
        sender = Normal(self.x, std, validate_args=False)
        around = Normal(self.centres(), std.unsqueeze(-1), validate_args=False)
        receiver = MixtureSameFamily(Categorical(weights, validate_args=False), around, validate_args=False)
        y = sender.sample((MESSAGES,))
        return STEPS * (sender.log_prob(y) - receiver.log_prob(y)).mean()

    def step(self) -> object:
        self.message = self.message % STEPS + 1
        t = torch.full_like(self.x, (self.message - 1) / STEPS)
        draw = self.output(self.mean, t)
        if isinstance(draw, Normal):
            index = ((draw.sample() + 1) / 2 * self.case.levels).floor().long()
            draw = self.centres()[index.clamp(0, self.case.levels - 1)]
        alpha = self.accuracy(torch.full_like(self.x, self.message))
        y = Normal(draw, alpha**-0.5).sample()
        precision = self.precision + alpha
        self.mean = (self.precision * self.mean + alpha * y) / precision
        self.precision = precision
        return self.mean

    def final(self) -> Tensor:
        t = torch.ones_like(self.x)
        output = self.output(self.beliefs(t)[0], t)
        return output if isinstance(output, Tensor) else self.centres()[self.probabilities(output).argmax(-1)]


class ReferenceDiscrete:
    """Discrete data with more than two classes."""

    def __init__(self, case: Case, x: Tensor, outputs: Tensor) -> None:
        self.case, self.x, self.outputs, self.variables = case, x, outputs, 1
        self.theta, self.message = torch.full((*case.shape, case.levels), 1 / case.levels), 0

    def sender(self, x: Tensor, alpha: Tensor | float) -> tuple[Tensor, Tensor | float]:
        """Mean and standard deviation of y ~ N(alpha (K e_x - 1), alpha K I)."""
        K = self.case.levels
        return alpha * (K * F.one_hot(x, K) - 1), (alpha * K) ** 0.5

    def beliefs(self, t: Tensor) -> Tensor:
        """theta, at times for every variable."""
        beta = (self.case.accuracy * t.clamp(max=1 - 1e-6).square()).unsqueeze(-1)
        mean, std = self.sender(self.x, beta)
        y = mean + std * torch.randn_like(mean)
        theta = y.softmax(-1)
        return torch.where(beta.sqrt() < 1e-10, torch.full_like(theta, 1 / self.case.levels), theta)

    def output(self, theta: Tensor) -> Categorical:
        """The network is shown 2 theta - 1; what it answers does not depend on it here."""
        self.shown = 2 * theta - 1
        return Categorical(logits=self.outputs, validate_args=False)

    def everywhere(self, t: Tensor) -> Tensor:
        return t.reshape(-1, *[1] * (self.x.ndim - 1)) * torch.ones(self.x.shape)

    def loss(self) -> Tensor:
        if self.case.messages:
            return self.message_loss()
        t = self.everywhere(torch.rand(self.case.batch))
        error = F.one_hot(self.x, self.case.levels) - self.output(self.beliefs(t)).probs
        return self.case.levels * self.case.accuracy * (t * error.square().sum(-1)).mean()

    def message_loss(self) -> Tensor:
        """Each of the K numbers of a message by a mixture over all K classes."""
        K = self.case.levels
        i = self.everywhere(torch.randint(1, STEPS + 1, (self.case.batch,)))
        p = self.output(self.beliefs((i - 1) / STEPS)).probs
        alpha = (self.case.accuracy * (2 * i - 1) / STEPS**2).unsqueeze(-1)
        mean, std = self.sender(self.x, alpha)
        sender = Normal(mean, std.expand_as(mean), validate_args=False)
        means, std = self.sender(torch.arange(K), alpha.unsqueeze(-1))
        around = Normal(means, std.expand_as(means))
        receiver = MixtureSameFamily(Categorical(p.unsqueeze(-2).expand(*p.shape, K)), around)
        y = sender.sample((MESSAGES,))
        return STEPS * (sender.log_prob(y) - receiver.log_prob(y)).sum(-1).mean()

    def step(self) -> object:
        self.message = self.message % STEPS + 1
        draw = self.output(self.theta).sample()
        mean, std = self.sender(draw, self.case.accuracy * (2 * self.message - 1) / STEPS**2)
        theta = self.theta * Normal(mean, std).sample().exp()
        self.theta = theta / theta.sum(-1, keepdim=True)
        return self.theta

    def final(self) -> Tensor:
        return self.output(self.beliefs(torch.ones(self.x.shape))).probs.argmax(-1)


def reference(case: Case, x: Tensor, outputs: Tensor) -> ReferenceGaussian | ReferenceDiscrete:
    """The side that suits the case."""
    return (ReferenceDiscrete if case.kind == "discrete" else ReferenceGaussian)(case, x, outputs)
