"""Data whose entropy is known, and networks that know all there is to know about them."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from graves_bfn import ContinuousFlow, DiscreteFlow, DiscretisedFlow, MixedFlow, QuadraticSchedule

SIGMAS = 4.0
"""How many standard errors an estimate may be off."""


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of independent values and its standard error."""
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def total_variation(classes: Tensor, expected: Tensor) -> float:
    """Half the distance between the shares of drawn classes and their probabilities."""
    shares = torch.bincount(classes.flatten(), minlength=len(expected)).double() / classes.numel()
    return float(0.5 * (shares - expected).abs().sum())


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

    def information(self, x: Tensor) -> Tensor:
        """-ln p of sequences."""
        steps = self.transition[x[:, :-1], x[:, 1:]].log().sum(-1)
        return -self.start[x[:, 0]].log() - steps

    def pair_distance(self, x: Tensor) -> float:
        """Total variation between the neighbours in sequences and those of the chain."""
        pairs = self.num_classes * x[:, :-1] + x[:, 1:]
        return total_variation(pairs, (self.start[:, None] * self.transition).flatten())

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
        beta = self._beta(t)
        return (beta.sqrt() * (mean * (1 + 1 / beta) - self._guess(mean, beta))).unsqueeze(-1)

    def _beta(self, t: Tensor) -> Tensor:
        beta = self.flow.beta(t.double())
        return beta if beta.ndim == 2 else beta[:, None]

    def _guess(self, mean: Tensor, beta: Tensor) -> Tensor:
        observed = mean * (1 + 1 / beta)
        noise = torch.diag_embed((1 / beta).expand(len(mean), 3))
        gain = self.covariance @ torch.linalg.inv(self.covariance + noise)
        return (gain @ observed.unsqueeze(-1)).squeeze(-1)


class MixedSource:
    """A class, a coin that depends on it, and a normal number that depends on both; all exactly known.

    The coin is a discretised variable with two bins, because a normal distribution cut into two bins is any
    distribution over two values.
    """

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(4, 2, generator=generator, dtype=torch.float64)
        self.p = logits.flatten().softmax(-1).reshape(4, 2)
        self.means = torch.randn(4, 2, generator=generator, dtype=torch.float64)
        self.std, self.generator = 0.3, generator
        beta, accuracy = 400.0, 1 / self.std**2
        self.flow = MixedFlow(
            {
                "class": DiscreteFlow(4, 12.0),
                "coin": DiscretisedFlow(2, schedule=QuadraticSchedule(30.0)),
                "number": ContinuousFlow(
                    bounds=None,
                    schedule=QuadraticSchedule(beta),
                    reconstruction_std=(accuracy + beta) ** -0.5,  # of the posterior at t = 1
                ),
            }
        )

    def draw(self, count: int) -> dict[str, Tensor]:
        """Fields of shape `(count, 1)`."""
        both = torch.multinomial(self.p.flatten(), count, replacement=True, generator=self.generator)
        noise = torch.randn(count, generator=self.generator, dtype=torch.float64)
        number = self.means.flatten()[both] + self.std * noise
        x = {"class": both // 2, "coin": (both % 2 - 0.5).double(), "number": number}
        return {name: values[:, None] for name, values in x.items()}

    def information(self, x: Mapping[str, Tensor]) -> Tensor:
        """-ln p of examples; a density for the number."""
        kind, coin, number = x["class"][:, 0], (x["coin"][:, 0] > 0).long(), x["number"][:, 0]
        scaled = (number - self.means[kind, coin]) / self.std
        return 0.5 * scaled**2 + math.log(self.std * math.sqrt(2 * math.pi)) - self.p[kind, coin].log()

    def network(self, inputs: Mapping[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        """The posterior of each field, by summing over all classes and coins."""
        flows, t = self.flow.flows, t.double()
        coin_beta, beta = flows["coin"].beta(t)[:, None], flows["number"].beta(t)[:, None]
        coin, number = inputs["coin"].double(), inputs["number"].double()
        accuracy, pull = 1 / self.std**2, (1 + beta) * number
        m = self.means.expand(len(t), 4, 2)
        fit = (pull[..., None] * m - beta[..., None] * m**2 / 2) * accuracy / (accuracy + beta[..., None])
        side = (1 + coin_beta) * coin * torch.tensor([-0.5, 0.5])
        log_p = self.p.log() + inputs["class"].double().log().transpose(1, 2) + side[:, None] + fit
        joint = log_p.flatten(1).softmax(-1).reshape(-1, 4, 2)
        guess = (joint * (accuracy * m + pull[..., None]) / (accuracy + beta[..., None])).sum((1, 2))
        location = torch.special.ndtri(joint.sum(1).clamp(1e-12, 1 - 1e-12)[:, 1:])  # of a deviation of 1
        return {
            "class": joint.sum(2).log()[:, None],
            "coin": torch.stack([self._noise(coin, location, coin_beta), 0.5 * coin_beta.log()], -1),
            "number": self._noise(number, guess[:, None], beta)[..., None],
        }

    @staticmethod
    def _noise(mean: Tensor, guess: Tensor, beta: Tensor) -> Tensor:
        return beta.sqrt() * (mean * (1 + 1 / beta) - guess)
