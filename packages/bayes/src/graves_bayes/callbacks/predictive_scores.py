"""Scores of predictions of classes, over all ranks."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from graves_bayes.variational.predictive import entropy_of, mutual_information, posterior_predictive


class PredictiveScores(nn.Module):
    """Adds up how well the mean of several networks' predictions fits, and how sure it is.

    Args:
        classes: how many there are.
        bins: of the calibration error.

    Example:
        >>> scores = PredictiveScores(classes=2)
        >>> scores.update(torch.tensor([[[0.8, 0.2]], [[0.4, 0.6]]]).log(), torch.tensor([0]))
        >>> told = scores.compute()
        >>> float(told["accuracy"]), round(float(told["nll"]), 4)
        (1.0, 0.5108)
    """

    def __init__(self, classes: int, bins: int = 15) -> None:
        super().__init__()
        from torchmetrics import MeanMetric
        from torchmetrics.classification import MulticlassCalibrationError

        means = ("nll", "accuracy", "entropy", "information")
        self.means = nn.ModuleDict({name: MeanMetric() for name in means})
        self.calibration = MulticlassCalibrationError(classes, n_bins=bins)

    def update(
        self, log_probs: Float[Tensor, "samples examples classes"], targets: Int64[Tensor, " examples"]
    ) -> None:
        """Adds a batch.

        Args:
            log_probs: of each network.
            targets: the classes.
        """
        together = posterior_predictive(log_probs)
        found = {
            "nll": -together.gather(1, targets[:, None])[:, 0],
            "accuracy": (together.argmax(-1) == targets).float(),
            "entropy": entropy_of(together),
            "information": mutual_information(log_probs),
        }
        for name, metric in self._metrics().items():
            metric.update(found[name])
        self.calibration.update(together.exp(), targets)

    def compute(self) -> dict[str, Tensor]:
        """The means over all examples of all ranks, and the calibration error."""
        told = {name: torch.as_tensor(metric.compute()) for name, metric in self._metrics().items()}
        return told | {"ece": torch.as_tensor(self.calibration.compute())}

    def _metrics(self) -> dict[str, Any]:
        return dict(self.means.items())
