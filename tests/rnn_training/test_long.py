"""The model of very long texts: the gradient of full backpropagation, in memory that does not grow."""

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from graves_core import EnglishTextDataModule, ExactResume
from graves_core.testing import (
    assert_exact_resume,
    assert_safe_checkpoint,
    assert_same_gradients_ddp,
    peak_bytes,
)
from graves_core.testing.quiet import QUIET
from graves_rnn_training.layers.encoders import EmbeddingEncoder, OneHotEncoder
from graves_rnn_training.layers.readouts import LinearReadout, MLPReadout
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.module.long import LongSequenceRNN

SILENT = QUIET | {"enable_checkpointing": False}


def small(**options: Any) -> LongSequenceRNN:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"hidden_size": 16, "budget": MemoryBudget(slots=4)} | options
    return LongSequenceRNN(OneHotEncoder(27), LinearReadout(16, 27), **arguments)


def english(length: int = 64) -> EnglishTextDataModule:
    return EnglishTextDataModule(length=length, batch_size=4)


def full_loss(model: LongSequenceRNN, tokens: Tensor) -> Tensor:
    """The mean of -log p by torch's own layer over the whole length."""
    symbols = tokens.long().T
    inputs = torch.stack([model.encoder(row) for row in symbols[:-1]])
    logits = model.readout(model.rnn(inputs)[0])
    return nn.functional.cross_entropy(logits.flatten(0, 1), symbols[1:].flatten())


@pytest.mark.parametrize(
    "model",
    [
        lambda: small(),
        lambda: small(kind="GRU", num_layers=2),
        lambda: LongSequenceRNN(
            EmbeddingEncoder(27, 5), MLPReadout(16, 27, width=8), "RNN", 16, budget=MemoryBudget(segment=7)
        ),
    ],
    ids=["LSTM", "GRU", "RNN"],
)
def test_loss_and_gradient_are_those_of_full_backpropagation(model: Any) -> None:
    made = model().double()
    tokens = torch.randint(27, (3, 50), dtype=torch.uint8)
    expected, found = full_loss(made, tokens), made.loss(tokens)
    torch.testing.assert_close(found, expected)
    pairs = zip(
        torch.autograd.grad(found, list(made.parameters())),
        torch.autograd.grad(expected, list(made.parameters())),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(length: int) -> int:
        model = small(budget=MemoryBudget(bytes=250_000))
        tokens = torch.randint(27, (4, length), dtype=torch.uint8)
        model.loss(tokens).backward()
        model.zero_grad()
        symbols = 2 * 8 * tokens.numel()
        return peak_bytes(lambda: model.loss(tokens).backward()) - symbols

    short = peak(800)
    assert short < 270_000
    assert peak(3200) < 1.1 * short


def test_evaluation_is_the_same_without_gradients() -> None:
    model = small().double()
    tokens = torch.randint(27, (2, 1500), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model.loss(tokens), full_loss(model, tokens))


def test_a_short_run_learns_and_logs_bits() -> None:
    model = small(optimizer=functools.partial(torch.optim.Adam, lr=0.02))
    trainer = Trainer(**SILENT, max_steps=60, limit_val_batches=2, num_sanity_val_steps=0)
    (before,) = trainer.validate(model, english(), verbose=False)
    trainer.fit(model, english())
    assert "train/bits_per_char" in trainer.callback_metrics
    (after,) = trainer.validate(model, english(), verbose=False)
    assert before["val/bits_per_char"] == pytest.approx(before["val/loss"] / math.log(2))
    assert after["val/bits_per_char"] < before["val/bits_per_char"] - 0.5


def test_two_ranks_compute_the_gradients_of_one() -> None:
    assert_same_gradients_ddp(small, torch.randint(27, (6, 60), dtype=torch.uint8))


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert_exact_resume(
        small, english, kill_at_steps=[2], max_steps=4, root=tmp_path, make_callbacks=lambda: [ExactResume()]
    )


def test_checkpoints_are_safe_and_rebuild_the_model(tmp_path: Path) -> None:
    model = small()
    trainer = Trainer(**SILENT, max_steps=1, limit_val_batches=0)
    trainer.fit(model, english())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = assert_safe_checkpoint(tmp_path / "model.ckpt")
    assert isinstance(again, LongSequenceRNN)
    assert again.spec == model.spec
    assert again.budget.slots == 4


def test_data_with_other_symbols_are_refused() -> None:
    model = LongSequenceRNN(OneHotEncoder(5), LinearReadout(16, 5), hidden_size=16)
    with pytest.raises(ValueError, match="encoder has num_symbols=5, but the data have 27 symbols"):
        Trainer(**SILENT, max_steps=1).fit(model, english())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 8}, "readout has input_size=16, but hidden_size is 8"),
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"kind": "CNN"}, "kind must be one of .*, not 'CNN'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_readout_of_other_symbols_is_refused() -> None:
    with pytest.raises(ValueError, match="readout has num_classes=5, but the encoder has num_symbols=27"):
        LongSequenceRNN(OneHotEncoder(27), LinearReadout(16, 5), hidden_size=16)
