"""MemoryRNN with sequences that go on from batch to batch, while evaluations interrupt them."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from memory_models import NETS, QUIET, SPARSE, STILL, bits, chunks, fit, loader, make
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from graves_memory.module.memory import MemoryRNN


class Seen(pl.Callback):
    """Notes the gradients of every update and what is logged after every batch."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.logged: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        named = pl_module.named_parameters()
        self.gradients.append({name: w.grad.clone() for name, w in named if w.grad is not None})

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def watched(model: MemoryRNN, batches: list[Any], **arguments: Any) -> Seen:
    seen = Seen()
    fit(model, batches, callbacks=[seen], **arguments)
    return seen


def losses(model: MemoryRNN, whole: dict[str, Tensor]) -> Tensor:
    """The loss of every step, the mean over sequences and bits, of sequences read whole."""
    outputs, _ = model(whole)
    return binary_cross_entropy_with_logits(outputs, whole["targets"], reduction="none").mean((0, 2))


@pytest.mark.parametrize("name", NETS)
def test_chunks_are_read_like_whole_sequences(name: str) -> None:
    whole = bits(steps=6, silent=())
    logged = watched(make(name, optimizer=STILL), chunks(whole, 2)).logged
    expected = losses(make(name), whole).view(3, 2).mean(1).tolist()
    assert [values["train/loss"] for values in logged] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_gradients_reach_back_to_the_beginning_of_the_chunk(name: str) -> None:
    whole = bits(steps=6, silent=())
    seen = watched(make(name, optimizer=STILL), chunks(whole, 3)).gradients
    model = make(name)
    parts = chunks(whole, 3)
    outputs, state = model(parts[0])
    loss = binary_cross_entropy_with_logits(outputs, parts[0]["targets"])
    loss.backward()
    first = {key: w.grad.clone() for key, w in model.named_parameters()}
    model.zero_grad()
    outputs, _ = model(parts[1], model.net.detach(state))
    binary_cross_entropy_with_logits(outputs, parts[1]["targets"]).backward()
    second = {key: w.grad.clone() for key, w in model.named_parameters()}
    torch.testing.assert_close(seen, [first, second])


@pytest.mark.parametrize("name", [name for name in NETS if name not in SPARSE])
def test_a_sequence_that_starts_anew_forgets_and_the_others_do_not(name: str) -> None:
    whole = bits(rows=2, steps=4, silent=())
    parts = chunks(whole, 2)
    parts[1]["reset"] = torch.tensor([True, False])
    logged = watched(make(name, optimizer=STILL), parts).logged
    rows = [{key: values[[row]] for key, values in whole.items()} for row in (0, 1)]
    anew = losses(make(name), {key: values[:, 2:] for key, values in rows[0].items()})
    on = losses(make(name), rows[1])[2:]
    assert logged[1]["train/loss"] == pytest.approx((anew + on).mean().item() / 2, rel=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_sequences_start_anew_as_the_network_says(name: str) -> None:
    parts = chunks(bits(rows=2, steps=4, silent=()), 2)
    parts[1]["reset"] = torch.tensor([True, False])
    logged = watched(make(name, optimizer=STILL), parts).logged
    model = make(name)
    _, state = model(parts[0])
    outputs, _ = model(parts[1], model.net.reset(model.net.detach(state), parts[1]["reset"]))
    expected = binary_cross_entropy_with_logits(outputs, parts[1]["targets"]).item()
    assert logged[1]["train/loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_chunks_without_answers_make_no_update_and_are_remembered(name: str) -> None:
    whole = bits(steps=6, silent=(0, 1, 2, 3))
    model = make(name, optimizer=torch.optim.Adam)
    before = [weight.clone() for weight in model.parameters()]
    parts = chunks(whole, 2)
    seen = watched(model, [*parts, *parts[:1]])
    assert [bool(gradients) for gradients in seen.gradients] == [False, False, True, False]
    expected = losses(make(name), whole)[4:].mean().item()
    assert seen.logged[2]["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert "train/loss" not in seen.logged[1]
    once = make(name, optimizer=torch.optim.Adam)
    fit(once, parts)
    torch.testing.assert_close(model.state_dict(), once.state_dict(), rtol=0, atol=0)
    assert any(not torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True))


def test_chunks_say_nothing_of_whole_sequences() -> None:
    logged = watched(make(), chunks(bits(), 5)).logged
    assert "train/accuracy" in logged[0]
    assert "train/wrong_bits" not in logged[0]


def test_sequences_of_another_number_are_refused() -> None:
    first, second = chunks(bits(rows=3, steps=4), 2)
    fewer = {name: values[:2] for name, values in second.items()}
    with pytest.raises(ValueError, match="3 sequences are under way and cannot go on in a batch of 2"):
        fit(make(), [first, fewer])


def test_batches_of_new_sequences_may_have_different_sizes() -> None:
    batches = [chunks(bits(rows), 5)[0] for rows in (3, 2)]
    assert fit(make(), batches).global_step == 2


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("interrupting", [bits(rows=2, seed=9), *chunks(bits(rows=5, steps=4, seed=9), 4)])
def test_validation_leaves_training_and_its_sequences_alone(name: str, interrupting: Any) -> None:
    parts = chunks(bits(steps=8), 2)
    alone, interrupted = make(name), make(name)
    fit(alone, parts)
    fit(interrupted, parts, [interrupting], val_check_interval=1)
    exact = {"rtol": 0, "atol": 0} if name != "sdnc" else {}  # links without weight stand in another order
    torch.testing.assert_close(interrupted.state_dict(), alone.state_dict(), **exact)


@pytest.mark.parametrize("name", NETS)
def test_validation_reads_chunks_like_whole_sequences(name: str) -> None:
    whole = bits(rows=2, steps=6, silent=())
    (logged,) = pl.Trainer(**QUIET).validate(make(name), loader(chunks(whole, 4)), verbose=False)
    assert logged["val/loss"] == pytest.approx(losses(make(name), whole).mean().item(), rel=1e-5)
    outputs, _ = make(name)(whole)
    wrong = ((outputs > 0) != (whole["targets"] == 1)).sum().item()
    assert logged["val/wrong_bits"] == pytest.approx(wrong / 2)
