"""Backpropagation through time within a memory budget, for LightningModules as they are."""

import functools
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from graves_core.media import log_images
from graves_core.plots import check_plots
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cost import PlanCost, Report
from graves_rnn_training.layers.scan.recurrent import run_rnn
from graves_rnn_training.layers.scan.rnn import FORWARDS
from graves_rnn_training.schedules.chart import MOST, schedule_chart


class MemoryEfficientBPTT(Callback):
    """Trains the recurrent layers of any LightningModule within a memory budget; results stay the same.

    During `fit`, every `nn.LSTM`, `nn.GRU` and `nn.RNN` runs in segments of many time steps, of which some
    states are kept and the rest is run again. Layers that have a `budget` already, such as `CheckpointedRNN`,
    get this one. Afterwards everything is as it was; names in checkpoints are the same all the time. Dropout
    between the layers of one module is drawn segment by segment, and so in another order.

    After the first batch it says, and logs, what the plan costs: `bptt/slots`, the states that are kept,
    `bptt/forward_passes`, how often each step runs forward, `bptt/expected_megabytes` and
    `bptt/full_megabytes`, the memory of all layers with and without it.

    Args:
        budget: for each layer; by default what is needed to run each step twice.
        modules: pattern, as for file names, of the names of layers that are meant: `encoder.*`; all by
            default.
        picture: draw the schedule of the first batch. Needs `pip install "graves-rnn-training[plots]"`.

    Raises:
        ValueError: at the start of `fit`, when there is no such layer.
        TypeError: at the start of `fit`, when the pattern names a subclass with a forward of its own.

    Source: Gruslys et al. 2016.

    Example:
        >>> class Tagger(LightningModule):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.lstm = nn.LSTM(8, 16, batch_first=True)
        ...     def training_step(self, batch, batch_idx):
        ...         return self.lstm(batch)[0].square().mean()
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> trainer = Trainer(
        ...     max_steps=1,
        ...     callbacks=[MemoryEfficientBPTT(MemoryBudget(fraction=0.05))],
        ...     logger=False,
        ...     enable_checkpointing=False,
        ...     enable_progress_bar=False,
        ...     enable_model_summary=False,
        ... )
        >>> trainer.fit(Tagger(), torch.utils.data.DataLoader(torch.randn(4, 500, 8), batch_size=4))
        >>> sorted(trainer.callback_metrics)[:2]
        ['bptt/expected_megabytes', 'bptt/forward_passes']
    """

    def __init__(
        self, budget: MemoryBudget | None = None, modules: str | None = None, picture: bool = False
    ) -> None:
        self.budget = MemoryBudget() if budget is None else budget
        self.modules = modules
        self.picture = picture
        self._restore: list[Callable[[], None]] = []
        self._costs: dict[str, list[PlanCost]] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the layers the budget; not in `setup`, because models may be made after it.

        Raises:
            ValueError: when there are none.
            TypeError: when the pattern names one that segments cannot stand for.
            ImportError: when a picture is wanted and nothing can be drawn.
        """
        if self.picture:
            check_plots(type(self).__name__, "graves-rnn-training")
        self._put_back()
        self._costs = {}
        layers = dict(self._layers(pl_module))
        if not layers:
            what = "no nn.LSTM, nn.GRU or nn.RNN" if self.modules is None else f"no layer {self.modules!r}"
            there = [name for name, module in pl_module.named_modules() if is_recurrent(module)]
            raise ValueError(
                f"modules: {type(pl_module).__name__} has {what} that segments can stand for; its recurrent "
                f"layers are {there}"
            )
        for name, module in layers.items():
            self._give(module, functools.partial(self._note, name))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tells once what was planned."""
        costs, self._costs = self._costs, None
        if not costs:
            return
        for name, own in costs.items():
            rank_zero_info(f"{type(self).__name__}: {name or type(pl_module).__name__}: {own[0]}")
        every = [cost for own in costs.values() for cost in own]
        pl_module.log_dict(
            {
                "bptt/slots": sum(cost.slots for cost in every),
                "bptt/forward_passes": max(cost.forward_factor for cost in every),
                "bptt/expected_megabytes": sum(cost.peak_bytes or 0 for cost in every) / 1e6,
                "bptt/full_megabytes": sum(cost.full_bytes or 0 for cost in every) / 1e6,
            },
            batch_size=1,
        )
        if self.picture:
            self._draw(trainer, max(every, key=lambda cost: cost.forwards))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the layers as they were."""
        self._put_back()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves the layers as they were."""
        self._put_back()

    def _layers(self, pl_module: LightningModule) -> Iterator[tuple[str, nn.Module]]:
        """What gets the budget, by name."""
        inside: set[nn.Module] = set()
        for name, module in pl_module.named_modules():
            if module in inside or not is_recurrent(module) or not fnmatchcase(name, self.modules or "*"):
                continue
            if has_budget(module):
                inside.update(module.modules())
            if has_budget(module) or type(module).forward in FORWARDS:
                yield name, module
            elif self.modules is not None:
                raise TypeError(
                    f"modules={self.modules!r} names {name}, whose class {type(module).__name__} has a "
                    "forward of its own; segments can stand for nn.LSTM, nn.GRU and nn.RNN alone"
                )
            else:
                rank_zero_info(f"{type(self).__name__}: {name} is left alone: it has a forward of its own")

    def _give(self, module: Any, report: Report) -> None:
        if has_budget(module):
            before = module.budget, module.report
            module.budget, module.report = self.budget, report
            self._restore.append(lambda: _set_budget(module, *before))
        else:
            module.forward = functools.partial(run_or_plain, module, self.budget, report)
            self._restore.append(functools.partial(delattr, module, "forward"))

    def _put_back(self) -> None:
        while self._restore:
            self._restore.pop()()

    def _note(self, name: str, cost: PlanCost) -> None:
        if self._costs is not None:
            self._costs.setdefault(name, []).append(cost)

    def _draw(self, trainer: Trainer, cost: PlanCost) -> None:
        operations = cost.forwards + cost.plan.steps
        if operations > MOST:
            rank_zero_info(f"{type(self).__name__}: no picture, because {operations} operations are too many")
        else:
            log_images(trainer, "schedule", schedule_chart(cost.plan)[None])


def is_recurrent(module: nn.Module) -> bool:
    """Whether a module is a recurrent layer of torch, or trains within a budget already."""
    return isinstance(module, nn.RNNBase) or has_budget(module)


def has_budget(module: nn.Module) -> bool:
    """Whether a module trains within a budget that can be changed."""
    return isinstance(getattr(module, "budget", None), MemoryBudget) and hasattr(module, "report")


def run_or_plain(rnn: nn.RNNBase, budget: MemoryBudget, report: Report, inputs: Any, hx: Any = None) -> Any:
    """The forward of a layer: within the budget if gradients are wanted, else as it always was."""
    if not torch.is_grad_enabled():
        return type(rnn).forward(rnn, inputs, hx)
    return run_rnn(rnn, inputs, hx, budget=budget, report=report)


def _set_budget(module: Any, budget: MemoryBudget, report: Report | None) -> None:
    module.budget, module.report = budget, report
