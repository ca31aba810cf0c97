"""Whether every column of a table is distributed as in the data."""

from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float, Shaped
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from graves_bfn.callbacks.base import DrawingCallback, check_positive
from graves_bfn.callbacks.columns import Columns, columns_of
from graves_bfn.callbacks.distances import chance_distance, is_counted, marginal_distance
from graves_bfn.callbacks.examples import Examples, joined
from graves_bfn.callbacks.ranks import drawn, gathered
from graves_bfn.codecs.base import Codec
from graves_bfn.samplers.base import Sampler
from graves_core.media import log_images
from graves_core.plots import check_plots, histogram_chart


class BFNMarginals(DrawingCallback):
    """Draws after validation and compares every column with that of the validation data.

    For tables, and whatever else comes as a dict of fields; works in any LightningModule with the attributes
    `flow`, `network` and `codec`. Draws a histogram of each column with its distance, in the DataModule's
    units and under its names: the Wasserstein distance in standard deviations, or of classes and other small
    sets of whole numbers the total variation distance. Logs the mean over columns as `val/marginal_distance`,
    and as `val/marginal_floor` what so few values of one distribution are expected to be apart by chance.

    Samples are drawn under the conditions and with the padding of the validation data, in turn.

    The ranks of a data-parallel run share the work. Needs `pip install "graves-bfn[plots]"`.

    Args:
        num_samples: how many to draw.
        num_steps: steps per sample; the model's `sample_steps` by default.
        every_n_epochs: draw after every so many epochs.
        bins: of the histograms; twice the cube root of the smaller number of examples by default.
        seed: seed of the noise.
        sampler: how to generate; the model's by default.
        batch_size: how many to draw at a time; all at once by default.
        codec: what turns batches into data of the flow, for models without a `codec`.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> BFNMarginals(num_samples=500, every_n_epochs=10).num_samples
        500
    """

    def __init__(
        self,
        num_samples: int = 1000,
        num_steps: int | None = None,
        every_n_epochs: int = 1,
        bins: int | None = None,
        seed: int = 0,
        sampler: Sampler | None = None,
        batch_size: int | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(num_samples, num_steps, every_n_epochs, seed, sampler, batch_size, codec)
        check_positive(bins=bins)
        self.bins = bins
        self._seen: list[Examples] = []

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the model lacks something.
            ImportError: when no chart can be drawn.
        """
        super().check(trainer, pl_module)
        check_plots(type(self).__name__, "graves-bfn")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets what it has seen."""
        self._seen = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the data of the first loader."""
        if dataloader_idx == 0 and self.is_due(trainer):
            model = self.model(pl_module)
            generator = model.generator(self.seed + batch_idx)
            self._seen.append(model.examples(batch, generator).to("cpu"))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, compares and logs."""
        if not self.is_due(trainer):
            return
        model = self.model(pl_module)
        real = gathered(model, joined(self._seen))
        like = real.cycled(self.num_samples)
        x = drawn(model, like, self.num_steps, self.sampler, self.batch_size, self.seed)
        data = columns_of(trainer, model.codec.decode(real.x), real.valid)
        samples = columns_of(trainer, model.codec.decode(x), like.valid)
        pairs = {name: (samples[name], data[name]) for name in data if name in samples}
        distances = {name: float(marginal_distance(*pair)) for name, pair in pairs.items()}
        floor = fmean(float(chance_distance(*pair)) for pair in pairs.values())
        pl_module.log("val/marginal_distance", fmean(distances.values()), sync_dist=True)
        pl_module.log("val/marginal_floor", floor, sync_dist=True)
        log_images(trainer, "marginals", self._chart(data, samples, distances)[None])
        self._seen = []

    def _chart(self, data: Columns, samples: Columns, distances: dict[str, float]) -> Tensor:
        counted = [name for name in distances if is_counted(data[name], samples[name])]
        generator = torch.Generator().manual_seed(self.seed)
        data, samples = (
            {name: x if name in counted else _dequantised(x, generator) for name, x in columns.items()}
            for columns in (data, samples)
        )
        titles = {name: f"{name}  ({distance:.2f})" for name, distance in distances.items()}
        pairs = {title: (data[name], samples[name]) for name, title in titles.items()}
        fewest = min(len(values) for pair in pairs.values() for values in pair)
        bins = self.bins or round(2 * fewest ** (1 / 3))
        return histogram_chart(pairs, bins=bins, discrete=[titles[name] for name in counted])


def _dequantised(values: Shaped[Tensor, " count"], generator: torch.Generator) -> Float[Tensor, " count"]:
    """Whole numbers spread evenly over the intervals that they round from, so that bins fill evenly."""
    if values.is_floating_point():
        return values
    return values + torch.rand(values.shape, generator=generator) - 0.5
