"""The callback puts a memory budget into a LightningModule that knows nothing of it, and takes it out."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from graves_core import ExactResume, ResumableLoader
from graves_core.testing import assert_exact_resume, assert_same_gradients_ddp, peak_bytes
from graves_core.testing.quiet import QUIET as SILENT
from graves_rnn_training.callbacks.memory import MemoryEfficientBPTT
from graves_rnn_training.layers.encoders import OneHotEncoder
from graves_rnn_training.layers.readouts import LinearReadout
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.rnn import CheckpointedCell, CheckpointedRNN
from graves_rnn_training.module.long import LongSequenceRNN

BUDGET = MemoryBudget(slots=4)
QUIET = SILENT | {"enable_checkpointing": False}


class Tagger(LightningModule):
    """Somebody's own model, with two recurrent layers in it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4))
        self.lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(12, 5, batch_first=True)
        self.readout = nn.Linear(5, 1)

    def forward(self, batch: Tensor) -> Tensor:
        states, _ = self.lstm(self.encoder(batch))
        tags: Tensor = self.readout(self.decoder(states)[0])
        return tags

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self(batch) - 1).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Losing(Tagger):
    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        super().training_step(batch, batch_idx)
        raise KeyboardInterrupt


class OwnLSTM(nn.LSTM):
    def forward(self, *inputs: Any) -> Any:
        return super().forward(*inputs)


class Watch(Callback):
    """Notes what the model looks like while it is trained and validated."""

    def __init__(self) -> None:
        self.patched: list[list[str]] = []
        self.names: list[str] = []
        self.validated: Tensor | None = None
        self.copied: Tagger | None = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.patched.append(patched(pl_module))
        self.names = list(pl_module.state_dict())
        self.copied = copy.deepcopy(pl_module)


def patched(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if "forward" in vars(part)]


def data(rows: int = 8, steps: int = 40) -> ResumableLoader:
    torch.manual_seed(0)
    return ResumableLoader(torch.randn(rows, steps, 3), 4, shuffle=True)


def trained(*callbacks: Callback, model: type[Tagger] = Tagger, **options: Any) -> tuple[Tagger, Trainer]:
    torch.manual_seed(0)
    module = model()
    trainer = Trainer(**QUIET | {"max_steps": 3} | options, callbacks=list(callbacks))
    trainer.fit(module, data(), data())
    return module, trainer


def test_training_ends_with_the_weights_that_it_ends_with_without() -> None:
    with_budget, _ = trained(MemoryEfficientBPTT(BUDGET))
    without, _ = trained()
    for one, other in zip(with_budget.parameters(), without.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_layers_are_changed_during_fit_alone_and_names_stay() -> None:
    watch = Watch()
    module, _ = trained(MemoryEfficientBPTT(BUDGET), watch)
    assert watch.patched == [["lstm", "decoder"]] * 3
    assert watch.names == list(Tagger().state_dict()) == list(module.state_dict())
    assert patched(module) == []


def test_a_copy_made_during_fit_runs_with_its_own_weights() -> None:
    watch = Watch()
    module, _ = trained(MemoryEfficientBPTT(BUDGET), watch)
    assert watch.copied is not None
    watch.copied.zero_grad()
    module.zero_grad()
    watch.copied(torch.randn(2, 40, 3)).sum().backward()
    assert watch.copied.lstm.weight_hh_l0.grad is not None
    assert module.lstm.weight_hh_l0.grad is None


def test_an_interrupted_run_leaves_the_layers_as_they_were() -> None:
    module = Losing()
    trainer = Trainer(**QUIET, max_steps=3, callbacks=[MemoryEfficientBPTT(BUDGET)])
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer.fit(module, data())
    assert patched(module) == []


def test_a_pattern_chooses_layers() -> None:
    watch = Watch()
    trained(MemoryEfficientBPTT(BUDGET, modules="dec*"), watch)
    assert watch.patched[0] == ["decoder"]


def test_validation_runs_the_layers_as_they_are() -> None:
    torch.manual_seed(0)
    module = Tagger()
    calls = []

    class Spy(Watch):
        def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            x = torch.randn(2, 40, 4)
            expected = nn.LSTM.forward(pl_module.lstm, x)[0]
            calls.append(torch.equal(pl_module.lstm(x)[0], expected))

    trainer = Trainer(**QUIET, max_steps=2, callbacks=[MemoryEfficientBPTT(BUDGET), Spy()])
    trainer.fit(module, data(), data())
    assert calls
    assert all(calls)


def test_what_it_costs_is_logged_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        _, trainer = trained(MemoryEfficientBPTT(MemoryBudget(slots=5, strategy="hidden")))
    said = [record.message for record in caplog.records if "MemoryEfficientBPTT" in record.message]
    assert len(said) == 2
    assert "lstm: 40 steps in segments of 8: 5 slots (hidden), 1.80 forward passes" in said[0]
    logged = {
        name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("bptt/")
    }
    assert logged["bptt/slots"] == 5 * 5, "four halves of layers and the decoder"
    assert logged["bptt/forward_passes"] == pytest.approx(9 / 5)
    assert 0 < logged["bptt/expected_megabytes"] < logged["bptt/full_megabytes"]


def test_memory_is_saved() -> None:
    class Long(Tagger):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 32, batch_first=True)
            self.decoder = nn.GRU(32, 5, batch_first=True)

    def peak(callbacks: list[Callback]) -> int:
        module = Long()
        trainer = Trainer(**QUIET, max_steps=1, callbacks=callbacks)
        batches = torch.utils.data.DataLoader(torch.randn(8, 1000, 3), batch_size=8)  # type: ignore[arg-type]
        return peak_bytes(lambda: trainer.fit(module, batches))

    assert peak([MemoryEfficientBPTT(MemoryBudget(fraction=0.05))]) < 0.25 * peak([])


