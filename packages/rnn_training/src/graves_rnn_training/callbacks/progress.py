"""Logged values against the data seen, as a chart at the end of training."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from graves_core.media import log_images
from graves_core.plots import Curve, check_plots, line_chart

MOST = 400
"""A chart holds at most so many points; the more there are, the rarer they are taken."""


class ProgressChart(Callback):
    """Draws logged values against the data seen when training ends: how far, and how fast.

    Works in any LightningModule that logs. With the curriculum of a copy task, this is the picture by which
    learning algorithms are compared: the longest sequence that is mastered against the symbols read. The
    points taken so far are kept in checkpoints. Needs `pip install "graves-rnn-training[plots]"`.

    Args:
        metrics: names of logged values, one curve each.
        against: name of the logged value that is across.
        every_n_batches: take a point after every so many training batches.
        name: what the picture is called.

    Raises:
        ValueError: when there is no metric, or `every_n_batches` is less than 1.

    Source: Menick et al. 2020, who call this "data time".

    Example:
        >>> ProgressChart(["curriculum/level"]).against
        'train/tokens'
    """

    def __init__(
        self,
        metrics: list[str],
        against: str = "train/tokens",
        every_n_batches: int = 10,
        name: str = "progress",
    ) -> None:
        if not metrics:
            raise ValueError("metrics must name at least one logged value")
        if every_n_batches < 1:
            raise ValueError(f"every_n_batches must be at least 1, not {every_n_batches}")
        self.metrics = metrics
        self.against = against
        self.every_n_batches = every_n_batches
        self.name = name
        self._points: dict[str, list[list[float]]] = {metric: [] for metric in metrics}
        self._batches = 0
        self._every = every_n_batches

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses to begin where no chart can be drawn.

        Raises:
            ImportError: naming the extra that is missing.
        """
        check_plots(type(self).__name__, "graves-rnn-training")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes a point now and then."""
        self._batches += 1
        if self._batches % self._every == 0:
            self._take(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the chart, if there is anything to draw, and says what was reached and where the chart is."""
        curves = {
            metric: Curve([x for x, _ in points], [y for _, y in points])
            for metric, points in self._points.items()
            if points
        }
        if curves:
            kinds = {metric.rpartition("/")[2] for metric in curves}
            up = kinds.pop().replace("_", " ") if len(kinds) == 1 else "value"
            path = log_images(trainer, self.name, line_chart(curves, self.against, up)[None])
            reached = ", ".join(f"{metric} {curve.y[-1]:g}" for metric, curve in curves.items())
            end = max(curve.x[-1] for curve in curves.values())
            rank_zero_info(f"{reached} at {self.against} {end:g}; chart: {path}")

    def state_dict(self) -> dict[str, Any]:
        """Tells the points and how often they are taken."""
        return {"points": self._points, "batches": self._batches, "every": self._every}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the points of the run that is resumed."""
        self._points = {metric: list(state_dict["points"].get(metric, [])) for metric in self.metrics}
        self._batches, self._every = state_dict["batches"], state_dict["every"]

    def _take(self, trainer: Trainer) -> None:
        values = trainer.callback_metrics
        for metric, points in self._points.items():
            if metric in values and self.against in values:
                points.append([float(values[self.against]), float(values[metric])])
        if max(map(len, self._points.values())) > MOST:
            self._every *= 2
            self._points = {metric: points[1::2] for metric, points in self._points.items()}
