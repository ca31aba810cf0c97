"""One run of a Trainer with a posterior over the weights: batches, samples, shares of the complexity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from graves_bayes.callbacks.description import DescriptionTally
from graves_bayes.callbacks.extra_samples import ExtraSamples
from graves_bayes.callbacks.training_set import batch_examples
from graves_bayes.callbacks.variational_steps import VariationalSteps
from graves_bayes.layers.example_noise import ExampleNoise, unshared
from graves_bayes.layers.example_squares import ExampleSquares, capturable
from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.variational.estimators import complexity_scale
from graves_core.batches import mix_seed

Reduction = Literal["mean", "sum"]
Noise = Literal["weights", "local", "flipout"]


@dataclass
class RunSettings:
    """What a run needs to know of `VariationalInference`, whose arguments these are."""

    samples: int
    antithetic: bool
    sigma_lr_scale: float
    temperature: float
    warmup_steps: int
    reduction: Reduction
    noise: Noise
    seed: int


class VariationalRun:
    """Routes the events of a fit to a posterior.

    Args:
        posterior: over the module's weights.
        settings: of the callback.
        trainer: of the fit, which has optimizers.
        pl_module: the module.
    """

    def __init__(
        self, posterior: WeightPosterior, settings: RunSettings, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        self.posterior = posterior
        self.tally = DescriptionTally()
        self.examples = 1
        self._settings = settings
        self._trainer = trainer
        self._module = pl_module
        self.steps = VariationalSteps(
            posterior, trainer.optimizers, settings.sigma_lr_scale, settings.samples, self._after_step
        )
        self._extra = ExtraSamples(posterior.parameters_of_network)
        self._squares: ExampleSquares | None = None
        if posterior.estimator == "squared" and posterior.posterior != "delta":
            self._squares = ExampleSquares(posterior, list(capturable(pl_module).values()))
        self._noise: ExampleNoise | None = None
        if settings.noise != "weights":
            layers = [layer for layer in capturable(pl_module).values() if type(layer) is nn.Linear]
            self._noise = ExampleNoise(posterior, unshared(layers, pl_module), settings.noise)
        self._place: tuple[int, ...] | None = None
        self._batch = 0
        self._draws = 0
        self._counted = 0
        self._passes = 0

    def begin_batch(self, batch: Any, batch_idx: int) -> None:
        """Draws weights for a batch, after the passes of all samples but the last one.

        Args:
            batch: the batch.
            batch_idx: its number in the epoch.

        Raises:
            ValueError: when the squared estimator cannot tell the examples apart.
        """
        self._place, self._draws = (self._trainer.current_epoch, batch_idx), 0
        self._batch = batch_examples(batch)
        self._counted += self._batch
        self._passes += 1
        self.tally.begin(self._trainer.current_epoch, self._batch)
        self._check_examples()
        self.posterior.squared_scale = float(self._parts)
        if self._settings.samples > 1:
            self._extra.run(self._module, (batch, batch_idx), self._parts, self._one_more)
        self._draw()

    def before_backward(self, loss: Tensor) -> None:
        """Adds up the error, and the gradients of the other samples.

        Args:
            loss: of the batch, divided by the number of accumulated batches.
        """
        if self._place is not None:
            self._extra.release()
            each = loss.detach() * self._parts / (self._batch if self._settings.reduction == "sum" else 1)
            self.tally.add_error(each * self._batch)

    def after_backward(self) -> None:
        """Adds the squared gradients of the examples, if they are wanted."""
        if self._squares is None or self._place is None:
            return
        mean = self._settings.reduction == "mean"
        self._squares.add_(self._batch, float(self._batch * self._parts if mean else self._parts))

    def before_step(self, optimizer: Optimizer) -> None:
        """Makes gradients of the description length.

        Args:
            optimizer: which is about to make a step.
        """
        self.steps.complete(optimizer, self._share(), self._mean_over_ranks)

    def end_batch(self) -> None:
        """Puts the means back."""
        self.posterior.restore_()
        self._place = None

    def close(self) -> None:
        """Leaves module and optimizers as they are without this."""
        self.end_batch()
        self.steps.close()
        if self._squares is not None:
            self._squares.remove()
            self._squares = None
        if self._noise is not None:
            self._noise.remove()
            self._noise = None

    def state_dict(self) -> dict[str, Any]:
        """What the future depends on, apart from the posterior."""
        counts = [self._counted, self._passes]
        return {"steps": self.steps.state_dict(), "tally": self.tally.state_dict(), "counts": counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there.

        Args:
            state: of `state_dict`.
        """
        self.steps.load_state_dict(state["steps"])
        self.tally.load_state_dict(state["tally"])
        self._counted, self._passes = state["counts"]

    @property
    def _parts(self) -> int:
        """By what Lightning divides a loss."""
        return self._trainer.accumulate_grad_batches if self._module.automatic_optimization else 1

    def _share(self) -> float | Tensor:
        """What the complexity is multiplied with in the coming step."""
        if self._settings.reduction == "sum":
            counted = max(self._counted, self._batch) / self._parts
            mean = self._mean_over_ranks(torch.tensor(counted, device=self._module.device))
            share = complexity_scale(self.examples, mean)
        else:
            passes = self._passes if self._module.automatic_optimization else 1
            share = complexity_scale(self.examples, passes / self._parts)
        warmup = self._settings.warmup_steps
        rise = min(1.0, (self.steps.updates + 1) / warmup) if warmup else 1.0
        return share * self._settings.temperature * rise

    def _mean_over_ranks(self, values: Tensor) -> Tensor:
        mean: Tensor = self._trainer.strategy.reduce(values, reduce_op="mean")
        return mean

    def _one_more(self, differentiate: Callable[[], None]) -> None:
        """The passes of all samples but the last."""
        for _ in range(self._settings.samples - 1):
            self._draw()
            differentiate()
            self.after_backward()

    def _draw(self) -> None:
        mirrored = self._settings.antithetic and self._draws % 2 == 1
        place: tuple[int | str, ...] = ("batch", *(self._place or ()), self._draws)
        self._draws += 1
        if mirrored:
            self.posterior.sample_(antithetic=True)
        else:
            sample(self.posterior, self._module, self._settings.seed, self._trainer.global_rank, *place)

    def _after_step(self) -> None:
        self._counted = self._passes = 0
        if not self._module.automatic_optimization and self._place is not None:
            self._draw()

    def _check_examples(self) -> None:
        if self._squares is None or self._batch == 1:
            return
        captured = self.posterior.captured
        mixed = [name for index, name in enumerate(self.posterior.names) if index not in captured]
        if mixed:
            raise ValueError(
                f"estimator='squared' needs the gradient of each example, which a batch of {self._batch} "
                f"does not tell for {', '.join(mixed[:3])}{', ...' if mixed[3:] else ''}: take batch_size=1 "
                "with accumulate_grad_batches, exclude those parameters, or take estimator='reparameterised'"
            )


def sample(posterior: WeightPosterior, module: LightningModule, *place: int | str) -> None:
    """Puts the sample of a place in a run into the weights.

    Args:
        posterior: over the weights of the module.
        module: for its device.
        place: what the draws depend on.
    """
    generator = torch.Generator(module.device).manual_seed(mix_seed("weights", *place))
    posterior.sample_(generator)
