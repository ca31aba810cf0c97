"""How far a learner's gradient is from that of backpropagation through time."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graves_rnn_training.callbacks.models import LearningModel, preserved_random
from graves_rnn_training.layers.learners.base import Learner
from graves_rnn_training.layers.learners.exact import exact_learner

Gradient = Float[Tensor, " weights"]


class GradientQuality(Callback):
    """Compares a learner's gradient with the exact one, on training batches now and then.

    Both are gradients of the summed loss of the batch's sequences with respect to the weights of the learner,
    for sequences that start anew and weights that stay as they are. Logs

    - `gradient/relative_bias`, the length of (mean estimate - exact), divided by that of the exact gradient;
      what the mean over so few draws is off by chance is taken out;
    - `gradient/relative_std`, likewise the root of the summed variance of one draw: 0 for learners that draw
      nothing;
    - `gradient/cosine`, between an estimate and the exact gradient, averaged over draws.

    Training does not notice: neither weights, gradients, streams nor random numbers change. The influence is
    carried once more in the meantime. Works in any LightningModule that `LearningModel` describes.

    Args:
        every_n_batches: compare in the first training batch of an epoch, and after every so many.
        draws: estimates per comparison, at least 2; two are made of learners that draw nothing.
        seed: of the draws.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> GradientQuality(every_n_batches=500, draws=32).draws
        32
    """

    def __init__(self, every_n_batches: int = 100, draws: int = 8, seed: int = 0) -> None:
        if every_n_batches < 1:
            raise ValueError(f"every_n_batches must be at least 1, not {every_n_batches}")
        if draws < 2:
            raise ValueError(f"draws must be at least 2, not {draws}")
        self.every_n_batches = every_n_batches
        self.draws = draws
        self.seed = seed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the module lacks something.
            ValueError: when no weight of its learner is trained.
        """
        model = LearningModel(pl_module, type(self).__name__)
        if not any(weight.requires_grad for weight in model.learner.parameters()):
            raise ValueError("GradientQuality: no weight of the learner is trained, so it has no gradient")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compares and logs."""
        if batch_idx % self.every_n_batches == 0:
            model = LearningModel(pl_module, type(self).__name__)
            exact = gradient(model, exact_learner(model.learner), batch)
            estimates = torch.stack(list(self._estimates(model, batch)))
            pl_module.log_dict(quality(estimates, exact), sync_dist=True, batch_size=1)

    def _estimates(self, model: LearningModel, batch: Any) -> Iterator[Gradient]:
        """As many estimates as wanted, or two if they are equal."""
        with preserved_random(model.learner):
            torch.manual_seed(self.seed)
            first = gradient(model, model.learner, batch)
            yield first
            for draw in range(1, self.draws):
                estimate = gradient(model, model.learner, batch)
                yield estimate
                if draw == 1 and torch.equal(first, estimate):
                    return


def gradient(model: LearningModel, learner: Learner, batch: Any) -> Gradient:
    """The gradient of the summed loss of a batch, as a learner computes it; nothing is accumulated.

    Args:
        model: knows the losses.
        learner: reads the batch.
        batch: as the module takes it.

    Returns:
        One vector of all weights of the learner that are trained, in the order of its parameters.
    """
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    total = torch.cat([torch.zeros_like(weight).flatten() for weight in weights])
    held: list[Tensor] = []
    with torch.enable_grad():
        for loss in model.losses(learner, batch):
            if loss is not None and learner.forward_accumulation:
                total += _flat_gradient(loss, weights)
            elif loss is not None:
                held.append(loss)
        return total + _flat_gradient(torch.stack(held).sum(), weights) if held else total


def quality(estimates: Float[Tensor, "draws weights"], exact: Gradient) -> dict[str, Float[Tensor, ""]]:
    """What `GradientQuality` logs.

    Args:
        estimates: at least two draws.
        exact: the gradient that they should have on average.

    Example:
        >>> values = quality(torch.tensor([[3.0, 1.0], [3.0, -1.0]]), torch.tensor([2.0, 0.0]))
        >>> {name: round(float(value), 3) for name, value in values.items()}
        {'gradient/relative_bias': 0.0, 'gradient/relative_std': 0.707, 'gradient/cosine': 0.949}
    """
    variance = estimates.var(0).sum()
    by_chance = variance / len(estimates)
    bias = ((estimates.mean(0) - exact).square().sum() - by_chance).clamp(min=0).sqrt()
    length = exact.norm().clamp(min=torch.finfo(exact.dtype).tiny)
    cosine = torch.cosine_similarity(estimates, exact[None], dim=1, eps=1e-30).mean()
    return {
        "gradient/relative_bias": bias / length,
        "gradient/relative_std": variance.sqrt() / length,
        "gradient/cosine": cosine,
    }


def _flat_gradient(loss: Float[Tensor, ""], weights: Sequence[Tensor]) -> Gradient:
    parts = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
