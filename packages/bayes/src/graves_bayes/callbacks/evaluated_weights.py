"""Callbacks that choose the weights with which a module is evaluated."""

from abc import ABC, abstractmethod

from lightning.pytorch import Callback, LightningModule, Trainer


class EvaluatedWeights(Callback, ABC):
    """Has `before_evaluation` and `after_evaluation` called around validation, test and prediction."""

    @abstractmethod
    def before_evaluation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the weights.

        Args:
            trainer: of the evaluation.
            pl_module: the module.
        """

    @abstractmethod
    def after_evaluation(self) -> None:
        """Puts the weights of training back."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the weights of a validation."""
        self.before_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights of training back."""
        self.after_evaluation()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the weights of a test."""
        self.before_evaluation(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights of training back."""
        self.after_evaluation()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the weights of a prediction."""
        self.before_evaluation(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights of training back."""
        self.after_evaluation()
