"""Logged values against steps or the data seen, as a chart at the end of training."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from graves_core.media import log_images
from graves_core.plots import Curve, check_plots, line_chart

MOST = 400
"""A chart holds at most so many points; the more there are, the rarer they are taken."""


class ProgressChart(Callback):
    """Draws logged values when training ends, against the steps or the data seen: how far, and how fast.

    Works in any LightningModule that logs. With a curriculum, this is the picture by which learning
    algorithms are compared: the hardest task that is mastered against the work that it took. The points taken
    so far are kept in checkpoints. Several charts in one Trainer need different names.
    Needs `pip install "graves-core[plots]"`.

    Args:
        metrics: names of logged values, one curve each.
        against: name of the logged value that is across; None for the steps of the optimizer.
        every_n_batches: take a point after every so many training batches.
        name: what the picture is called.

    Raises:
        ValueError: when there is no metric, or `every_n_batches` is less than 1.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> chart = ProgressChart(["train/loss", "curriculum/level"], every_n_batches=50)
        >>> trainer = Trainer(callbacks=[chart], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        metrics: list[str],
        against: str | None = None,
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

    @property
    def state_key(self) -> str:
        """Where checkpoints keep the points: charts of different names have places of their own."""
        return self._generate_state_key(name=self.name)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses to begin where no chart can be drawn.

        Raises:
            ImportError: naming the extra that is missing.
        """
        check_plots(type(self).__name__, "graves-core")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes a point now and then."""
        self._batches += 1
        if self._batches % self._every == 0:
            self._take(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the chart, if there is anything to draw, and says what was reached and where the chart is.

        It ends with what was logged last, which may be after the last batch, by a validation.
        """
        last = self._logged(trainer)
        curves = {}
        for metric, points in self._points.items():
            if metric in last:
                points = [point for point in points if point[0] != last[metric][0]] + [last[metric]]
            if points:
                curves[metric] = Curve([x for x, _ in points], [y for _, y in points])
        if curves:
            kinds = {metric.rpartition("/")[2] for metric in curves}
            up = kinds.pop().replace("_", " ") if len(kinds) == 1 else "value"
            across = self.against or "step"
            path = log_images(trainer, self.name, line_chart(curves, across, up)[None])
            reached = ", ".join(f"{metric} {curve.y[-1]:g}" for metric, curve in curves.items())
            end = max(curve.x[-1] for curve in curves.values())
            rank_zero_info(f"{reached} at {across} {end:g}; chart: {path}")

    def state_dict(self) -> dict[str, Any]:
        """Tells the points and how often they are taken."""
        return {"points": self._points, "batches": self._batches, "every": self._every}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the points of the run that is resumed."""
        self._points = {metric: list(state_dict["points"].get(metric, [])) for metric in self.metrics}
        self._batches, self._every = state_dict["batches"], state_dict["every"]

    def _take(self, trainer: Trainer) -> None:
        for metric, point in self._logged(trainer).items():
            self._points[metric].append(point)
        if max(map(len, self._points.values())) > MOST:
            self._every *= 2
            self._points = {metric: points[1::2] for metric, points in self._points.items()}

    def _logged(self, trainer: Trainer) -> dict[str, list[float]]:
        """The point of each metric at present, if it has been logged."""
        values = trainer.callback_metrics
        across = trainer.global_step if self.against is None else values.get(self.against)
        if across is None:
            return {}
        return {metric: [float(across), float(values[metric])] for metric in self.metrics if metric in values}
