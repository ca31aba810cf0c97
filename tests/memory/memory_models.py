"""Small networks with memories, and batches for them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graves_core import ResumableLoader
from graves_memory.layers.dam import DAM
from graves_memory.layers.dnc import DNC
from graves_memory.layers.lstm import LSTMNetwork
from graves_memory.layers.network import MemoryNetwork
from graves_memory.layers.ntm import NTM
from graves_memory.layers.sam import SAM
from graves_memory.layers.sdnc import SDNC
from graves_memory.module.memory import MemoryRNN

SIZE, BITS, HIDDEN = 4, 3, 6
MEMORY: dict[str, Any] = {"hidden_size": HIDDEN, "rows": 8, "width": 5, "heads": 1}
NETS: dict[str, Callable[..., MemoryNetwork[Any]]] = {
    "lstm": partial(LSTMNetwork, hidden_size=HIDDEN),
    "ntm": partial(NTM, **MEMORY),
    "dam": partial(DAM, **MEMORY),
    "dnc": partial(DNC, **MEMORY),
    "sam": partial(SAM, reads=3, **MEMORY | {"heads": 2}),
    "sdnc": partial(SDNC, reads=3, links=4, **MEMORY),
}
SPARSE = ("sam", "sdnc")
"""What these read where all rows are alike depends on what was read before."""
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SGD = partial(torch.optim.SGD, lr=0.5)
STILL = partial(torch.optim.SGD, lr=0.0)


def make(name: str = "ntm", seed: int = 0, batch_first: bool = False, **arguments: Any) -> MemoryRNN:
    """A small model with weights from a seed."""
    torch.manual_seed(seed)
    net = NETS[name](SIZE, BITS, batch_first=batch_first)
    return MemoryRNN(net, **({"optimizer": SGD} | arguments))


def bits(rows: int = 3, steps: int = 5, seed: int = 1, silent: tuple[int, ...] = (0,)) -> dict[str, Tensor]:
    """Random words to read and to say; nothing is due in the `silent` steps."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, steps, dtype=torch.bool)
    mask[:, list(silent)] = False
    words = torch.randint(2, (rows, steps, BITS), generator=draw).float()
    return {"inputs": torch.randn(rows, steps, SIZE, generator=draw), "targets": words, "mask": mask}


def classes(rows: int = 3, steps: int = 5, seed: int = 1) -> dict[str, Tensor]:
    """Random classes, none at the first step."""
    batch = bits(rows, steps, seed)
    targets = batch["targets"].argmax(-1).where(batch["mask"], -100)
    return {"inputs": batch["inputs"], "targets": targets}


def chunks(whole: dict[str, Tensor], length: int) -> list[dict[str, Tensor]]:
    """A batch as the batches of a stream; the first one starts anew."""
    rows, steps = whole["inputs"].shape[:2]
    return [
        {name: values[:, start : start + length] for name, values in whole.items()}
        | {"reset": torch.full((rows,), start == 0)}
        for start in range(0, steps, length)
    ]


class Stream(Dataset[Any]):
    """Rows of a loader without shuffling: chunks of parallel streams, some of which start anew."""

    def __init__(self, rows: int, count: int, steps: int = 3) -> None:
        self.rows, self.count = rows, count
        self.whole = bits(rows * count, steps, silent=(1,))

    def __len__(self) -> int:
        return self.rows * self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = {name: values[index] for name, values in self.whole.items()}
        return row | {"reset": torch.tensor(index < self.rows or index == 3 * self.rows)}


def stream_loader(rows: int = 4, count: int = 6, ranks: int = 1) -> ResumableLoader:
    """Chunks of `rows` streams over all ranks."""
    return ResumableLoader(Stream(rows, count), batch_size=rows // ranks, shuffle=False)


def fit(model: MemoryRNN, batches: list[Any], val: list[Any] | None = None, **arguments: Any) -> Trainer:
    """Trains one epoch on these batches."""
    callbacks = arguments.pop("callbacks", [])
    trainer = Trainer(**(QUIET | {"max_epochs": 1} | arguments), callbacks=callbacks)
    trainer.fit(model, loader(batches), None if val is None else loader(val))
    return trainer


def loader(batches: list[Any]) -> DataLoader[Any]:
    """Hands batches over as they are."""
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
