"""Pruning and retraining in steps."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from graves_bayes.callbacks.variational import inference_of
from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.pruned import current_mask, fraction_left, prune_
from graves_bayes.variational.code_length import mask_code, nats_to_bits
from graves_bayes.variational.pruning import TYPICAL


class SignalToNoisePruning(Callback):
    """Removes weights whose posterior does not tell them from 0, step by step, with training in between.

    For runs with `VariationalInference`, in whose state checkpoints keep what has been removed. A weight goes
    when its absolute mean is less than lambda standard deviations. From then on it is 0: it is not sampled,
    does not learn, and counts neither in the prior nor in the complexity.

    Logs at the end of each epoch `pruning/kept`, the share of weights that are left, and
    `pruning/mask_bits`, what it costs to say which ones, with which the description length is complete.

    Args:
        thresholds: lambdas, one for each step. Without retraining, 0.1 or 0.2 are a start; up to 0.83, the
            pruned weights are as likely as a draw from the posterior is on average.
        first_epoch: in whose beginning the first step takes place.
        every_n_epochs: from one step to the next.
        include: patterns of names of the parameters that may be pruned, with wildcards.

    Raises:
        ValueError: when an argument is out of range; in the run, when there is no posterior with a width.

    Example:
        >>> import lightning.pytorch as pl
        >>> pruning = SignalToNoisePruning([0.1, 0.2, 0.4], first_epoch=20, every_n_epochs=5)
        >>> from graves_bayes import VariationalInference
        >>> callbacks = [VariationalInference(), pruning]
        >>> trainer = pl.Trainer(callbacks=callbacks, logger=False, enable_checkpointing=False)

    Source: Graves 2011, on pruning.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (TYPICAL,),
        first_epoch: int = 1,
        every_n_epochs: int = 1,
        include: str | Sequence[str] = "*",
    ) -> None:
        if not thresholds or not all(threshold >= 0 for threshold in thresholds):
            raise ValueError(f"thresholds must be at least one number, all at least 0, not {thresholds}")
        if first_epoch < 0:
            raise ValueError(f"first_epoch must be at least 0, not {first_epoch}")
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, not {every_n_epochs}")
        self.thresholds = list(thresholds)
        self.first_epoch = first_epoch
        self.every_n_epochs = every_n_epochs
        self.include = include
        self._done = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks for the posterior, and prunes where a resumed run enters an epoch without beginning it.

        Raises:
            ValueError: when there is none, or it is a delta.
        """
        if _posterior(trainer).posterior == "delta":
            raise ValueError("SignalToNoisePruning needs a posterior with a width, not posterior='delta'")
        self._prune(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prunes, when a step is due."""
        self._prune(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs how many weights are left."""
        posterior = _posterior(trainer)
        bits = sum(nats_to_bits(mask_code(part)) for part in current_mask(posterior).values())
        told = {"pruning/kept": fraction_left(posterior), "pruning/mask_bits": bits}
        pl_module.log_dict(told, batch_size=1, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """How many steps have been made; what they removed is in the state of `VariationalInference`."""
        return {"done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the next step."""
        self._done = state_dict["done"]

    def _prune(self, trainer: Trainer) -> None:
        """Makes the steps that are due and not done."""
        due = (trainer.current_epoch - self.first_epoch) // self.every_n_epochs + 1
        for threshold in self.thresholds[self._done : max(due, self._done)]:
            posterior = _posterior(trainer)
            prune_(posterior, threshold, self.include)
            self._done += 1
            rank_zero_info(
                f"SignalToNoisePruning: {posterior.weights} weights are left, lambda {threshold:.3g}"
            )


def _posterior(trainer: Trainer) -> WeightPosterior:
    inference = inference_of(trainer)
    if inference is None or inference.posterior is None:
        raise ValueError("SignalToNoisePruning needs the callback VariationalInference")
    return inference.posterior
