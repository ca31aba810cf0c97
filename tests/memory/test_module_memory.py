"""MemoryRNN under the Trainer: which gradients, which state, what is logged."""

import math
from functools import partial
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from memory_models import NETS, QUIET, STILL, bits, classes, fit, loader, make
from torch import Tensor

from graves_core.data import DataSpec
from graves_memory.data.generated import TaskDataModule
from graves_memory.data.tasks.base import Task
from graves_memory.data.tasks.copying import CopyTask
from graves_memory.layers.encoders import TokenEncoder
from graves_memory.module.memory import MemoryRNN


class Gradients(pl.Callback):
    """Notes the gradient of every update."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(
            {name: w.grad.clone() for name, w in pl_module.named_parameters() if w.grad is not None}
        )


def probabilities(model: MemoryRNN, batch: dict[str, Tensor]) -> Tensor:
    """What the network says of a whole batch, sequence after sequence."""
    layout = 0 if model.net.batch_first else 1
    rows = [model.net(row.unsqueeze(layout))[0].squeeze(layout) for row in batch["inputs"]]
    outputs = torch.stack(rows)
    return outputs.sigmoid() if model.answers == "bits" else outputs.softmax(-1)


def nats(model: MemoryRNN, batch: dict[str, Tensor]) -> Tensor:
    """-log p of all answers, one by one."""
    p = probabilities(model, batch)
    if model.answers == "bits":
        right = torch.where(batch["targets"] == 1, p, 1 - p)
        return -right[batch["mask"]].log()
    due = batch["targets"] != -100
    return -p[due].gather(1, batch["targets"][due][:, None]).log()


def gradient_of(loss: Tensor, model: MemoryRNN) -> dict[str, Tensor]:
    names, weights = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def updates(model: MemoryRNN, batches: list[Any], **arguments: Any) -> list[dict[str, Tensor]]:
    seen = Gradients()
    fit(model, batches, callbacks=[seen], **arguments)
    return seen.seen


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_an_update_has_the_gradient_of_the_mean_over_the_answers(name: str, batch_first: bool) -> None:
    model, data = make(name, batch_first=batch_first, optimizer=STILL), bits(silent=(0, 3))
    data["mask"][1, 2] = False
    (seen,) = updates(model, [data])
    assert len(nats(model, data)) == 3 * 3 - 1
    torch.testing.assert_close(seen, gradient_of(nats(model, data).mean(), model))


def test_classes_are_learned_from_the_mean_over_the_answers() -> None:
    model, data = make(answers="classes", optimizer=STILL), classes()
    data["targets"][0, 2] = -100
    (seen,) = updates(model, [data])
    torch.testing.assert_close(seen, gradient_of(nats(model, data).mean(), model))


def test_words_without_a_mask_are_due_at_every_step() -> None:
    model, data = make(optimizer=STILL), bits(silent=())
    (seen,) = updates(model, [{name: data[name] for name in ("inputs", "targets")}])
    torch.testing.assert_close(seen, gradient_of(nats(model, data).mean(), model))


def test_the_trainer_clips_and_accumulates() -> None:
    model, batches = make(optimizer=STILL), [bits(seed=seed) for seed in (1, 2)]
    mean = gradient_of(sum(nats(model, data).mean() for data in batches) / 2, model)
    (seen,) = updates(model, batches, accumulate_grad_batches=2)
    torch.testing.assert_close(seen, mean)
    norm = float(torch.cat([part.flatten() for part in mean.values()]).norm())
    assert norm > 0.01
    model = make(optimizer=partial(torch.optim.SGD, lr=1.0))
    fit(model, batches, accumulate_grad_batches=2, gradient_clip_val=0.01)
    moved = {name: w - model.get_parameter(name) for name, w in make().named_parameters()}
    expected = {name: part * 0.01 / norm for name, part in mean.items()}
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)


def test_training_logs_means_over_answers_and_over_sequences() -> None:
    model, data = make(optimizer=STILL), bits(silent=(0, 4))
    logged = fit(model, [data], log_every_n_steps=1).callback_metrics
    wrong = ((probabilities(model, data) > 0.5) != data["targets"].bool())[data["mask"]].sum().item()
    total = nats(model, data).sum().item()
    assert logged["train/loss"].item() == pytest.approx(total / 27, rel=1e-5)
    assert logged["train/bits_per_sequence"].item() == pytest.approx(total / 3 / math.log(2), rel=1e-5)
    assert logged["train/wrong_bits"].item() == pytest.approx(wrong / 3)
    assert logged["train/accuracy"].item() == pytest.approx(1 - wrong / 27)


def test_training_with_classes_logs_the_share_of_right_ones() -> None:
    model, data = make(answers="classes", optimizer=STILL), classes(rows=8)
    logged = fit(model, [data], log_every_n_steps=1).callback_metrics
    right = (probabilities(model, data).argmax(-1) == data["targets"])[:, 1:]
    assert logged["train/accuracy"].item() == pytest.approx(right.double().mean().item())
    assert "train/wrong_bits" not in logged


def test_right_answers_of_classes_are_counted_where_due() -> None:
    model, data = make(answers="classes", optimizer=STILL), classes(rows=8)
    data["targets"] = probabilities(model, data).argmax(-1)  # every one right
    data["targets"][:, ::2] = -100
    assert fit(model, [data], log_every_n_steps=1).callback_metrics["train/accuracy"] == 1


def test_prediction_says_the_most_probable_answers() -> None:
    for model in (make(), make(answers="classes")):
        data = {"inputs": bits()["inputs"]}
        (predicted,) = pl.Trainer(**QUIET).predict(model, loader([data]))
        p = probabilities(model, data)
        assert torch.equal(predicted, p > 0.5 if model.answers == "bits" else p.argmax(-1))


def test_the_encoder_makes_the_inputs_and_is_trained() -> None:
    model = make(encoder=TokenEncoder(7, embedding=4), answers="classes")
    before = model.encoder.table.clone()
    tokens = torch.tensor([[6, 0, 2, 2, 5]])
    outputs, _ = model({"tokens": tokens})
    expected, _ = model.net(before[tokens].transpose(0, 1))
    torch.testing.assert_close(outputs, expected.transpose(0, 1))
    fit(model, [{"tokens": tokens, "targets": classes(rows=1)["targets"]}])
    moved = (model.encoder.table != before).any(1)
    assert moved.tolist() == [True, False, True, False, False, True, True]


def test_half_precision_trains() -> None:
    model = make()
    fit(model, [bits()], precision="bf16-mixed")
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_the_schedule_counts_updates() -> None:
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    model = make(lr_scheduler=schedule)
    fit(model, [bits()] * 3)
    assert model.optimizers().param_groups[0]["lr"] == 0.5**4


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="answers must be 'bits' or 'classes', not 'words'"):
        make(answers="words")
    with pytest.raises(ValueError, match="encoder has size=5, but the network's input_size is 4"):
        make(encoder=TokenEncoder(5))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (CopyTask(bits=4), "the data have input_size=6, but the network 4"),
        (CopyTask(bits=2), "the data have output_size=2, but the network 3"),
    ],
)
def test_data_of_other_sizes_are_refused(task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pl.Trainer(**QUIET, max_steps=1).fit(make(), TaskDataModule(task))


def test_data_with_more_words_than_the_network_are_refused() -> None:
    class Words(TaskDataModule):
        spec = DataSpec("text", (9,), levels=7, classes=5)

    model = make(encoder=TokenEncoder(4), answers="classes")
    with pytest.raises(ValueError, match="output_size must be at least 5, the classes of the data, not 3"):
        pl.Trainer(**QUIET, max_steps=1).fit(model, Words())
    Words.spec = DataSpec("text", (9,), levels=7, classes=3)
    with pytest.raises(ValueError, match="num_tokens of the encoder must be at least 7, the levels of"):
        pl.Trainer(**QUIET, max_steps=1).fit(model, Words())


@pytest.mark.parametrize("wrong", [[torch.zeros(2, 3)], {"inputs": torch.zeros(2, 3, 4)}])
def test_batches_of_another_form_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a batch must be a dict with targets, not"):
        fit(make(), [wrong])


def test_targets_of_the_other_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets must be classes \(batch, time\), not torch.float32"):
        fit(make(answers="classes"), [bits()])
    with pytest.raises(ValueError, match=r"targets must be bits \(3, 5, 3\), not \(3, 5\)"):
        fit(make(), [classes()])