def test_layers_with_a_budget_get_this_one_and_then_theirs_back() -> None:
    class Ours(Tagger):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = CheckpointedRNN("LSTM", 4, 12, batch_first=True, budget=MemoryBudget(slots=2))
            self.decoder = CheckpointedCell(nn.GRUCell(12, 5), MemoryBudget(slots=3), batch_first=True)

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append((pl_module.lstm.budget.slots, pl_module.decoder.budget.slots))

    seen: list[tuple[int, int]] = []
    module, trainer = trained(MemoryEfficientBPTT(BUDGET), Look(), model=Ours)
    assert seen == [(4, 4)] * 3
    assert isinstance(module.lstm, CheckpointedRNN)
    assert isinstance(module.decoder, CheckpointedCell)
    assert (module.lstm.budget.slots, module.decoder.budget.slots) == (2, 3)
    assert module.lstm.report is None
    assert float(trainer.logged_metrics["bptt/slots"]) == 4 + 4


def test_what_lies_within_something_with_a_budget_is_left_to_that() -> None:
    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append((pl_module.budget.slots, patched(pl_module)))

    seen: list[tuple[int, list[str]]] = []
    model = LongSequenceRNN(OneHotEncoder(5), LinearReadout(6, 5), hidden_size=6)
    trainer = Trainer(**QUIET, max_steps=1, callbacks=[MemoryEfficientBPTT(BUDGET), Look()])
    tokens = torch.randint(5, (4, 30), dtype=torch.uint8)
    trainer.fit(model, ResumableLoader(tokens, 4, shuffle=True))  # type: ignore[arg-type]
    assert seen == [(4, [])]
    assert model.budget.forwards == 2.0


def test_a_model_without_recurrent_layers_is_refused() -> None:
    class Feedforward(Tagger):
        def __init__(self) -> None:
            super().__init__()
            del self.lstm, self.decoder

    with pytest.raises(ValueError, match=r"Feedforward has no nn\.LSTM, nn\.GRU or nn\.RNN"):
        trained(MemoryEfficientBPTT(), model=Feedforward)


def test_a_pattern_that_names_nothing_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"no layer 'rnn\*'.*\['lstm', 'decoder'\]"):
        trained(MemoryEfficientBPTT(modules="rnn*"))


def test_a_subclass_with_a_forward_of_its_own_is_left_alone_or_refused() -> None:
    class Special(Tagger):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = OwnLSTM(4, 6, num_layers=2, batch_first=True, bidirectional=True)

    watch = Watch()
    trained(MemoryEfficientBPTT(BUDGET), watch, model=Special)
    assert watch.patched[0] == ["decoder"]
    with pytest.raises(TypeError, match=r"names lstm, whose class OwnLSTM has a\s+forward of its own"):
        trained(MemoryEfficientBPTT(BUDGET, modules="lstm"), model=Special)


def test_the_schedule_is_drawn(tmp_path: Path) -> None:
    trained(MemoryEfficientBPTT(BUDGET, picture=True), default_root_dir=tmp_path)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["schedule_step=1.png"]


class Budgeted(Tagger):
    """Brings the callback itself, so that whoever makes a Trainer for it gets it."""

    def configure_callbacks(self) -> list[Callback]:
        return [MemoryEfficientBPTT(BUDGET)]


def test_two_ranks_compute_the_gradients_of_one() -> None:
    assert_same_gradients_ddp(Budgeted, torch.randn(6, 40, 3))


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert_exact_resume(
        Tagger,
        data,
        kill_at_steps=[2, 3],
        max_steps=5,
        root=tmp_path,
        make_callbacks=lambda: [ExactResume(), MemoryEfficientBPTT(BUDGET)],
    )
