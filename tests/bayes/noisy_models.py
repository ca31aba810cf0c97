"""A LightningModule that knows nothing of noise, its data, and a callback that looks at its noise."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from graves_bayes.layers.make_noisy import make_noisy
from graves_bayes.layers.noise_control import noisy_layers
from graves_core import ResumableLoader, Spec
from graves_core.testing import quiet

QUIET: dict[str, Any] = quiet.QUIET | {"enable_checkpointing": False}


class Regressor(LightningModule):
    """Two linear layers and a squared error."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.Tanh())
        self.head = nn.Linear(8, 1)
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self(batch) - batch.sum(1, keepdim=True)).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.outputs.append(self(batch).detach().clone())

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class NoisyRegressor(Spec, Regressor):
    """With noisy layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        make_noisy(self)


class Watch(Callback):
    """Notes the noise of the last layer and the place of each training batch, and may write it to a file."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seen: list[tuple[int, int, Tensor]] = []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        *_, layer = noisy_layers(pl_module).values()
        self.seen.append((trainer.global_step, trainer.current_epoch, layer.noise.inputs.clone()))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.folder is not None:
            noise = [noise for _, _, noise in self.seen]
            file = self.folder / f"{trainer.global_rank}.pt"
            torch.save({"noise": noise, "weights": pl_module.state_dict()}, file)


def make() -> Regressor:
    torch.manual_seed(0)
    return Regressor()


def data(rows: int = 12) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))


def loader(batch_size: int = 2) -> ResumableLoader:
    return ResumableLoader(data(), batch_size=batch_size, shuffle=True)


def fit(callback: Callback, module: Regressor | None = None, **arguments: Any) -> tuple[Regressor, Watch]:
    module, watch = module or make(), Watch()
    trainer = Trainer(**(QUIET | {"max_epochs": 2} | arguments), callbacks=[callback, watch])
    trainer.fit(module, loader())
    return module, watch
