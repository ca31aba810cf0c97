"""Optimizers of a posterior's scales, which follow those of the means."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from graves_bayes.layers.posterior import WeightPosterior


class ScaleOptimizer:
    """Moves the scales of those weights that one of the user's optimizers moves.

    It is an optimizer of the same class and settings without weight decay, which would pull every scale
    to 1. Its learning rate is that of the user's first group, also where a schedule changes it, by a factor.
    It is apart from the user's, so that schedulers, clipping and the keys of checkpoints know nothing of it.

    Args:
        optimizer: the user's.
        posterior: over the weights.
        lr_scale: the factor.

    Raises:
        ValueError: when the optimizer evaluates its closure several times in a step.

    Example:
        >>> from graves_bayes.layers.sampled import posterior_over
        >>> net = torch.nn.Linear(2, 2)
        >>> adam = torch.optim.AdamW(net.parameters(), lr=0.1)
        >>> ScaleOptimizer(adam, posterior_over(net), lr_scale=2.0).members
        [0, 1]
    """

    def __init__(self, optimizer: Optimizer, posterior: WeightPosterior, lr_scale: float) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                "VariationalInference needs an optimizer that takes one gradient for a step, not LBFGS"
            )
        moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
        means = enumerate(posterior.parameters_of_network)
        self.members = [index for index, p in means if id(p) in moved]
        self.lr_scale = lr_scale
        self.of = optimizer
        scales = [posterior.log_sigma[i] for i in self.members] if len(posterior.log_sigma) else []
        self.scales: list[Tensor] = [scale for scale in scales if scale.requires_grad]
        self.optimizer = _like(optimizer, self.scales) if self.scales else None

    def step(self) -> None:
        """Moves the scales and forgets their gradients."""
        if self.optimizer is None:
            return
        for group in self.optimizer.param_groups:
            group["lr"] = self.of.param_groups[0]["lr"] * self.lr_scale
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What the optimizer remembers."""
        return {} if self.optimizer is None else self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there.

        Args:
            state: of `state_dict`.
        """
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state)


def _like(optimizer: Optimizer, scales: list[Tensor]) -> Optimizer:
    """An optimizer of the same class, with the settings of the first group."""
    known = inspect.signature(type(optimizer)).parameters
    settings = {key: value for key, value in optimizer.param_groups[0].items() if key in known}
    settings.pop("params")
    settings |= {"weight_decay": 0.0} if "weight_decay" in known else {}
    return type(optimizer)(scales, **settings)
