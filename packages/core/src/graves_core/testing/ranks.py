"""Data-parallel equality: two ranks with half a batch compute the gradients of one with all of it."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from graves_core.loader import ResumableLoader
from graves_core.testing.draws import GlobalDraws
from graves_core.testing.quiet import QUIET


class _BatchRows:
    """The rows of one batch as a dataset that keeps the batch's structure."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(tree_leaves(self.batch)[0])

    def __getitem__(self, index: int) -> Any:
        return tree_map(lambda rows: rows[index], self.batch)

    def __getitems__(self, indices: list[int]) -> Any:
        return tree_map(lambda rows: rows[indices], self.batch)


class _Recorder(pl.Callback):
    """Has each step draw for the global batch, and writes rank 0's gradients and final weights."""

    def __init__(self, rows: int, seed: int, file: Path) -> None:
        self.rows = rows
        self.seed = seed
        self.file = file
        self.recorded: dict[str, Tensor] = {}
        self.draws = ExitStack()

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        torch.manual_seed(self.seed)
        share = self.rows // trainer.world_size
        self.draws.enter_context(GlobalDraws(trainer.global_rank, trainer.world_size, share))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        for name, weight in pl_module.named_parameters():
            if weight.grad is not None:
                self.recorded.setdefault(f"gradient of {name}", weight.grad.clone())

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.draws.close()

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        self.draws.close()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            weights = {f"weight {name}": value.clone() for name, value in pl_module.state_dict().items()}
            torch.save(self.recorded | weights, self.file)


def assert_same_gradients_ddp(
    make_module: Callable[[], pl.LightningModule],
    batch: Any,
    world: int = 2,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> None:
    """Asserts that ranks with a share of a batch each compute what one process computes with all of it.

    One training step is done twice: by one process, and by `world` forked processes over gloo, with the
    module's own optimizers. All random draws of torch are shared out like the batch (`GlobalDraws`). The
    gradients before the first step of each optimizer and the state (weights and buffers) afterwards are
    compared. The forked processes need no pickling, so `make_module` may be a lambda.

    Args:
        make_module: makes the module, with the same weights under the same seed.
        batch: a global batch: a tensor, or lists and dicts of tensors, with examples along the first axis.
        world: number of ranks; it divides the number of examples.
        tolerance: largest difference, relative to the largest entry of a tensor or to 1 if that is less.
        seed: seed of the weights and of the draws.

    Raises:
        AssertionError: naming the tensor that differs most.
        ValueError: when `world` does not divide the number of examples, or no gradient was computed.

    Example:
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> assert_same_gradients_ddp(BoringModel, torch.randn(6, 32))
    """
    rows = len(_BatchRows(batch))
    if rows % world != 0:
        raise ValueError(f"world must divide the number of examples, got world={world} and {rows} examples")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a process that has used more threads cannot be forked safely
    try:
        with tempfile.TemporaryDirectory() as folder:
            one = _step(make_module, batch, rows, 1, seed, Path(folder) / "one.pt")
            many = _step(make_module, batch, rows, world, seed, Path(folder) / "many.pt")
    finally:
        torch.set_num_threads(threads)
    if not any(name.startswith("gradient") for name in one):
        raise ValueError("the training step computed no gradient, so there is nothing to compare")
    assert one.keys() == many.keys(), f"gradients of one side only: {sorted(one.keys() ^ many.keys())}"
    error, name = max((_error(one[name], many[name]), name) for name in one)
    assert error <= tolerance, (
        f"{world} ranks and one process disagree: {name} by {error:.3g} > {tolerance:.3g}"
    )


def _step(
    make_module: Callable[[], pl.LightningModule], batch: Any, rows: int, world: int, seed: int, file: Path
) -> dict[str, Tensor]:
    pl.seed_everything(seed, verbose=False)
    loader = ResumableLoader(_BatchRows(batch), rows // world, shuffle=False, collate_fn=_unchanged)
    strategy = {"devices": world, "strategy": "ddp_fork"} if world > 1 else {}
    trainer = pl.Trainer(
        **(QUIET | strategy),
        max_epochs=1,
        enable_checkpointing=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        callbacks=[_Recorder(rows, seed, file)],
    )
    trainer.fit(make_module(), loader)
    recorded: dict[str, Tensor] = torch.load(file, weights_only=True)
    return recorded


def _unchanged(batch: Any) -> Any:
    return batch


def _error(expected: Tensor, got: Tensor) -> float:
    if expected.numel() == 0:
        return 0.0
    expected, got = expected.double(), got.double()
    error = (expected - got).abs().max() / expected.abs().max().clamp(min=1)
    return float("inf") if error.isnan() else float(error)
