"""Noise on the weights of any LightningModule, drawn on a schedule."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from graves_bayes.callbacks.evaluated_weights import EvaluatedWeights
from graves_bayes.layers.make_noisy import make_noisy, matching
from graves_bayes.layers.noise_control import noise_off, noisy_layers, resample_noise
from graves_bayes.layers.noisy_linear import NoisyLinear
from graves_bayes.noise.draws import NoiseKind
from graves_core.batches import mix_seed

Schedule = Literal["update", "batch", "epoch"]
Evaluation = Literal["mean", "sample"]


class NoisyNet(EvaluatedWeights):
    """Learns with noise on the weights of linear layers, whose size is learned too.

    When the run is set up, before the optimizers are made, matching linear layers of the module become
    `NoisyLinear` layers with their weights as means; layers that are noisy already are used as they are.
    Checkpoints then hold the sigmas beside the weights: those of `state_dict` load into the module without
    noise with `strict=False`.

    The noise depends on the run's seed, the rank and the place in the run alone. So a resumed run goes on
    with the noise that the uninterrupted one would have had, whatever else draws random numbers, and each
    rank has noise of its own. Evaluation in the middle of training leaves the noise of training as it was.

    Logs the mean of abs(sigma) over the weights of each noisy layer as `sigma/<name of the layer>`.

    Args:
        pattern: names of linear layers that become noisy, with wildcards, or several of them; None for none,
            where the module has noisy layers of its own.
        kind: of the noise.
        sigma0: of `NoisyLinear`.
        schedule: draw new noise after each step of the optimizer, before each training batch, or before each
            epoch.
        evaluation: validate, test and predict with the means, or with one sample of noise.
        seed: of the noise; by default one that is drawn when fit starts, and so a consequence of
            `seed_everything`.
        every_n_batches: log in the first training batch of an epoch, and after every so many; 0 for never.

    Raises:
        ValueError: when an argument is out of range; in the run, when no layer matches.

    Example:
        >>> import lightning.pytorch as pl
        >>> trainer = pl.Trainer(callbacks=[NoisyNet("head.*")], logger=False, enable_checkpointing=False)
        >>> NoisyNet(schedule="step")
        Traceback (most recent call last):
        ValueError: schedule must be one of update, batch, epoch, not 'step'

    Source: Fortunato et al. 2018.
    """

    def __init__(
        self,
        pattern: str | Sequence[str] | None = "*",
        kind: NoiseKind = "factorised",
        sigma0: float = 0.5,
        schedule: Schedule = "update",
        evaluation: Evaluation = "mean",
        seed: int | None = None,
        every_n_batches: int = 50,
    ) -> None:
        for name, value, allowed in (
            ("kind", kind, get_args(NoiseKind)),
            ("schedule", schedule, get_args(Schedule)),
            ("evaluation", evaluation, get_args(Evaluation)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if not 0 <= sigma0 < math.inf:
            raise ValueError(f"sigma0 must be at least 0 and finite, not {sigma0}")
        if every_n_batches < 0:
            raise ValueError(f"every_n_batches must be at least 0, not {every_n_batches}")
        self.pattern = pattern
        self.kind: NoiseKind = kind
        self.sigma0 = sigma0
        self.schedule: Schedule = schedule
        self.evaluation: Evaluation = evaluation
        self.seed = seed
        self.every_n_batches = every_n_batches
        self._run_seed = seed or 0
        self._resumed = False
        self._place: tuple[int | str, ...] = ()
        self._put_back = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes layers noisy.

        Raises:
            ValueError: when no layer matches that is linear, or noisy already.
        """
        self._resumed = False
        self._place = ()
        if self.pattern is None:
            self._need_noise(pl_module)
        elif matching(pl_module, self.pattern, nn.Linear) or not matching(
            pl_module, self.pattern, NoisyLinear
        ):
            make_noisy(pl_module, self.pattern, self.kind, self.sigma0)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the run's seed unless it is given or a checkpoint brought it; all take that of rank 0."""
        if self.seed is None and not self._resumed:
            self._run_seed = trainer.strategy.broadcast(int(torch.randint(2**62, ())))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the first noise."""
        self._at("update", trainer, pl_module, trainer.global_step)
        if self.schedule != "update":
            self._draw(trainer, pl_module, "start", trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the noise of an epoch."""
        self._at("epoch", trainer, pl_module, trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draws the noise of a batch, and that of an epoch which a resumed run enters in the middle."""
        self._at("epoch", trainer, pl_module, trainer.current_epoch)
        self._at("batch", trainer, pl_module, trainer.current_epoch, batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws new noise if the optimizer has made a step, and logs."""
        self._at("update", trainer, pl_module, trainer.global_step)
        if self.every_n_batches and batch_idx % self.every_n_batches == 0:
            pl_module.log_dict(mean_sigmas(pl_module), batch_size=1)

    def before_evaluation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the noise, or draws that of the evaluation."""
        self.after_evaluation()
        self._put_back.enter_context(noise_off(pl_module))
        if self.evaluation == "sample":
            self._resample(trainer, pl_module, "evaluation", trainer.global_step)

    def after_evaluation(self) -> None:
        """Puts the noise of training back."""
        self._put_back.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Puts the noise back."""
        self.after_evaluation()

    def state_dict(self) -> dict[str, Any]:
        """Tells the seed of the run."""
        return {"seed": self._run_seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the seed of the run that is resumed."""
        self._run_seed = state_dict["seed"]
        self._resumed = True

    def _need_noise(self, pl_module: LightningModule) -> None:
        if not noisy_layers(pl_module):
            raise ValueError(
                f"NoisyNet: {type(pl_module).__name__} has no noisy layer; pattern=None makes none"
            )

    def _at(self, moment: Schedule, trainer: Trainer, pl_module: LightningModule, *place: int | str) -> None:
        """Draws the noise of a place, if that is a moment of the schedule."""
        if moment == self.schedule:
            self._draw(trainer, pl_module, moment, *place)

    def _draw(self, trainer: Trainer, pl_module: LightningModule, *place: int | str) -> None:
        """Draws the noise of a place in the run, unless it is at hand."""
        if place != self._place:
            self._place = place
            self._resample(trainer, pl_module, *place)

    def _resample(self, trainer: Trainer, pl_module: LightningModule, *place: int | str) -> None:
        seed = mix_seed(self._run_seed, "noise", trainer.global_rank, *place)
        resample_noise(pl_module, torch.Generator(pl_module.device).manual_seed(seed))


def mean_sigmas(module: LightningModule) -> dict[str, Tensor]:
    """What `NoisyNet` logs.

    Args:
        module: with noisy layers.
    """
    layers = noisy_layers(module).items()
    return {f"sigma/{name}": layer.weight_sigma.detach().abs().mean() for name, layer in layers}
