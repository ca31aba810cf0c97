"""What many samples of the weights predict together, beside what their mean predicts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graves_bayes.callbacks.predictive_scores import PredictiveScores
from graves_bayes.callbacks.variational import inference_of
from graves_bayes.layers.ivon import IVON
from graves_bayes.layers.sampled import sampled_weights
from graves_bayes.variational.predictive import sampled_predictions
from graves_core.batches import mix_seed

Sample = Callable[[torch.Generator], AbstractContextManager[None]]


class PosteriorPredictive(Callback):
    """Predicts classes with many samples of the weights, and with their mean, and compares.

    For modules that learn with `VariationalInference` or with `IVON`, in validation and test. The module,
    called with the inputs of a batch, returns logits or log-probabilities `(..., classes)`; targets below 0
    are left out. All batches, ranks and epochs see the same draws, which leave training as it was.

    Logs for the samples' predictive distribution `val/predictive_nll` (nats per target), `..._accuracy`,
    `..._ece`, the expected calibration error, `..._entropy`, and `val/predictive_information`, how much of
    that entropy is what the samples do not agree on; and the first four for the mean as `val/mean_nll` and so
    on. In a test, names begin with `test`.

    Args:
        samples: of the weights.
        inputs: key of the inputs in a batch, or their place.
        targets: key of the classes in a batch, or their place.
        bins: of the calibration error.
        seed: of the samples.

    Raises:
        ValueError: when an argument is out of range; in the run, when nothing has a posterior.

    Example:
        >>> import lightning.pytorch as pl
        >>> from graves_bayes import VariationalInference
        >>> callbacks = [VariationalInference(), PosteriorPredictive(samples=32)]
        >>> trainer = pl.Trainer(callbacks=callbacks, logger=False, enable_checkpointing=False)
        >>> PosteriorPredictive(samples=0)
        Traceback (most recent call last):
        ValueError: samples must be at least 1, not 0

    Source: Graves 2011; Guo et al. 2017, "On calibration of modern neural networks".
    """

    def __init__(
        self,
        samples: int = 16,
        inputs: int | str = 0,
        targets: int | str = 1,
        bins: int = 15,
        seed: int = 0,
    ) -> None:
        for name, value in (("samples", samples), ("bins", bins)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.samples = samples
        self.inputs = inputs
        self.targets = targets
        self.bins = bins
        self.seed = seed
        self._scores: dict[str, PredictiveScores] = {}
        self._sample: Sample | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts counting; not in the sanity check, before which nothing is learnt."""
        if not trainer.sanity_checking:
            self._begin(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts counting."""
        self._begin(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Predicts the classes of a batch."""
        self._score(trainer, pl_module, batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Predicts the classes of a batch."""
        self._score(trainer, pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the scores."""
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the scores."""
        self._log(pl_module, "test")

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._scores, self._sample = {}, find_sample(trainer, pl_module)

    def _score(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        sample, targets = self._sample, batch[self.targets].flatten()
        if sample is None:
            return
        counted = targets >= 0

        def predict() -> Tensor:
            with trainer.precision_plugin.forward_context():
                told: Tensor = pl_module(batch[self.inputs])
            return told.float().log_softmax(-1).flatten(0, -2)[counted]

        seeds = iter(range(self.samples))

        def sampler() -> AbstractContextManager[None]:
            seed = mix_seed(self.seed, "predictive", next(seeds))
            return sample(torch.Generator(pl_module.device).manual_seed(seed))

        together = sampled_predictions(sampler, predict, self.samples)
        for name, log_probs in (("predictive", together), ("mean", predict()[None])):
            if name not in self._scores:
                scores = PredictiveScores(log_probs.shape[-1], self.bins)
                self._scores[name] = scores.to(pl_module.device)
            self._scores[name].update(log_probs, targets[counted])

    def _log(self, pl_module: LightningModule, stage: str) -> None:
        for name, scores in self._scores.items():
            for measure, value in scores.compute().items():
                if name == "predictive" or measure != "information":
                    pl_module.log(f"{stage}/{name}_{measure}", value, sync_dist=True, batch_size=1)
        self._scores, self._sample = {}, None


def find_sample(trainer: Trainer, pl_module: LightningModule) -> Sample:
    """What puts samples into the weights in a run.

    Args:
        trainer: its callbacks or optimizers have a posterior.
        pl_module: its module.

    Raises:
        ValueError: when there is none, or when evaluation is with a sample rather than with the means.
    """
    inference = inference_of(trainer)
    if inference is not None and inference.evaluation != "mean":
        raise ValueError("PosteriorPredictive needs VariationalInference(evaluation='mean')")
    posterior = None if inference is None else inference.learned(pl_module)
    if posterior is not None:
        return partial(sampled_weights, posterior)
    for optimizer in trainer.optimizers:
        if isinstance(optimizer, IVON):
            return optimizer.sampled
    raise ValueError(
        "PosteriorPredictive needs a run with VariationalInference or IVON that has begun to learn"
    )
