"""How good samples are, by sampler and by number of network calls."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from graves_bfn.callbacks.base import FlowCallback, check_positive
from graves_bfn.callbacks.examples import Examples, joined
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.callbacks.ranks import drawn, gathered
from graves_bfn.callbacks.sampler_names import sampler_names
from graves_bfn.callbacks.sheets import labelled_lines
from graves_bfn.callbacks.sweeps import Sweep
from graves_bfn.codecs.base import Codec
from graves_bfn.flows.arrays import Data, rows
from graves_bfn.quality import FrechetQuality, NGramQuality, SampleQuality
from graves_bfn.samplers.base import Sampler
from graves_bfn.samplers.messages import MessageSampler
from graves_bfn.samplers.solvers import ODESolver, SDESolver
from graves_core.media import log_images, log_text
from graves_core.pictures import image_grid
from graves_core.plots import check_plots
from graves_core.sheets import labelled_sheet


class BFNQuality(FlowCallback):
    """Compares what every sampler draws in every number of steps with real data of the test set.

    Works in any LightningModule with the attributes `flow`, `network` and `codec`. At the end of a test it
    logs `test/quality_<sampler>_n=<steps>`, lower is better, and `test/quality_floor`, what real data score;
    it writes a table, draws the curves over the number of network calls (one more than steps), and shows
    pictures or texts side by side, a row per sampler. All of them start from the same noise.

    The test data are put in random order. The first of them lend their conditions and padding to the samples,
    and are scored themselves for the floor; samples and they are compared with the others. So there are at
    most half as many samples as test examples. Fields of mixed data are laid side by side for comparison.

    The ranks of a data-parallel run share the drawing; each then has all samples and compares by itself.

    Args:
        quality: how to compare; by default `NGramQuality` for texts and `FrechetQuality` for all else.
        samplers: how to draw; by default `MessageSampler`, `SDESolver` and `ODESolver`.
        steps: numbers of steps; 5, 10, 20, 50 and 100 by default.
        num_samples: how many to draw with each sampler and number of steps.
        batch_size: how many to draw at a time.
        shown: how many of them are shown for each sampler and number of steps; 0 for none.
        chart: draw the curves; needs `pip install "graves-bfn[plots]"`.
        seed: seed of the noise and of the order of the test data.
        codec: what turns batches into data of the flow, for models without a `codec`.

    Raises:
        ValueError: when a number is out of range, two samplers are the same, or one cannot take so
            many steps.

    Example:
        >>> from graves_bfn import FrechetQuality, SDESolver
        >>> callback = BFNQuality(FrechetQuality(components=16), [SDESolver(1), SDESolver(2)], steps=[10, 30])
        >>> callback.names
        ['SDESolver(order=1)', 'SDESolver(order=2)']
    """

    def __init__(
        self,
        quality: SampleQuality | None = None,
        samplers: list[Sampler] | None = None,
        steps: list[int] | None = None,
        num_samples: int = 1000,
        batch_size: int = 250,
        shown: int = 9,
        chart: bool = True,
        seed: int = 0,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(codec)
        check_positive(num_samples=num_samples, batch_size=batch_size)
        if shown < 0:
            raise ValueError(f"shown must be at least 0, not {shown}")
        self.samplers = [MessageSampler(), SDESolver(), ODESolver()] if samplers is None else samplers
        self.names = sampler_names(self.samplers)
        self.steps = [5, 10, 20, 50, 100] if steps is None else sorted(set(steps))
        if min(self.steps, default=0) < 1:
            raise ValueError(f"steps must be at least one number, all at least 1, not {steps}")
        for sampler in self.samplers:
            for n in self.steps:
                sampler.times(n)
        self.quality = quality
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.shown = shown
        self.chart = chart
        self.seed = seed
        self._seen: list[Examples] = []

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the model lacks something.
            ImportError: when no chart can be drawn.
        """
        super().check(trainer, pl_module)
        if self.chart:
            check_plots("BFNQuality(chart=True)", "graves-bfn")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets what it has seen."""
        self._seen = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remembers the data of the first loader."""
        if dataloader_idx == 0:
            model = self.model(pl_module)
            generator = model.generator(self.seed + batch_idx)
            self._seen.append(model.examples(batch, generator).to("cpu"))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, compares, logs and shows.

        Raises:
            ValueError: when the test set has fewer than two examples.
        """
        model = self.model(pl_module)
        real = gathered(model, joined(self._seen))
        self._seen = []
        order = torch.randperm(real.number, generator=torch.Generator().manual_seed(self.seed))
        real = rows(real, order)
        sweep = self._sweep(model, real)
        pl_module.log("test/quality_floor", sweep.floor, sync_dist=True)
        for (name, n), value in sweep.values.items():
            pl_module.log(f"test/quality_{name}_n={n}", value, sync_dist=True)
        log_text(trainer, "quality", ["\n".join(sweep.table())])
        if self.chart:
            log_images(trainer, "quality", sweep.chart()[None])
        if self.shown:
            self._show(trainer, model, sweep, real)

    def _sweep(self, model: FlowModel, real: Examples) -> Sweep:
        """All samplers with all numbers of steps."""
        count = self._count(real.number)
        quality = self.quality or _fitting(model.codec, real)
        flat = _vectors(real.x)
        values, shown = {}, {}
        for name, sampler in zip(self.names, self.samplers, strict=True):
            for n in self.steps:
                x = drawn(model, rows(real, slice(count)), n, sampler, self.batch_size, self.seed)
                values[name, n] = quality.compare(_vectors(x), flat[count:])
                shown[name, n] = rows(x, slice(self.shown))
        return Sweep(quality.name, count, quality.floor(flat, count), values, shown)

    def _count(self, examples: int) -> int:
        """How many samples to draw."""
        if examples < 2:
            raise ValueError(f"BFNQuality needs at least 2 test examples, got {examples}")
        count = min(self.num_samples, examples // 2)
        if count < self.num_samples:
            limit = f"{count} samples, not {self.num_samples}: half as many as there are test examples"
            rank_zero_warn(f"BFNQuality draws {limit}")
        return count

    def _show(self, trainer: Trainer, model: FlowModel, sweep: Sweep, real: Examples) -> None:
        """Samples in a row per sampler and a column per number of steps, beside test data of their kind."""
        codec, some = model.codec, rows(real.x, slice(min(self.shown, sweep.count)))
        cells = [[sweep.shown[name, n] for n in self.steps] for name in self.names]
        columns = [f"{n} steps" for n in self.steps]
        if codec.images(some) is not None:
            grids = [_grids(codec, [*row, some]) for row in cells]
            sheet = labelled_sheet(grids, self.names, [*columns, "test data"])
            log_images(trainer, "quality_samples", sheet[None])
        elif (wanted := codec.texts(some)) is not None:
            texts = [[x for x in map(codec.texts, row) if x is not None] for row in cells]
            lines = labelled_lines(texts, self.names, columns)
            log_text(trainer, "quality_samples", [*lines, "", "test data", *(f"  {text}" for text in wanted)])


def _grids(codec: Codec, cells: list[Data]) -> list[Tensor]:
    """Each cell as one picture."""
    return [image_grid(x) for x in map(codec.images, cells) if x is not None]


def _fitting(codec: Codec, real: Examples) -> SampleQuality:
    """The usual comparison for data of this kind."""
    is_text = codec.texts(rows(real.x, slice(1))) is not None
    return NGramQuality() if is_text else FrechetQuality()


def _vectors(x: Data) -> Tensor:
    """Data as one tensor; the fields of mixed data side by side as numbers."""
    if not isinstance(x, dict):
        return x
    return torch.cat([values.flatten(1).float() for values in x.values()], 1)
