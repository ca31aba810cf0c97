"""Variational learning by natural gradients, as an optimizer."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from graves_bayes.layers.rank_streams import RankStreams, average_over_ranks_
from graves_bayes.layers.weight_sample import WeightSample
from graves_bayes.variational.online_newton import (
    posterior_precisions,
    posterior_stds,
    update_curvature_,
    update_mean_,
)

Closure = Callable[[], Any]


class IVON(Optimizer):
    """Learns a Gaussian posterior over all weights at about the cost of Adam.

    The parameters are the posterior's means. `step(closure)` puts a sample of the weights into them, calls
    the closure, which computes a loss and its gradients, as often as there are `samples`, puts the means back
    and moves them. Lightning's automatic optimization does just that. A loop without closures, and batches
    whose gradients are accumulated before a step, compute theirs within `sample_` and `restore_`, which
    `IVONSamples` does for Lightning's `accumulate_grad_batches`.

    The loss is a mean over examples, with no term of the prior: that is a Gaussian around 0 with precision
    `examples * weight_decay`. Clipping changes the gradients that the means learn from, and not what is
    learnt about the curvature. On several ranks each draws samples of its own, and what they say of the
    curvature is averaged; gradients are averaged by `DistributedDataParallel`, as for any optimizer.
    Gradients that a scaler for float16 has scaled are not told from others: use bfloat16.

    Args:
        params: the parameters or groups of them; options may differ between groups.
        examples: how many the training set has.
        lr: of the means.
        betas: how much of the past is kept of the gradients and of the curvature.
        weight_decay: precision of the prior by the number of examples.
        curvature: of the mean loss at first.
        samples: of the weights for each step.
        clip: bound of each weight's step, as a multiple of `lr`.
        rescale: multiply `lr` with the first `curvature + weight_decay`, so that the first steps are as long
            as those of plain descent with this `lr`.
        seed: of the samples; by default drawn from torch's global generator.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> net = torch.nn.Linear(3, 1)
        >>> optimizer = IVON(net.parameters(), examples=8)
        >>> x, y = torch.randn(8, 3), torch.randn(8, 1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (net(x) - y).square().mean()
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).isfinite()
        tensor(True)
        >>> with optimizer.sampled():
        ...     prediction = net(x)

    Source: Shen et al. 2024, "Variational learning is effective for large deep networks", algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        examples: float,
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.99999),
        weight_decay: float = 1e-4,
        curvature: float = 1.0,
        samples: int = 1,
        clip: float | None = None,
        rescale: bool = True,
        seed: int | None = None,
    ) -> None:
        _check(examples, lr, betas, weight_decay, curvature, samples, clip)
        defaults: dict[str, Any] = {
            "examples": examples,
            "lr": lr,
            "betas": tuple(betas),
            "weight_decay": weight_decay,
            "curvature": curvature,
            "clip": clip,
            "rescale": rescale,
            "seed": int(torch.randint(2**62, ())) if seed is None else seed,
            "steps": 0,
            "draws": 0,
        }
        super().__init__(params, defaults)
        self.samples = samples
        self._sample = WeightSample()
        for group in self.param_groups:
            self._prepare(group)

    @property
    def is_sampled(self) -> bool:
        """Whether the parameters hold a sample at present."""
        return self._sample.is_held

    def stds(self) -> dict[Tensor, Tensor]:
        """The posterior's standard deviation of each weight."""
        found: dict[Tensor, Tensor] = {}
        for group in self.param_groups:
            curvature = [self.state[p]["curvature"] for p in group["params"]]
            stds = posterior_stds(curvature, group["weight_decay"], group["examples"])
            found |= zip(group["params"], stds, strict=True)
        return found

    def sample_(self) -> None:
        """Puts a sample into the parameters, whose gradients will count for the next step.

        The sample depends on the seed, the rank and how many there were before.
        """
        group = self.param_groups[0]
        streams = RankStreams((group["seed"], group["draws"]))
        group["draws"] += 1
        self._put(streams.of, training=True)

    def restore_(self) -> None:
        """Puts the means back into the parameters, if they hold a sample."""
        self._sample.restore()

    @contextmanager
    def sampled(self, generator: torch.Generator | None = None) -> Iterator[None]:
        """In the block, the parameters hold a sample for evaluation, which leaves no trace in training.

        Args:
            generator: source of the sample, on the device of the parameters; by default torch's global one.

        Raises:
            RuntimeError: when the parameters hold a sample for training.
        """
        if self.is_sampled:
            raise RuntimeError(
                "sampled() was entered while the parameters held a sample; restore_() it first"
            )
        self._put(lambda device: generator, training=False)
        try:
            yield
        finally:
            self.restore_()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients.

        Args:
            set_to_none: rather than to 0.
        """
        self._sample.drop()
        super().zero_grad(set_to_none)

    def step(self, closure: Closure | None = None) -> Any:
        """Samples weights, computes gradients, and moves the posterior.

        Args:
            closure: computes the loss and its gradients, and returns the loss; None when gradients have been
                computed between `sample_` and `restore_`.

        Returns:
            What the closure returned: with several samples, the mean if they are tensors, else the last one.

        Raises:
            RuntimeError: when there are gradients that did not come from a sample.
        """
        loss = None if closure is None else self._evaluate(closure)
        self.restore_()
        self._check_sampled()
        average_over_ranks_([self._sample.product(p) for p in self._all() if p.grad is not None])
        for group in self.param_groups:
            self._step(group)
        self._sample.forget()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state; parameters that hold a sample get their means back before.

        Args:
            state_dict: what `state_dict` returned.
        """
        self.restore_()
        self._sample.forget()
        super().load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters.

        Args:
            param_group: with `params`, and options that differ from those of the other groups.
        """
        super().add_param_group(param_group)
        if hasattr(self, "_sample"):
            self._prepare(self.param_groups[-1])

    def _all(self) -> list[Any]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _prepare(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            self.state[parameter] = {
                "momentum": torch.zeros_like(parameter),
                "curvature": torch.full_like(parameter, group["curvature"]),
            }
        self._sample.listen(group["params"])

    def _put(self, generator: Callable[[torch.device], torch.Generator | None], training: bool) -> None:
        """Puts a sample into the parameters that learn, which may be more than at first."""
        self._sample.restore()
        self._sample.listen(self._all())
        stds = {p: std for p, std in self.stds().items() if p.requires_grad}
        self._sample.put(stds, generator, training)

    def _evaluate(self, closure: Closure) -> Any:
        """Calls the closure with each sample; afterwards gradients are those of the mean over them."""
        self._sample.share = 1 / self.samples
        try:
            with torch.enable_grad():
                return self._evaluate_one(closure) if self.samples == 1 else self._evaluate_several(closure)
        except BaseException:
            self.restore_()
            self._sample.forget()
            raise

    def _evaluate_one(self, closure: Closure) -> Any:
        if not self.is_sampled:
            self.sample_()
        return closure()

    def _evaluate_several(self, closure: Closure) -> Any:
        before = {p: p.grad for p in self._all()}
        totals = {p: torch.zeros_like(p) for p in self._all()}
        losses = []
        for number in range(self.samples):
            if number or not self.is_sampled:
                self.sample_()
            for parameter, gradient in before.items():
                parameter.grad = None if gradient is None else gradient.clone()
            losses.append(closure())
            self._sample.keeps = True
            for parameter, total in totals.items():
                if parameter.grad is not None:
                    total.add_(parameter.grad, alpha=1 / self.samples)
        for parameter, total in totals.items():
            parameter.grad = None if parameter.grad is None else total
        return torch.stack(losses).mean(0) if isinstance(losses[0], Tensor) else losses[-1]

    def _check_sampled(self) -> None:
        if self._sample.unsampled or not self._sample.count:
            raise RuntimeError(
                "IVON: gradients were computed without a sample of the weights. Call step(closure), or "
                "compute them between sample_() and restore_(). With accumulate_grad_batches of Lightning "
                "add the callback IVONSamples"
            )

    @torch.no_grad()
    def _step(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        group["steps"] += 1
        momentum = [self.state[p]["momentum"] for p in parameters]
        curvature = [self.state[p]["curvature"] for p in parameters]
        decay, examples, (beta1, beta2) = group["weight_decay"], group["examples"], group["betas"]
        torch._foreach_lerp_(momentum, [p.grad for p in parameters], 1 - beta1)
        estimate = [self._sample.product(p) for p in parameters]
        torch._foreach_mul_(estimate, posterior_precisions(curvature, decay, examples))
        update_curvature_(curvature, estimate, decay, beta2)
        lr = group["lr"] * ((group["curvature"] + decay) if group["rescale"] else 1)
        update_mean_(parameters, momentum, curvature, decay, lr, 1 - beta1 ** group["steps"], group["clip"])


def _check(
    examples: float,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    curvature: float,
    samples: int,
    clip: float | None,
) -> None:
    for name, value in (("examples", examples), ("curvature", curvature), ("clip", clip)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}")
    for name, value in (("lr", lr), ("weight_decay", weight_decay)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, not {value}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers from 0 to below 1, not {betas}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
