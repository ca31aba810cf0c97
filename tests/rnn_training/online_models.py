"""Small online learners and batches for tests."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from graves_core import ResumableLoader
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.encoders import OneHotEncoder
from graves_rnn_training.layers.learners.base import Learner
from graves_rnn_training.layers.learners.bptt import BPTT
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.snap import SnAp
from graves_rnn_training.layers.learners.uoro import UORO
from graves_rnn_training.layers.readouts import LinearReadout
from graves_rnn_training.module.online import OnlineRNN

SYMBOLS, HIDDEN = 4, 6
LEARNERS: dict[str, Callable[[GRUCell], Learner]] = {"snap": SnAp, "rtrl": RTRL, "uoro": UORO, "bptt": BPTT}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SGD = partial(torch.optim.SGD, lr=0.5)
STILL = partial(torch.optim.SGD, lr=0.0)


def make(name: str = "rtrl", seed: int = 0, **arguments: Any) -> OnlineRNN:
    """A small model with weights from a seed."""
    torch.manual_seed(seed)
    learner = LEARNERS[name](GRUCell(SYMBOLS, HIDDEN, sparsity=0.5))
    return OnlineRNN(
        learner, LinearReadout(HIDDEN, 3), OneHotEncoder(SYMBOLS), **({"optimizer": SGD} | arguments)
    )


def batch(rows: int = 3, steps: int = 5, seed: int = 1, silent: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Random symbols and classes, without targets in the `silent` steps."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randint(SYMBOLS, (rows, steps), generator=draw, dtype=torch.uint8)
    targets = torch.randint(3, (rows, steps), generator=draw)
    targets[:, list(silent)] = -100
    return {"inputs": inputs, "targets": targets}


def chunks(whole: dict[str, Tensor], length: int) -> list[dict[str, Tensor]]:
    """A batch as the batches of a stream; the first one starts anew."""
    steps, rows = whole["inputs"].shape[1], len(whole["inputs"])
    return [
        {name: values[:, start : start + length] for name, values in whole.items()}
        | {"reset": torch.full((rows,), start == 0)}
        for start in range(0, steps, length)
    ]


class Stream(torch.utils.data.Dataset):
    """Rows of a loader without shuffling: chunks of parallel streams that start anew now and then."""

    def __init__(self, rows: int, chunks: int, steps: int = 3) -> None:
        self.rows, self.chunks = rows, chunks
        self.whole = batch(rows * chunks, steps, silent=(1,))

    def __len__(self) -> int:
        return self.rows * self.chunks

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = {name: values[index] for name, values in self.whole.items()}
        return row | {"reset": torch.tensor(index in (0, 1, 3 * self.rows))}


def stream_loader(rows: int = 4, chunks: int = 6, ranks: int = 1) -> ResumableLoader:
    """Chunks of `rows` streams over all ranks."""
    return ResumableLoader(Stream(rows, chunks), batch_size=rows // ranks, shuffle=False)


def fit(model: OnlineRNN, batches: list[Any], **arguments: Any) -> Trainer:
    """Trains one epoch on these batches."""
    callbacks = arguments.pop("callbacks", [])
    trainer = Trainer(**(QUIET | {"max_epochs": 1} | arguments), callbacks=callbacks)
    trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
    return trainer
