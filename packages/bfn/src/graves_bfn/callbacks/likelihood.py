"""What data cost when they are sent in n messages."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from graves_bfn.callbacks.base import FlowCallback, check_positive
from graves_bfn.callbacks.charts import is_wide
from graves_bfn.callbacks.scores import Score
from graves_bfn.codecs.base import Codec
from graves_bfn.flows.arrays import Data
from graves_bfn.flows.losses import Network
from graves_core.media import log_images
from graves_core.plots import Curve, check_plots, line_chart


class BFNLikelihood(FlowCallback):
    """Code length in nats per example for a list of step counts, with standard errors, over the test set.

    Works in any LightningModule with the attributes `flow`, `network` and `codec`. Logs
    `test/nats_per_example_n=10` and so on, `n=inf` for infinitely many messages, each with the
    reconstruction loss included, and beside it `..._stderr` over examples. With several repeats (fresh
    times, noise and binarisation) the examples' means are scored, and `..._repeat_stderr` is the standard
    error over repeats, the figure that the paper gives. Ranks are weighted by how many examples they saw.

    Args:
        steps: numbers of messages, besides infinitely many.
        repeats: passes over each batch.
        chart: draw the curve over the numbers of messages; needs `pip install "graves-bfn[plots]"`.
        codec: what turns batches into data of the flow, for models without a `codec`.

    Raises:
        ValueError: when a number is not positive, or there is nothing to draw.

    Example:
        >>> BFNLikelihood(steps=[10, 100]).steps
        [10, 100]
    """

    def __init__(
        self,
        steps: list[int] | None = None,
        repeats: int = 1,
        chart: bool = False,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(codec)
        self.steps = [10, 25, 50, 100] if steps is None else steps
        if min(self.steps, default=1) < 1:
            raise ValueError(f"steps must all be at least 1, not {self.steps}")
        check_positive(repeats=repeats)
        if chart and not self.steps:
            raise ValueError("chart needs at least one number of steps, but steps is []")
        self.repeats = repeats
        self.chart = chart
        self._scores: dict[str, Score] = {}

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the model lacks something.
            ImportError: when no chart can be drawn.
        """
        super().check(trainer, pl_module)
        if self.chart:
            check_plots("BFNLikelihood(chart=True)", "graves-bfn")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts counting."""
        names = [*map(str, self.steps), "inf"]
        self._scores = {name: Score(self.repeats, pl_module.device) for name in names}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Scores the batch with every number of messages."""
        model = self.model(pl_module)
        repeats: dict[str, list[Tensor]] = {name: [] for name in self._scores}
        for _ in range(self.repeats):
            examples = model.examples(batch)
            given: tuple[Network, Data] = (model.shown(examples), examples.x)
            told: dict[str, Any] = {"valid": examples.valid, "self_conditioning": model.recalls}
            reconstruction = model.flow.reconstruction_loss(*given, **told)
            for n in self.steps:
                messages = model.flow.discrete_time_loss(*given, n, grid=model.grid, **told)
                repeats[str(n)].append(messages + reconstruction)
            repeats["inf"].append(model.flow.continuous_time_loss(*given, **told) + reconstruction)
        for name, values in repeats.items():
            self._scores[name].update(torch.stack(values))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the means and their standard errors, and draws them."""
        results = {name: score.compute() for name, score in self._scores.items()}
        for name, result in results.items():
            for suffix, value in result.items():
                pl_module.log(f"test/nats_per_example_n={name}{suffix}", value, sync_dist=True)
        if self.chart:
            log_images(trainer, "likelihood", self._chart(results)[None])

    def _chart(self, results: dict[str, dict[str, Tensor]]) -> Tensor:
        steps = sorted(set(self.steps))
        means, errors = ([float(results[str(n)][key]) for n in steps] for key in ("", "_stderr"))
        curve = Curve(steps, means, errors)
        limit = {"n = ∞": float(results["inf"][""])}
        return line_chart(
            {"mean and standard error": curve},
            "number of messages n",
            "nats per example",
            log_x=True,
            log_y=is_wide([*means, *limit.values()]),
            levels=limit,
        )
