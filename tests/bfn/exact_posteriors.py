"""Data whose entropy is known, and networks that know all there is to know about them."""

import math

import torch
from torch import Tensor

from graves_bfn import ContinuousFlow


class MarkovChain:
    """A random stationary chain of classes, with the exact posterior as a network."""

    def __init__(self, num_classes: int, length: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        logits = 1.5 * torch.randn(num_classes, num_classes, generator=generator, dtype=torch.float64)
        self.transition = logits.softmax(-1)
        self.start = torch.linalg.matrix_power(self.transition, 500)[0]
        self.num_classes, self.length, self.generator = num_classes, length, generator

    @property
    def entropy(self) -> float:
        """Entropy of a sequence in nats."""
        step = -(self.start @ (self.transition * self.transition.log()).sum(-1))
        return float(-(self.start * self.start.log()).sum() + (self.length - 1) * step)

    def draw(self, count: int) -> Tensor:
        """Sequences, `(count, length)`."""
        x = [torch.multinomial(self.start, count, replacement=True, generator=self.generator)]
        for _ in range(self.length - 1):
            x.append(torch.multinomial(self.transition[x[-1]], 1, generator=self.generator).squeeze(-1))
        return torch.stack(x, -1)

    def network(self, theta: Tensor, t: Tensor) -> Tensor:
        """ln p(x_d | beliefs about all variables), by the forward-backward algorithm."""
        if self.num_classes == 2:
            theta = torch.cat([theta, 1 - theta], -1)
        evidence = theta.double().clamp_min(1e-300)
        forward, backward = [self.start.expand(len(theta), -1)], [torch.ones_like(evidence[:, 0])]
        for d in range(self.length - 1):
            step = (forward[-1] * evidence[:, d]) @ self.transition
            forward.append(step / step.sum(-1, keepdim=True))
            step = (backward[-1] * evidence[:, self.length - 1 - d]) @ self.transition.T
            backward.append(step / step.sum(-1, keepdim=True))
        posterior = torch.stack(forward, 1) * evidence * torch.stack(backward[::-1], 1)
        log_p = (posterior / posterior.sum(-1, keepdim=True)).clamp_min(1e-300).log()
        return log_p[..., 1:] - log_p[..., :1] if self.num_classes == 2 else log_p


class CorrelatedNormal:
    """Zero-mean normal vectors, with the linear network that denoises them perfectly."""

    def __init__(self, flow: ContinuousFlow, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        root = torch.randn(3, 3, generator=generator, dtype=torch.float64) + torch.eye(3)
        self.covariance = root @ root.T
        self.flow, self.root, self.generator = flow, root, generator

    def entropy(self, observed_accuracy: float | None = None) -> float:
        """Differential entropy in nats, or what is left of it after an observation of that accuracy."""
        covariance = self.covariance
        if observed_accuracy is not None:
            covariance = torch.linalg.inv(torch.linalg.inv(covariance) + observed_accuracy * torch.eye(3))
        return float(0.5 * torch.logdet(2 * math.pi * math.e * covariance))

    def draw(self, count: int) -> Tensor:
        """Vectors, `(count, 3)`."""
        noise = torch.randn(count, 3, generator=self.generator, dtype=torch.float64)
        return noise @ self.root.T

    def network(self, mean: Tensor, t: Tensor) -> Tensor:
        """The noise in the beliefs that the best guess of the data implies."""
        gamma = (1 - self.flow.sigma_1 ** (2 * t.double()))[:, None]
        guess = self._guess(mean, t)
        return ((mean / gamma - guess) / ((1 - gamma) / gamma).sqrt()).unsqueeze(-1)

    def _guess(self, mean: Tensor, t: Tensor) -> Tensor:
        beta = (self.flow.sigma_1 ** (-2 * t.double()) - 1)[:, None, None]
        observed = mean * (1 + 1 / beta[..., 0])
        gain = self.covariance @ torch.linalg.inv(self.covariance + torch.eye(3) / beta)
        return (gain @ observed.unsqueeze(-1)).squeeze(-1)
