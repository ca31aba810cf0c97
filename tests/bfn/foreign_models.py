"""LightningModules that are not ours: each with a flow, a network of its own, and nothing else in common."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from graves_bfn import BinaryImages, ContinuousFlow, DiscreteFlow, FieldsCodec, MixedFlow, RealColumns
from graves_bfn.codecs.columns import ClassColumns
from graves_core import ResumableLoader
from graves_core.testing.quiet import QUIET


class Foreign(LightningModule):
    """Binary images; its network is a method, and knows nothing of shapes or extra inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = DiscreteFlow(2, 4.0)
        self.codec = BinaryImages(levels=17)
        self.layer = nn.Linear(65, 64)

    def network(self, inputs: Tensor, t: Tensor) -> Tensor:
        return self.layer(torch.cat([inputs.flatten(1), t[:, None]], 1)).view(-1, 8, 8, 1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.flow.continuous_time_loss(self.network, self.codec.encode(batch)).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Sure(Foreign):
    """Its network is sure of one class, whatever it sees; nothing is trained."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit
        self.calls = 0

    def network(self, inputs: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return torch.full_like(inputs, self.logit)


class Table(Foreign):
    """Two reals and a class per row; gives back what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = MixedFlow({"sizes": ContinuousFlow(0.1), "kind": DiscreteFlow(3, 2.0)})
        self.codec = FieldsCodec({"sizes": RealColumns([0.0, 0.0], [2.0, 20.0]), "kind": ClassColumns(3)})

    def network(self, inputs: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        return {"sizes": torch.zeros_like(inputs["sizes"])[..., None], "kind": inputs["kind"].log()}


class Rows(LightningDataModule):
    """The same rows for training, validation and test, in order."""

    def __init__(self, rows: list[Any], batch_size: int) -> None:
        super().__init__()
        self.loader = ResumableLoader(rows, batch_size, shuffle=False)

    def train_dataloader(self) -> ResumableLoader:
        return self.loader

    val_dataloader = test_dataloader = train_dataloader


def images(levels: Tensor) -> list[Any]:
    """Images of 8 x 8 equal pixels, from 0 to 16, whose labels are their numbers modulo 10."""
    return [(level.to(torch.uint8).expand(1, 8, 8), i % 10) for i, level in enumerate(levels)]


def table(count: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """Rows of the kind that `Table` models."""
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.rand(count, 2, generator=draw) * torch.tensor([2.0, 20.0])
    kinds = torch.randint(0, 3, (count, 1), generator=draw)
    return [{"sizes": size, "kind": kind} for size, kind in zip(sizes, kinds, strict=True)]


def trainer(root: Path, *callbacks: Any, **settings: Any) -> Trainer:
    """A silent Trainer on the CPU."""
    quiet = QUIET | {"enable_checkpointing": False, "num_sanity_val_steps": 0, "max_epochs": 1}
    return Trainer(default_root_dir=root, callbacks=list(callbacks), **(quiet | settings))


def files(root: Path) -> list[str]:
    """The names of all files below a folder."""
    return sorted(path.name for path in root.rglob("*") if path.is_file())
