"""Harder tasks for a model that has mastered the easier ones."""

from math import isnan
from typing import Any, Literal, Protocol, runtime_checkable

import lightning.pytorch as pl


@runtime_checkable
class HasLevel(Protocol):
    """A DataModule with a difficulty.

    It reads `level` whenever it makes a training batch, in the training process: what workers have read
    ahead would still be of the old level.
    """

    level: int


class Curriculum(pl.Callback):
    """Raises the level of the data when a logged value says that the model has mastered it.

    After every training batch the value is averaged over the ranks, so that all of them decide alike, and
    compared with the threshold; a new level holds from the very next batch. This reads the value from the
    device once per batch. The value is to be logged in every training step (`self.log(name, value)`), except
    one that returns None to be skipped by automatic optimization: its batch does not count.

    The level reached is logged as `curriculum/level`. The level and the batches that count towards the next
    one are kept in checkpoints, so that a resumed run takes each step of the curriculum at the batch at which
    the uninterrupted one takes it.

    Args:
        metric: name of the value.
        threshold: what the value must pass; equal to it is not enough.
        mode: whether a mastered task has values `"below"` or `"above"` the threshold.
        rule: `"add"` raises the level by 1, `"double"` doubles it.
        patience: batches in a row that must pass before the level rises; then the count begins anew.
        max_level: where the level stays; None for no end.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when an argument is out of its range.

    Example:
        >>> curriculum = Curriculum("train/bits_per_char", threshold=0.15, max_level=20)
        >>> trainer = pl.Trainer(callbacks=[curriculum], logger=False, enable_checkpointing=False)
        >>> Curriculum("train/accuracy", 0.99, mode="above", rule="double").next_level(4)
        8
    """

    def __init__(
        self,
        metric: str,
        threshold: float,
        mode: Literal["below", "above"] = "below",
        rule: Literal["add", "double"] = "add",
        patience: int = 1,
        max_level: int | None = None,
    ) -> None:
        if not isinstance(metric, str) or not metric:
            raise ValueError(f"metric must be the name of a logged value, got {metric!r}")
        if not isinstance(threshold, (int, float)) or isinstance(threshold, bool):
            raise TypeError(f"threshold must be a number, got {threshold!r}")
        if isnan(threshold):
            raise ValueError(f"threshold must be a number, got {threshold}")
        if mode not in ("below", "above"):
            raise ValueError(f"mode must be 'below' or 'above', got {mode!r}")
        if rule not in ("add", "double"):
            raise ValueError(f"rule must be 'add' or 'double', got {rule!r}")
        _check_positive("patience", patience)
        if max_level is not None:
            _check_positive("max_level", max_level)
        self.metric = metric
        self.threshold = threshold
        self.mode = mode
        self.rule = rule
        self.patience = patience
        self.max_level = max_level
        self._passed = 0
        self._level: int | None = None
        self._resumed = False

    def next_level(self, level: int) -> int:
        """The level after this one.

        Args:
            level: the present level, at least 1.
        """
        higher = level + 1 if self.rule == "add" else 2 * level
        return higher if self.max_level is None else min(higher, self.max_level)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses data without levels before anything is trained.

        Raises:
            TypeError: when there is no DataModule with a level.
            ValueError: when its level is out of range.
        """
        self._resumed = False
        if stage == "fit":
            name, level = "the level of the data", _leveled(trainer).level
            _check_positive(name, level)
            if self.max_level is not None and level > self.max_level:
                raise ValueError(f"{name} must be at most {self.max_level} (max_level), got {level}")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts back the level that a checkpoint brought, else begins at that of the data."""
        data = _leveled(trainer)
        if self._resumed and self._level is not None:
            data.level = self._level
        else:
            self._passed = 0
        self._level = data.level

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch, and raises the level if it was the last one that was missing.

        Raises:
            ValueError: when the training step has not logged the value.
        """
        data = _leveled(trainer)
        skipped = pl_module.automatic_optimization and not outputs
        if not skipped:
            self._passed = self._passed + 1 if self._has_passed(trainer) else 0
        if self._passed >= self.patience:
            self._passed = 0
            data.level = self.next_level(data.level)
        self._level = data.level
        pl_module.log("curriculum/level", float(data.level), prog_bar=True)

    def state_dict(self) -> dict[str, Any]:
        """Tells the level and the number of batches that count towards the next one."""
        return {"level": self._level, "passed": self._passed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the level and the count of the run that is resumed."""
        self._level = state_dict["level"]
        self._passed = state_dict["passed"]
        self._resumed = True

    def _has_passed(self, trainer: pl.Trainer) -> bool:
        values = trainer.callback_metrics
        if self.metric not in values:
            raise ValueError(
                f"Curriculum found no {self.metric!r} after a training batch; log it in each training step. "
                f"Logged so far: {', '.join(sorted(values)) or 'nothing'}"
            )
        # a copy, because some strategies reduce in place
        value = float(trainer.strategy.reduce(values[self.metric].clone(), reduce_op="mean"))
        return value < self.threshold if self.mode == "below" else value > self.threshold


def _leveled(trainer: pl.Trainer) -> HasLevel:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, HasLevel):
        given = "loaders without a DataModule" if data is None else type(data).__name__
        raise TypeError(f"Curriculum needs a DataModule with an integer attribute `level`, got {given}")
    return data


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
