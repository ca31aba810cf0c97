"""Checkpointed scans under data parallelism and under the compiler."""

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from scan_loops import assert_equal, results_and_gradients, scan
from torch import Tensor, nn

from graves_core.testing import assert_same_gradients_ddp
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.rnn import CheckpointedRNN
from graves_rnn_training.layers.scan.scan import checkpointed_scan


class Twice(LightningModule):
    """A cell within a scan whose weights are used after it as well, and a layer in segments behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.layer = CheckpointedRNN(
            "LSTM", 4, 5, num_layers=2, batch_first=True, budget=MemoryBudget(slots=3)
        )
        self.readout = nn.Linear(5, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        x = batch.transpose(0, 1)
        start = torch.zeros(len(batch), 4)
        outputs, hidden = checkpointed_scan(self.cell, x, start, budget=MemoryBudget(slots=3))
        outputs, _ = self.layer(outputs.transpose(0, 1))
        again = self.cell(x[0], hidden)
        losses = self.readout(outputs).square().mean((1, 2)) + again.square().mean(1)
        return losses.mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_two_ranks_compute_the_gradients_of_one() -> None:
    assert_same_gradients_ddp(Twice, torch.randn(6, 30, 3))


@pytest.mark.parametrize("strategy", ["hidden", "mixed"])
def test_a_compiled_cell_gives_what_it_gives_otherwise(strategy: str) -> None:
    torch.manual_seed(0)
    cell = nn.LSTMCell(3, 4).double()
    x = torch.randn(20, 2, 3, dtype=torch.float64)
    compiled = torch.compile(cell, backend="aot_eager")
    compare(cell, compiled, x, strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["hidden", "mixed"])
def test_a_cell_of_the_default_compiler_gives_what_it_gives_otherwise(strategy: str) -> None:
    torch.manual_seed(0)
    cell = nn.LSTMCell(3, 4).double()
    compare(cell, torch.compile(cell), torch.randn(20, 2, 3, dtype=torch.float64), strategy)


def compare(cell: Any, compiled: Any, x: Tensor, strategy: str) -> None:
    zeros = tuple(torch.zeros(2, 4, dtype=torch.float64) for _ in range(2))
    expected = results_and_gradients(lambda: scan(cell, x, zeros, strategy), cell.parameters())
    found = results_and_gradients(lambda: scan(compiled, x, zeros, strategy), cell.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_a_cell_that_draws_is_repeatable_under_the_compiler() -> None:
    torch.manual_seed(0)
    mix = nn.Linear(7, 4).double()

    def cell(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = mix(torch.cat([inputs, nn.functional.dropout(state, 0.5)], 1)).tanh()
        return state, state

    compiled = torch.compile(cell, backend="aot_eager")
    x, zeros = torch.randn(20, 2, 3, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    gradients = []
    for slots in (1, 4, 50):
        torch.manual_seed(3)
        gradients.append(
            results_and_gradients(
                lambda s=slots: scan(compiled, x, zeros, slots=s, parameters=mix.parameters()),
                mix.parameters(),
            )
        )
    assert_equal(gradients[1], gradients[0])
    assert_equal(gradients[2], gradients[0])
