"""Connectionist temporal classification: losses by enumeration, best paths, the labels that are wrong."""

import math
from functools import partial
from itertools import groupby, product

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from graves_bayes.data.speech.base import SpeechDataModule
from graves_bayes.data.speech.utterances import Utterance
from graves_bayes.module.recognizer import SequenceRecognizer, best_paths, label_errors


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in groupby(path) if label != blank)


def batch_of(lengths: list[int], labels: list[list[int]], features: int = 4) -> dict[str, Tensor]:
    longest = max(map(len, labels))
    return {
        "inputs": torch.randn(len(lengths), max(lengths), features),
        "lengths": torch.tensor(lengths),
        "labels": torch.tensor([row + [0] * (longest - len(row)) for row in labels]),
        "label_lengths": torch.tensor([len(row) for row in labels]),
    }


def test_losses_are_those_of_all_paths() -> None:
    torch.manual_seed(0)
    model = SequenceRecognizer(4, classes=2, hidden_size=6)
    batch = batch_of([5, 4], [[0, 0], [1, 0, 1]])
    log_probs = model(batch["inputs"], batch["lengths"]).detach()
    for row, loss in enumerate(model.losses(log_probs, batch)):
        length, count = int(batch["lengths"][row]), int(batch["label_lengths"][row])
        wanted = tuple(batch["labels"][row, :count].tolist())
        total = sum(
            float(log_probs[row, range(length), list(path)].double().sum().exp())
            for path in product(range(3), repeat=length)
            if collapsed(path, blank=2) == wanted
        )
        assert loss.exp().reciprocal().item() == pytest.approx(total, rel=1e-4)


def test_best_paths_are_collapsed_like_any_path() -> None:
    torch.manual_seed(1)
    log_probs = torch.randn(50, 12, 3).log_softmax(-1)
    lengths = torch.randint(1, 13, (50,))
    for row, found in enumerate(best_paths(log_probs, lengths)):
        path = tuple(log_probs[row, : lengths[row]].argmax(-1).tolist())
        assert tuple(found) == collapsed(path, blank=2)


def test_edits_are_counted_over_all_sequences() -> None:
    labels = torch.tensor([[1, 2, 3], [4, 0, 0]])
    assert label_errors([[1, 3], [4, 4]], labels, torch.tensor([3, 1])) == (2, 4)


class Tones(SpeechDataModule):
    """A label is the feature that is loud."""

    def __init__(self, val_fraction: float = 0.25) -> None:
        super().__init__(2, 4, 1, 8, 0, False, 0, val_fraction)

    def utterances(self, part: str) -> list[Utterance]:
        draw = torch.Generator().manual_seed(len(part))
        made = []
        for _ in range(64):
            labels = torch.randint(2, (2,), generator=draw)
            loud = torch.zeros(8, 4)
            loud[torch.arange(1, 8, 4), labels] = 1.0
            made.append(Utterance(loud + 0.05 * torch.randn(8, 4, generator=draw), labels))
        return made


def test_it_learns_what_is_loud(tmp_path) -> None:
    torch.manual_seed(0)
    model = SequenceRecognizer(4, 2, hidden_size=12, optimizer=partial(torch.optim.Adam, lr=2e-2))
    trainer = Trainer(
        max_epochs=25, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False, check_val_every_n_epoch=25,
    )  # fmt: skip
    trainer.fit(model, Tones())
    assert trainer.callback_metrics["val/label_error"] < 0.05
    assert trainer.callback_metrics["val/bits_per_label"] < 0.5
    assert trainer.test(model, Tones(), verbose=False)[0]["test/label_error"] < 0.05


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((5, 2), r"input_size=5, but the data are sequence \(4,\)"), ((4, 3), "classes=3, but")],
)
def test_other_data_are_refused(sizes: tuple[int, int], message: str, tmp_path) -> None:
    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        trainer.fit(SequenceRecognizer(*sizes, hidden_size=4), Tones())


def test_bits_are_a_mean_over_labels_and_not_over_batches(tmp_path) -> None:
    torch.manual_seed(0)
    model = SequenceRecognizer(4, 2, hidden_size=4)
    batches = [batch_of([9, 8], [[0, 1, 0, 1], [1]]), batch_of([7], [[1]])]
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    logged = trainer.test(model, dataloaders=DataLoader(batches, batch_size=None), verbose=False)[0]
    with torch.no_grad():
        losses = [model.losses(model(each["inputs"], each["lengths"]), each).sum() for each in batches]
    expected = float(sum(losses)) / 6 / math.log(2)
    assert logged["test/bits_per_label"] == pytest.approx(expected, rel=1e-5)
