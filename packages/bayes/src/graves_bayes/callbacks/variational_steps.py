"""What happens to a posterior around backward passes and steps of the optimizers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from graves_bayes.callbacks.scale_optimizers import ScaleOptimizer
from graves_bayes.layers.posterior import WeightPosterior


class VariationalSteps:
    """Completes gradients before each step of an optimizer, and moves scales and prior after it.

    Args:
        posterior: over the weights.
        optimizers: the user's.
        lr_scale: learning rate of the scales by that of the means.
        samples: of the weights per batch.
        after: what is called after each step.

    Example:
        >>> from graves_bayes.layers.sampled import posterior_over
        >>> net = torch.nn.Linear(2, 1)
        >>> posterior, sgd = posterior_over(net), torch.optim.SGD(net.parameters(), lr=0.1)
        >>> steps = VariationalSteps(posterior, [sgd], lr_scale=1.0, samples=1, after=lambda: None)
        >>> posterior.sample_()
        >>> net(torch.ones(1, 2)).sum().backward()
        >>> steps.complete(sgd, share=0.1)
        >>> sgd.step()
        >>> steps.updates
        1
    """

    def __init__(
        self,
        posterior: WeightPosterior,
        optimizers: Sequence[Optimizer],
        lr_scale: float,
        samples: int,
        after: Callable[[], None],
    ) -> None:
        self.posterior = posterior
        self.samples = samples
        self.updates = 0
        self._after = after
        self.optimizers = [ScaleOptimizer(optimizer, posterior, lr_scale) for optimizer in optimizers]
        self._ready: set[int] = set()
        self._handles = [optimizer.register_step_post_hook(self._stepped) for optimizer in optimizers]

    @torch.no_grad()
    def complete(
        self,
        optimizer: Optimizer,
        share: float | Tensor,
        mean_over_ranks: Callable[[Tensor], Tensor] = lambda gradients: gradients,
    ) -> None:
        """Puts the means back and makes gradients of the description length out of those of the error.

        Args:
            optimizer: which is about to make a step.
            share: what the complexity loss is multiplied with.
            mean_over_ranks: reduces a vector of gradients.
        """
        self.posterior.restore_()
        members = self._of(optimizer).members
        gradients = [self.posterior.parameters_of_network[i].grad for i in members]
        if all(gradient is None for gradient in gradients):
            return
        self._ready.add(id(optimizer))
        scales = self._of(optimizer).scales
        if self.samples > 1:
            both = [*gradients, *(scale.grad for scale in scales)]
            torch._foreach_div_([gradient for gradient in both if gradient is not None], self.samples)
        _reduce(scales, mean_over_ranks)
        if self.posterior.estimator == "squared":
            self.posterior.convert_squares_(members)
        self.posterior.add_complexity_gradient_(share, members)

    def close(self) -> None:
        """Leaves the optimizers alone from now on."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, the optimizers' states and gradients that wait for a step."""
        pending = [None if scale.grad is None else scale.grad.cpu() for scale in self.posterior.log_sigma]
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"updates": self.updates, "optimizers": optimizers, "gradients": pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there.

        Args:
            state: of `state_dict`.
        """
        self.updates = state["updates"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for scale, gradient in zip(self.posterior.log_sigma, state["gradients"], strict=True):
            scale.grad = None if gradient is None else gradient.to(scale)

    def _of(self, optimizer: Optimizer) -> ScaleOptimizer:
        return next(own for own in self.optimizers if own.of is optimizer)

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if id(optimizer) not in self._ready:
            return
        self._ready.discard(id(optimizer))
        self._of(optimizer).step()
        self.posterior.apply_mask_()
        self.posterior.refit_prior_()
        self.updates += 1
        self._after()


def _reduce(scales: Sequence[Tensor], mean_over_ranks: Callable[[Tensor], Tensor]) -> None:
    """Replaces the gradients of scales by their means over ranks, all at once."""
    gradients = [scale.grad for scale in scales if scale.grad is not None]
    if not gradients:
        return
    flat = mean_over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
