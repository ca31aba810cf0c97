"""An exponential moving average of the weights, which is what gets validated, tested and saved."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

RAW_WEIGHTS = "raw_state_dict"


class EMA(pl.Callback):
    """Averages the weights over training: `average <- d * average + (1 - d) * weights` after each step.

    - Validation, test and prediction see the average, and after `fit` the module holds it. Training goes on
      with the raw weights.
    - A checkpoint's `state_dict` is the average, so that it loads anywhere without this callback. The raw
      weights lie beside it as `raw_state_dict`, and a resumed run goes on from them.
    - Parameters are averaged, in float32 where they have less; buffers are used as training left them.
    - One step of the optimizer is one update, also with accumulated gradients.

    Args:
        decay: share of the old average in the new one, from 0 up to, but without, 1.
        warmup: whether the decay grows from 0.1 up to `decay`, as `(1 + n) / (10 + n)` after `n` updates.
            Without it, the average of a short run stays close to the initial weights.

    Raises:
        TypeError: when `decay` is no number.
        ValueError: when `decay` is out of range.

    Example:
        >>> trainer = pl.Trainer(callbacks=[EMA(decay=0.999)], logger=False, enable_checkpointing=False)
        >>> EMA(decay=1.0)
        Traceback (most recent call last):
        ValueError: decay must be at least 0 and less than 1, got 1.0
    """

    def __init__(self, decay: float = 0.9999, warmup: bool = True) -> None:
        if not isinstance(decay, (int, float)) or isinstance(decay, bool):
            raise TypeError(f"decay must be a number, got {decay!r}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, got {decay}")
        self.decay = decay
        self.warmup = warmup
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._updates = 0
        self._step = 0
        self._resumed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses what would train without an average, or save something else.

        Raises:
            ValueError: when the strategy shards the parameters, or a `ModelCheckpoint` saves weights only.
        """
        self._resumed = False
        if stage != "fit":
            return
        if trainer.strategy.restore_checkpoint_after_setup:
            raise ValueError(
                f"EMA averages whole parameters, but {type(trainer.strategy).__name__} shards them; "
                "use a strategy that keeps them on every device, such as ddp"
            )
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.save_weights_only:
                raise ValueError(
                    "ModelCheckpoint(save_weights_only=True) would save the raw weights, because Lightning "
                    "asks no callback then; with EMA, leave it False and take `state_dict` from the file"
                )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the average from the weights at hand unless a checkpoint brought it."""
        weights = _weights(pl_module)
        if not self._resumed:
            self._average = {name: _wide(weight) for name, weight in weights.items()}
            self._updates = 0
        self._average = {name: self._average[name].to(weights[name].device) for name in weights}
        self._raw = {}
        self._resumed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the number of steps that were done before."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the average if the optimizer has made a step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates)) if self.warmup else self.decay
        weights = [weight.to(self._average[name].dtype) for name, weight in _weights(pl_module).items()]
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)
        self._updates += 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the average in the module."""
        self._put_average(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the average into the module."""
        self._before_evaluation(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the average into the module."""
        self._before_evaluation(trainer, pl_module)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the average into the module."""
        self._before_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the raw weights back if training goes on."""
        if trainer.state.fn == "fit":
            self._put_raw(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Writes the average as the checkpoint's `state_dict`, and the raw weights beside it."""
        if not self._average:
            return
        weights = _weights(pl_module)
        saved = checkpoint["state_dict"]
        checkpoint[RAW_WEIGHTS] = {name: self._raw.get(name, weight) for name, weight in weights.items()}
        for alias, name in _aliases(pl_module).items():
            if alias in saved:
                saved[alias] = self._average[name].to(weights[name].dtype)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Goes on from the raw weights of a checkpoint; one without them starts the average anew."""
        if trainer.state.fn == "fit" and RAW_WEIGHTS in checkpoint:
            with torch.no_grad():
                for name, weight in _weights(pl_module).items():
                    weight.copy_(checkpoint[RAW_WEIGHTS][name])

    def state_dict(self) -> dict[str, Any]:
        """Tells the average and the number of updates in it."""
        return {"average": dict(self._average), "updates": self._updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the average and the number of updates in it."""
        self._average = {name: average.clone() for name, average in state_dict["average"].items()}
        self._updates = state_dict["updates"]
        self._resumed = True

    def _before_evaluation(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" and trainer.ckpt_path is not None:
            # the checkpoint's weights are an average already, and another one than ours
            self._average, self._raw = {}, {}
        self._put_average(pl_module)

    def _put_average(self, pl_module: nn.Module) -> None:
        if self._average and not self._raw:
            weights = _weights(pl_module)
            self._raw = {name: weight.clone() for name, weight in weights.items()}
            _copy(self._average, weights)

    def _put_raw(self, pl_module: nn.Module) -> None:
        _copy(self._raw, _weights(pl_module))
        self._raw = {}


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in module.named_parameters()}


def _aliases(module: nn.Module) -> dict[str, str]:
    """Maps every name of a parameter, tied ones included, to the first name of the same parameter."""
    first = {id(weight): name for name, weight in module.named_parameters()}
    return {name: first[id(weight)] for name, weight in module.named_parameters(remove_duplicate=False)}


def _wide(weight: Tensor) -> Tensor:
    return weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)


def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
