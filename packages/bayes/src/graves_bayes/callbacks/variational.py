"""Variational inference over the weights of any LightningModule."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from graves_bayes.callbacks.description import described
from graves_bayes.callbacks.evaluated_weights import EvaluatedWeights
from graves_bayes.callbacks.training_set import training_examples
from graves_bayes.callbacks.variational_run import (
    Noise,
    Reduction,
    RunSettings,
    VariationalRun,
    sample,
)
from graves_bayes.layers.posterior import (
    Groups,
    WeightPosterior,
    check_settings,
)
from graves_bayes.layers.posterior_state import load_posterior_state, posterior_state
from graves_bayes.layers.sampled import variational_parameters
from graves_bayes.variational.complexity import Prior
from graves_bayes.variational.estimators import Estimator
from graves_bayes.variational.posteriors import Posterior

Evaluation = Literal["mean", "sample"]


class VariationalInference(EvaluatedWeights):
    """Learns a posterior over the weights of any LightningModule, whose code stays as it is.

    The module's parameters are the means. In each training batch they hold a sample; before the optimizer
    moves them they are put back, and the gradient of the complexity loss is added to theirs. Each mean has a
    scale, which an optimizer like the user's moves; after each update the prior is fitted anew. What is
    minimised is the description length of the training set's targets, error and complexity together, per
    example: `training_step` must return the mean over the batch of -ln p(target), or the sum.

    - The share of the complexity in a step counts examples, so that an uneven last batch, accumulated
      gradients and several devices change nothing. Devices draw samples of their own.
    - Samples depend on the seed, the rank and the place in the run alone: a resumed run goes on bit for bit.
    - Validation, test, prediction and checkpoints see the means, under the keys that they have without this
      callback. Scales, prior and the scales' optimizers are in the callback's state.
    - Gradient clipping is for the means, after the complexity has been added; scales are not clipped.
    - With manual optimization, each step of an optimizer is followed by a new sample.
    - Callbacks that read the weights after a batch, as averages do, belong after this one.

    Logs at the end of each epoch `variational/error_bits` (of the epoch's samples, for the whole training
    set), `variational/complexity_bits`, the same in nats, `variational/bits_per_weight`, the prior's
    `variational/prior_mean` and `variational/prior_scale` (by layer, if there is one for each), and
    `variational/compression`, the description length by that of a uniform code, if `classes` are given.

    Args:
        posterior: `"gaussian"`, `"laplace"` or `"delta"`, which is learning with an adaptive penalty.
        prior: `"gaussian"`, `"laplace"` or `"uniform"`.
        estimator: of the scales' gradients: `"reparameterised"`, or the paper's `"squared"`, from the squared
            gradients of single examples. Those are known exactly for linear, convolutional, embedding and
            layer normalisation layers; where other parameters are variational (recurrent layers, attention),
            batches must have one example each, which may be accumulated.
        samples: of the weights per batch, each a forward and a backward pass.
        antithetic: every second sample is the mirror image of the one before.
        sigma: scale of each weight at first.
        learn_sigma: whether scales learn; False for weight noise of a fixed size.
        sigma_lr_scale: learning rate of the scales' logarithms by that of the means.
        include: patterns of names of the parameters that are variational; frozen ones never are.
        exclude: patterns of names of those that are not.
        prior_mean: centre of the prior; fitted by default.
        prior_scale: standard deviation or b of the prior; fitted by default.
        groups: one prior for all weights, or one for each layer.
        temperature: factor of the complexity; with other values than 1 the sum is no description length.
        warmup_steps: number of updates over which the complexity's factor rises from near 0.
        noise: one sample of the `"weights"` for a batch; or, for linear layers with inputs (examples,
            features), noise for each example: `"local"` reparameterisation or `"flipout"`.
        reduction: whether `training_step` returns the mean over the batch, or the sum.
        examples: number of training examples; by default that of the training loader's data set. Where the
            loss is a mean over parts of examples, such as characters, it is the number of parts.
        classes: number of values that each target may have, to compare with a uniform code.
        evaluation: with the means, or with one sample.
        seed: of the samples; by default one that is drawn when fit starts, and so a consequence of
            `seed_everything`.

    Raises:
        ValueError: when an argument is out of range; in the run, when a pattern matches nothing or something
            does not fit.

    Example:
        >>> import lightning.pytorch as pl
        >>> callback = VariationalInference(prior="gaussian", exclude="*norm*", classes=10)
        >>> trainer = pl.Trainer(callbacks=[callback], logger=False, enable_checkpointing=False)
        >>> VariationalInference(samples=0)
        Traceback (most recent call last):
        ValueError: samples must be at least 1, not 0

    Source: Graves 2011, "Practical Variational Inference for Neural Networks".
    """

    def __init__(
        self,
        posterior: Posterior = "gaussian",
        prior: Prior = "gaussian",
        estimator: Estimator = "reparameterised",
        samples: int = 1,
        antithetic: bool = False,
        sigma: float = 0.075,
        learn_sigma: bool = True,
        sigma_lr_scale: float = 1.0,
        include: str | Sequence[str] = "*",
        exclude: str | Sequence[str] = (),
        prior_mean: float | None = None,
        prior_scale: float | None = None,
        groups: Groups = "global",
        temperature: float = 1.0,
        warmup_steps: int = 0,
        reduction: Reduction = "mean",
        noise: Noise = "weights",
        examples: int | None = None,
        classes: int | None = None,
        evaluation: Evaluation = "mean",
        seed: int | None = None,
    ) -> None:
        _check_counts(
            samples=samples,
            sigma_lr_scale=sigma_lr_scale,
            temperature=temperature,
            warmup_steps=warmup_steps,
            examples=examples,
            classes=classes,
        )
        _check_choices(reduction, evaluation, noise)
        if noise != "weights" and antithetic:
            raise ValueError(f"antithetic must be False with noise={noise!r}")
        check_settings(posterior, prior, sigma, prior_scale, groups, estimator)
        self.family: Posterior = posterior
        self.prior: Prior = prior
        self.estimator: Estimator = estimator
        self.sigma = sigma
        self.learn_sigma = learn_sigma
        self.include = include
        self.exclude = exclude
        self.prior_mean = prior_mean
        self.prior_scale = prior_scale
        self.groups: Groups = groups
        self.examples = examples
        self.classes = classes
        self.evaluation: Evaluation = evaluation
        self.seed = seed
        self.posterior: WeightPosterior | None = None
        self._settings = RunSettings(
            samples, antithetic, sigma_lr_scale, temperature, warmup_steps, reduction, noise, seed or 0
        )
        self._run: VariationalRun | None = None
        self._saved: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what does not go together.

        Raises:
            ValueError: when the strategy shards the parameters, the precision scales gradients, or more than
                one sample is wanted with manual optimization.
        """
        if stage != "fit":
            return
        if trainer.strategy.restore_checkpoint_after_setup:
            strategy = type(trainer.strategy).__name__
            raise ValueError(f"VariationalInference samples whole parameters, but {strategy} shards them")
        if trainer.precision == "16-mixed":
            raise ValueError("precision must not scale gradients: take bf16-mixed or 32-true, not 16-mixed")
        if self._settings.samples > 1 and not pl_module.automatic_optimization:
            raise ValueError(f"samples must be 1 with manual optimization, not {self._settings.samples}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the posterior, or takes that of the checkpoint."""
        if self.seed is None and not self._saved:
            self._settings.seed = trainer.strategy.broadcast(int(torch.randint(2**62, ())))
        moved = {
            id(p) for optimizer in trainer.optimizers for g in optimizer.param_groups for p in g["params"]
        }
        posterior = self._prepare(pl_module, moved)
        self._run = VariationalRun(posterior, self._settings, trainer, pl_module)
        if self._saved:
            self._run.load_state_dict(self._saved["run"])
        self._saved = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the training set.

        Raises:
            ValueError: when its size is unknown.
        """
        self._running.examples = self.examples or training_examples(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draws the weights of a batch."""
        self._running.begin_batch(batch, batch_idx)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Adds up the error."""
        self._running.before_backward(loss)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds up squared gradients, if they are wanted."""
        self._running.after_backward()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Puts the means back and completes the gradients."""
        self._running.before_step(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Puts the means back where no optimizer made a step."""
        self._running.end_batch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the description length."""
        run = self._running
        error = run.tally.pop(trainer)
        pl_module.log_dict(described(run.posterior, error, run.examples, self.classes), batch_size=1)

    def learned(self, pl_module: LightningModule) -> WeightPosterior | None:
        """The posterior of the run, or of a checkpoint that was loaded since; None before either.

        Args:
            pl_module: the module over whose weights it is.
        """
        if self._saved:
            with torch.inference_mode(False):
                return self._prepare(pl_module)
        return self.posterior

    def before_evaluation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the means into the module, or a sample."""
        self.after_evaluation()
        if self.evaluation == "sample" and not trainer.sanity_checking:
            with torch.inference_mode(False):
                posterior = self.learned(pl_module) or self._prepare(pl_module)
            sample(posterior, pl_module, self._settings.seed, "evaluation", trainer.global_step)

    def after_evaluation(self) -> None:
        """Puts the means back."""
        if self.posterior is not None:
            self.posterior.restore_()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the means in the module."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the means in the module."""
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """The posterior and what its future depends on."""
        if self.posterior is None or self._run is None:
            return self._saved
        return {
            "seed": self._settings.seed,
            "names": self.posterior.names,
            "posterior": posterior_state(self.posterior),
            "run": self._run.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the posterior of a checkpoint."""
        self._saved = state_dict
        if state_dict:
            self._settings.seed = state_dict["seed"]

    @property
    def _running(self) -> VariationalRun:
        if self._run is None:
            raise RuntimeError(
                "VariationalInference has no run yet; its Trainer must begin with on_fit_start"
            )
        return self._run

    def _prepare(self, pl_module: LightningModule, moved: set[int] | None = None) -> WeightPosterior:
        """The posterior over the module's weights that an optimizer moves."""
        parameters = variational_parameters(pl_module, self.include, self.exclude)
        if moved is not None:
            parameters = {name: p for name, p in parameters.items() if id(p) in moved}
        known = [] if self.posterior is None else self.posterior.parameters_of_network
        same = [id(p) for p in known] == [id(p) for p in parameters.values()]
        if self.posterior is None or not same:
            self.posterior = WeightPosterior(
                parameters,
                self.family,
                self.prior,
                self.sigma,
                self.prior_mean,
                self.prior_scale,
                self.groups,
                self.estimator,
            )
        for scale in self.posterior.log_sigma:
            scale.requires_grad_(self.learn_sigma)
        if self._saved:
            load_posterior_state(self.posterior, self._saved["names"], self._saved["posterior"])
        return self.posterior

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()


def inference_of(trainer: Trainer) -> VariationalInference | None:
    """The callback of a run by which it learns a posterior, if it has one.

    Args:
        trainer: of the run.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, VariationalInference)), None)


def _check_counts(**numbers: float | None) -> None:
    for name, value in numbers.items():
        least = 1 if name in ("samples", "examples") else 2 if name == "classes" else 0
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def _check_choices(reduction: str, evaluation: str, noise: str) -> None:
    for name, value, allowed in (
        ("reduction", reduction, get_args(Reduction)),
        ("evaluation", evaluation, get_args(Evaluation)),
        ("noise", noise, get_args(Noise)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
