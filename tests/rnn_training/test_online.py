"""OnlineRNN under the Trainer: which gradients, which updates, which state, what is logged."""

import math
from functools import partial
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from online_models import HIDDEN, QUIET, STILL, SYMBOLS, batch, chunks, fit, make
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils import parameters_to_vector

from graves_rnn_training.data.copying import CopyDataModule
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.encoders import EmbeddingEncoder, OneHotEncoder
from graves_rnn_training.layers.learners.rtrl import RTRL
from graves_rnn_training.layers.learners.snap import SnAp
from graves_rnn_training.layers.readouts import LinearReadout
from graves_rnn_training.module.online import OnlineRNN


class Gradients(pl.Callback):
    """Notes the gradient of every update."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append({name: w.grad.clone() for name, w in pl_module.named_parameters()})


def losses_of_steps(model: OnlineRNN, data: dict[str, Tensor]) -> list[Tensor]:
    """The summed loss of each step as a function of the weights, through all of time."""
    hidden = torch.zeros(len(data["inputs"]), HIDDEN)
    losses = []
    for inputs, targets in zip(data["inputs"].T.long(), data["targets"].T, strict=True):
        hidden = model.learner.cell(one_hot(inputs, SYMBOLS).float(), hidden)
        logits = model.readout(hidden)
        losses.append(cross_entropy(logits, targets, reduction="sum", ignore_index=-100))
    return losses


def gradient_of(loss: Tensor, model: OnlineRNN) -> dict[str, Tensor]:
    names, weights = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights, retain_graph=True), strict=True))


def updates(
    name: str, data: dict[str, Tensor], **arguments: Any
) -> tuple[OnlineRNN, list[dict[str, Tensor]]]:
    """A model that stands still, and the gradient of each of its updates."""
    model, seen = make(name, optimizer=STILL, **arguments), Gradients()
    fit(model, [data], callbacks=[seen])
    return model, seen.seen


def test_an_update_of_every_step_has_the_gradient_of_its_mean_loss() -> None:
    data = batch(silent=(1,))
    model, seen = updates("rtrl", data, update_every="step")
    losses = losses_of_steps(model, data)
    expected = [gradient_of(losses[step] / 3, model) for step in (0, 2, 3, 4)]
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("name", ["rtrl", "bptt"])
def test_an_update_of_a_sequence_has_the_gradient_of_the_mean_over_its_targets(name: str) -> None:
    data = batch(silent=(0, 3))
    data["targets"][0, 2] = -100
    model, (seen,) = updates(name, data, update_every="sequence")
    torch.testing.assert_close(seen, gradient_of(sum(losses_of_steps(model, data)) / 8, model))


def test_an_update_of_several_steps_carries_the_influence_of_all_steps_before() -> None:
    data = batch(silent=(3,))
    model, seen = updates("rtrl", data, update_every=2)
    losses = losses_of_steps(model, data)
    means = [(losses[0] + losses[1]) / 6, losses[2] / 3, losses[4] / 3]
    torch.testing.assert_close(seen, [gradient_of(mean, model) for mean in means])


def test_backpropagation_reaches_back_to_the_update_before() -> None:
    data = batch(steps=4)
    model, (first, second) = updates("bptt", data, update_every=2)
    torch.testing.assert_close(first, gradient_of(sum(losses_of_steps(model, data)[:2]) / 6, model))
    assert not torch.allclose(
        second["learner.cell.weight_ih"],
        gradient_of(sum(losses_of_steps(model, data)[2:]) / 6, model)["learner.cell.weight_ih"],
    )


def test_backpropagation_reaches_through_windows_without_targets() -> None:
    data = batch(steps=4, silent=(0, 1))
    model, (seen,) = updates("bptt", data, update_every=2)
    torch.testing.assert_close(seen, gradient_of(sum(losses_of_steps(model, data)) / 6, model))


@pytest.mark.parametrize("name", ["snap", "rtrl", "uoro"])
def test_training_is_the_loop_that_one_would_write_by_hand(name: str) -> None:
    data = batch(steps=6, silent=(2,))
    trained, by_hand = make(name, update_every="step"), make(name)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.5)
    state = by_hand.learner.initial_state(3)
    torch.manual_seed(5)
    for inputs, targets in zip(data["inputs"].T.long(), data["targets"].T, strict=True):
        output, state = by_hand.learner(one_hot(inputs, SYMBOLS).float(), state)
        if targets[0] != -100:
            cross_entropy(by_hand.readout(output), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    fit(trained, [data], callbacks=[SeedAtStart(5)])
    torch.testing.assert_close(trained.state_dict(), by_hand.state_dict())


@pytest.mark.parametrize("name", ["snap", "rtrl", "bptt"])
def test_fused_optimizers_train_like_plain_ones(name: str) -> None:
    models = [make(name, optimizer=partial(torch.optim.Adam, lr=0.1, fused=fused)) for fused in (False, True)]
    for model in models:
        fit(model, [batch(steps=8)], max_epochs=3)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


class SeedAtStart(pl.Callback):
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, *_: Any) -> None:
        torch.manual_seed(self.seed)


@pytest.mark.parametrize(("update_every", "expected"), [("step", 4), ("sequence", 1), (2, 3), (5, 1)])
def test_windows_with_targets_make_an_update_each(update_every: Any, expected: int) -> None:
    trainer = fit(make(update_every=update_every), [batch(silent=(1,))])
    assert trainer.global_step == expected


def test_a_batch_without_targets_makes_no_update() -> None:
    assert fit(make(), [batch(silent=(0, 1, 2, 3, 4))]).global_step == 0


def step_of(**arguments: Any) -> Tensor:
    """What one update by plain gradient descent with rate 1 changes."""
    model = make(optimizer=partial(torch.optim.SGD, lr=1.0), update_every="sequence", **arguments)
    before = parameters_to_vector(model.parameters()).clone()
    fit(model, [batch()])
    return before - parameters_to_vector(model.parameters()).detach()


def test_a_clipped_gradient_has_the_wanted_length_and_its_direction() -> None:
    free = step_of()
    assert free.norm() > 0.1
    torch.testing.assert_close(step_of(gradient_clip_val=0.1), free / free.norm() * 0.1, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step_of(gradient_clip_val=100.0), free)


def test_the_schedule_counts_updates() -> None:
    model = make(lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5))
    fit(model, [batch(steps=3)])
    assert model.optimizers().param_groups[0]["lr"] == 0.5**4


def test_a_schedule_that_waits_for_a_metric_is_refused() -> None:
    with pytest.raises(TypeError, match="not by a metric: ReduceLROnPlateau"):
        fit(make(lr_scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau), [batch()])


@pytest.mark.parametrize("name", ["snap", "rtrl", "uoro"])
def test_a_stream_in_chunks_is_learned_like_one_long_sequence(name: str) -> None:
    whole = batch(steps=6)
    long, short = make(name), make(name)
    seed = {} if name != "uoro" else {"callbacks": []}
    torch.manual_seed(7)
    fit(long, [whole], **seed)
    torch.manual_seed(7)
    fit(short, chunks(whole, 2), **seed)
    torch.testing.assert_close(long.state_dict(), short.state_dict())


def test_a_sequence_that_starts_anew_forgets_and_the_others_do_not() -> None:
    whole = batch(rows=2, steps=4)
    model = make(optimizer=STILL)
    parts = chunks(whole, 2)
    parts[1]["reset"] = torch.tensor([True, False])
    seen = Gradients()
    fit(model, parts, callbacks=[seen])
    rows = [{name: values[[row]] for name, values in whole.items()} for row in (0, 1)]
    anew = losses_of_steps(model, {name: values[:, 2:] for name, values in rows[0].items()})
    on = losses_of_steps(model, rows[1])[2:]
    expected = [gradient_of((a + b) / 2, model) for a, b in zip(anew, on, strict=True)]
    torch.testing.assert_close(seen.seen[2:], expected)


def test_streams_of_another_number_are_refused() -> None:
    first, second = chunks(batch(rows=3, steps=4), 2)
    fewer = {name: values[:2] for name, values in second.items()}
    with pytest.raises(ValueError, match="3 streams are under way and cannot go on in a batch of 2"):
        fit(make(), [first, fewer])


def test_crops_may_come_in_batches_of_different_sizes() -> None:
    crops = [b | {"reset": torch.ones(len(b["inputs"]), dtype=torch.bool)} for b in (batch(3), batch(2))]
    assert fit(make(update_every="sequence"), crops).global_step == 2


def test_validation_leaves_training_and_its_streams_alone() -> None:
    streams = chunks(batch(steps=8), 2)
    alone, watched = make(), make()
    fit(alone, streams)
    trainer = pl.Trainer(**QUIET, max_epochs=1, val_check_interval=1)
    loaders = [torch.utils.data.DataLoader(x, batch_size=None) for x in (streams, chunks(batch(5, 8, 9), 4))]
    trainer.fit(watched, *loaders)
    assert "val/bits_per_char" in trainer.callback_metrics
    torch.testing.assert_close(watched.state_dict(), alone.state_dict(), rtol=0, atol=0)


def test_validation_reads_streams_to_their_end_and_counts_targets() -> None:
    whole = batch(rows=2, steps=6, silent=(4,))
    model = make(optimizer=STILL)
    trainer = pl.Trainer(**QUIET)
    (logged,) = trainer.validate(
        model, torch.utils.data.DataLoader(chunks(whole, 4), batch_size=None), verbose=False
    )
    nats = sum(losses_of_steps(model, whole)).item() / 10
    assert logged["val/loss"] == pytest.approx(nats, rel=1e-5)
    assert logged["val/bits_per_char"] == pytest.approx(nats / math.log(2), rel=1e-5)


def test_training_logs_the_mean_over_targets_and_what_was_done() -> None:
    data = batch(rows=2, steps=6, silent=(4,))
    model = make(optimizer=STILL)
    logged = fit(model, [data, data], log_every_n_steps=1).callback_metrics
    nats = sum(losses_of_steps(model, data)).item() / 10
    assert logged["train/loss"].item() == pytest.approx(nats, rel=1e-5)
    assert logged["train/bits_per_char"].item() == pytest.approx(nats / math.log(2), rel=1e-5)
    assert (logged["train/tokens"], logged["train/updates"]) == (24, 10)


def test_prediction_is_the_most_probable_class_at_every_step() -> None:
    model, data = make(), batch(rows=2, steps=4)
    loader = torch.utils.data.DataLoader([data], batch_size=None)
    (predicted,) = pl.Trainer(**QUIET).predict(model, loader)
    hidden, expected = torch.zeros(2, HIDDEN), []
    for inputs in data["inputs"].T.long():
        hidden = model.learner.cell(one_hot(inputs, SYMBOLS).float(), hidden)
        expected.append(model.readout(hidden).argmax(1))
    assert torch.equal(predicted, torch.stack(expected, 1))


def test_a_frozen_network_trains_its_readout_alone() -> None:
    model, fresh = make("bptt", frozen=True), make("bptt")
    fit(model, [batch()])
    torch.testing.assert_close(model.learner.state_dict(), fresh.learner.state_dict(), rtol=0, atol=0)
    assert not torch.equal(model.readout.linear.weight, fresh.readout.linear.weight)


def test_embeddings_are_learned_with_the_rest() -> None:
    model = OnlineRNN(SnAp(GRUCell(5, 6)), LinearReadout(6, 3), EmbeddingEncoder(SYMBOLS, 5))
    before = model.encoder.embedding.weight.clone()
    fit(model, [batch()])
    assert not torch.equal(model.encoder.embedding.weight, before)


def test_features_need_no_encoder() -> None:
    model = OnlineRNN(RTRL(GRUCell(3, 4)), LinearReadout(4, 3))
    data = {"inputs": torch.randn(2, 5, 3), "targets": batch(2)["targets"]}
    assert fit(model, [data]).global_step == 5


def test_half_precision_trains_with_an_influence_in_single_precision() -> None:
    model = make("snap")
    fit(model, chunks(batch(steps=4), 2), precision="bf16-mixed")
    assert model._state is not None
    assert {trace.dtype for trace in model._state.traces} == {torch.float32}
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_data_with_other_symbols_are_refused() -> None:
    cell = GRUCell(5, 4)
    with pytest.raises(ValueError, match="encoder has num_symbols=5, but the data have 4 symbols"):
        pl.Trainer(**QUIET).fit(
            OnlineRNN(RTRL(cell), LinearReadout(4, 2), OneHotEncoder(5)), CopyDataModule()
        )
    cell = GRUCell(4, 4)
    with pytest.raises(ValueError, match="readout has num_classes=3, but the data have 2 classes"):
        pl.Trainer(**QUIET).fit(
            OnlineRNN(RTRL(cell), LinearReadout(4, 3), OneHotEncoder(4)), CopyDataModule()
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": OneHotEncoder(3)}, "encoder has size=3, but the learner's input_size is 4"),
        ({"readout": LinearReadout(3, 2)}, "readout has input_size=3, but the learner's hidden_size is 6"),
        ({"update_every": 0}, "update_every must be .* at least 1, not 0"),
        ({"update_every": "epoch"}, "update_every must be .* not 'epoch'"),
        ({"gradient_clip_val": 0.0}, "gradient_clip_val must be positive or None, not 0.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    parts = {"readout": LinearReadout(6, 2), "encoder": OneHotEncoder(4)}
    with pytest.raises(ValueError, match=message):
        OnlineRNN(RTRL(GRUCell(4, 6)), **(parts | arguments))


@pytest.mark.parametrize("wrong", [[torch.zeros(2, 3)], {"inputs": torch.zeros(2, 3)}])
def test_batches_of_another_form_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a batch must be a dict with inputs and targets, not"):
        fit(make(), [wrong])
