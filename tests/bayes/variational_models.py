"""LightningModules that know nothing of posteriors, and their data."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from graves_bayes.callbacks.variational import VariationalInference
from graves_core import ResumableLoader
from graves_core.testing import quiet

QUIET: dict[str, Any] = quiet.QUIET | {"enable_checkpointing": False}


class Rows(torch.utils.data.Dataset[Tensor]):
    """Rows of numbers, of which the last is the target."""

    def __init__(self, rows: int = 10) -> None:
        self.rows = torch.randn(rows, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


class Regressor(LightningModule):
    """A network, and a squared error that is the mean or the sum over the batch."""

    def __init__(self, net: nn.Module | None = None, reduction: str = "mean", lr: float = 0.05) -> None:
        super().__init__()
        self.net = net or nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.reduction = reduction
        self.lr = lr
        self.seen: list[Tensor] = []

    def error(self, batch: Tensor) -> Tensor:
        """Of each example."""
        return (self.net(batch[:, :3])[:, 0] - batch[:, 3]).square()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(next(self.net.parameters()).detach().clone())
        error = self.error(batch)
        self.log("loss", error.mean())
        return error.sum() if self.reduction == "sum" else error.mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append(next(self.net.parameters()).detach().clone())

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class ManualRegressor(Regressor):
    """The same with an optimizer for each layer and manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            self.seen.append(next(self.net.parameters()).detach().clone())
            optimizer.zero_grad()
            self.manual_backward(self.error(batch).mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.net[index].parameters(), lr=self.lr) for index in (0, 2)]


class Gradients(Callback):
    """Notes the gradients of means and scales as the optimizers will see them."""

    def __init__(self, callback: VariationalInference, file: Path | None = None) -> None:
        self.callback = callback
        self.file = file
        self.seen: list[list[Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        posterior = self.callback.posterior
        assert posterior is not None
        leaves = [*posterior.parameters_of_network, *posterior.log_sigma]
        self.seen.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in leaves])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.file is not None:
            found = {"gradients": self.seen, "samples": pl_module.seen, "weights": pl_module.state_dict()}
            torch.save(found, self.file.with_suffix(f".{trainer.global_rank}"))


def make(**arguments: Any) -> Regressor:
    torch.manual_seed(0)
    return Regressor(**arguments)


def loader(batch_size: int = 4, rows: int = 10, shuffle: bool = False) -> ResumableLoader:
    return ResumableLoader(Rows(rows), batch_size=batch_size, shuffle=shuffle)


def fit(
    callback: VariationalInference,
    module: LightningModule | None = None,
    data: Any = None,
    **arguments: Any,
) -> tuple[Any, Gradients, Trainer]:
    module, watch = module or make(), Gradients(callback)
    trainer = Trainer(**(QUIET | {"max_epochs": 1} | arguments), callbacks=[callback, watch])
    trainer.fit(module, data or loader())
    return module, watch, trainer
