"""How much of the influence of weights on states a learner stores, and what it leaves out."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graves_rnn_training.callbacks.models import LearningModel, preserved_random
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.learners.base import Learner
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.stack import LearnerStack


class InfluenceDensity(Callback):
    """Logs size and magnitude of the stored influence on training batches now and then.

    - `influence/megabytes`: memory of the traces for the batch;
    - `influence/density`: stored numbers per entry of the full influence, state by weights;
    - `influence/magnitude`: mean size of the stored numbers at the end of the batch's sequences, which start
      anew. A learner whose influence explodes shows it here first.

    With `orders`, the exact influence of the same sequences is computed too, and for each order n

    - `influence/kept_<n>` and `influence/dropped_<n>`: the mean size of those of its entries that `SnAp` of
      order n would keep, and of those it would leave out. The larger the former beside the latter, the better
      the approximation. This takes memory and time of `RTRL`, and is for small networks. It does not depend
      on how the network is trained.

    Training does not notice. Works in any LightningModule that `LearningModel` describes.

    Args:
        every_n_batches: look in the first training batch of an epoch, and after every so many.
        orders: orders of `SnAp` to study; none by default.
        max_bytes: refuse to compute an exact influence that takes more memory.

    Raises:
        ValueError: when a number is less than 1.

    Source: Menick et al. 2020, who compare the magnitudes of kept and dropped entries during training.

    Example:
        >>> InfluenceDensity(every_n_batches=500, orders=[1, 2]).orders
        [1, 2]
    """

    def __init__(
        self, every_n_batches: int = 100, orders: list[int] | None = None, max_bytes: int = 2**30
    ) -> None:
        smallest = min(orders or [1])
        given = {"every_n_batches": every_n_batches, "orders": smallest, "max_bytes": max_bytes}
        for name, value in given.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.every_n_batches = every_n_batches
        self.orders = orders or []
        self.max_bytes = max_bytes

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would fail later.

        Raises:
            TypeError: when the module lacks something, or its learner has several cells to study.
        """
        learner = LearningModel(pl_module, type(self).__name__).learner
        if self.orders and isinstance(learner, LearnerStack):
            raise TypeError("InfluenceDensity studies orders for one cell, not for those of a LearnerStack")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks and logs.

        Raises:
            ValueError: when an exact influence would take too much memory.
        """
        if batch_idx % self.every_n_batches == 0:
            model = LearningModel(pl_module, type(self).__name__)
            values = stored(model, batch)
            if self.orders:
                values |= self._studied(model, batch)
            pl_module.log_dict(values, sync_dist=True, batch_size=1)

    def _studied(self, model: LearningModel, batch: Any) -> dict[str, Tensor]:
        exact = RTRL(model.learner.cell, max_trace_bytes=self.max_bytes)
        with torch.enable_grad():
            for state in model.states(exact, batch):
                (influence,) = state.traces
        sizes = influence.abs().mean(0)
        values = {}
        for order, kept in zip(self.orders, reach(model.learner.cell, self.orders), strict=True):
            values[f"influence/kept_{order}"] = sizes[kept].mean()
            values[f"influence/dropped_{order}"] = sizes[~kept].sum() / (~kept).sum().clamp(min=1)
        return values


def stored(model: LearningModel, batch: Any) -> dict[str, Tensor]:
    """Size and magnitude of what a learner stores for a batch.

    Args:
        model: whose learner.
        batch: is read from a fresh state.
    """
    learner = model.learner
    with preserved_random(learner), torch.enable_grad():
        for state in model.states(learner, batch):
            traces = state.traces
    numbers = sum(trace.numel() for trace in traces)
    size = sum(trace.abs().sum() for trace in traces) / max(numbers, 1)
    sequences = len(state.hidden)
    values = {
        "influence/megabytes": learner.trace_bytes(sequences) / 1e6,
        "influence/density": numbers / (sequences * full_size(learner)),
        "influence/magnitude": size,
    }
    return {name: torch.as_tensor(value).to(state.hidden) for name, value in values.items()}


def full_size(learner: Learner) -> int:
    """Entries of the full influence of one sequence; of each cell on its own state in a stack."""
    if isinstance(learner, LearnerStack):
        return sum(full_size(layer) for layer in learner.layers if isinstance(layer, Learner))
    return learner.cell.state_size * sum(weight.numel() for _, weight in learner.cell.learned())


def reach(cell: OnlineCell, orders: Sequence[int]) -> Iterator[Bool[Tensor, "state parameters"]]:
    """Which entries of the influence can be other than zero after so many steps, for each order.

    Args:
        cell: its structure counts, not its weights.
        orders: numbers of steps.
    """
    dynamics, immediate = cell.patterns()
    for order in orders:
        reached = immediate
        for _ in range(order - 1):
            reached = reached | (dynamics.float() @ reached.float() > 0)
        yield reached
