"""What is drawn after validation, and what it leaves behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import Foreign, Rows, Table, files, images, table, trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from small_models import MODELS, data
from torch import Tensor

from graves_bfn import (
    BFN,
    BFNMLP,
    BFNConvNet,
    BFNSamples,
    BinaryImages,
    ClassCondition,
    DiscreteFlow,
    ExtraInputs,
    SDESolver,
    Tokens,
    VectorCondition,
)
from graves_bfn.callbacks.examples import Examples
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.callbacks.samples import _columns
from graves_core import EnglishWordsDataModule


def fit(name: str, root: Path, callback: BFNSamples) -> None:
    torch.manual_seed(0)
    run = trainer(root, callback, max_epochs=2, limit_train_batches=1, limit_val_batches=1)
    run.fit(MODELS[name](), datamodule=data(name))


def generated(callback: BFNSamples, model: Any, seen: Examples) -> Any:
    """What a callback generates after a batch."""
    view = FlowModel(model, None, "Test")
    with torch.no_grad():
        return callback._generate(view, callback._wanted(view, seen))


BLACK = Examples(torch.zeros(4, 8, 8, 1, dtype=torch.long))


def test_image_samples_are_kept_as_sheet_strip_and_animation(tmp_path: Path) -> None:
    fit("binary", tmp_path, BFNSamples(num_samples=6, num_steps=10, frames=5))
    kinds = ["generation_step={}.gif", "samples_step={}.png", "strip_step={}.png"]
    assert files(tmp_path / "images") == [kind.format(step) for kind in kinds for step in (1, 2)]
    with Image.open(tmp_path / "images" / "generation_step=1.gif") as animation:
        assert animation.n_frames >= 5
    with Image.open(tmp_path / "images" / "samples_step=1.png") as sheet:
        assert len(sheet.getcolors()) == 2  # finished samples of binary data are black and white


def test_the_first_moment_of_a_generation_shows_beliefs_without_information() -> None:
    generation = generated(BFNSamples(num_samples=2, num_steps=10, frames=5), MODELS["binary"](), BLACK)
    assert [round(time, 6) for time in generation.times] == [0.0, 0.2, 0.5, 0.8, 1.0]
    assert (generation.beliefs[0] == 0.5).all()


def test_text_samples_are_kept_as_text(tmp_path: Path) -> None:
    fit("text", tmp_path, BFNSamples(num_samples=3, num_steps=10, frames=4, every_n_epochs=2))
    texts = tmp_path / "texts"
    assert files(texts) == ["generation_step=2.txt", "samples_step=2.txt"]
    lines = (texts / "samples_step=2.txt").read_text().splitlines()
    assert [len(line) for line in lines] == [16] * 3
    moments = (texts / "generation_step=2.txt").read_text().splitlines()
    assert [line.split()[0] for line in moments] == ["t=0.00", "t=0.30", "t=0.70", "t=1.00"]


def test_samples_of_tables_are_kept_as_rows_in_their_units(tmp_path: Path) -> None:
    run = trainer(tmp_path, BFNSamples(num_samples=3, num_steps=2))
    run.validate(Table(), Rows(table(4), 2), verbose=False)
    header, *rows = (tmp_path / "texts" / "samples_step=0.txt").read_text().splitlines()
    assert header.split() == ["sizes[0]", "sizes[1]", "kind"]
    assert len(rows) == 3
    assert all(0 <= int(row.split()[2]) < 3 for row in rows)


def test_no_frames_leave_samples_alone(tmp_path: Path) -> None:
    for name, file in (("binary", "samples_step=2.png"), ("text", "samples_step=2.txt")):
        fit(name, tmp_path / name, BFNSamples(num_samples=2, num_steps=2, frames=0, every_n_epochs=2))
        assert files(tmp_path / name) == [file]


def test_samples_lie_in_the_folder_of_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="run", version="a")
    run = trainer(tmp_path, BFNSamples(num_samples=2, num_steps=2, frames=0), logger=logger)
    run.validate(Foreign(), Rows(images(torch.zeros(4)), 2), verbose=False)
    assert (tmp_path / "run" / "a" / "images" / "samples_step=0.png").exists()


def test_the_same_noise_is_used_every_time() -> None:
    model, callback = MODELS["discretised"](), BFNSamples(num_samples=2, num_steps=4)
    first, second = (generated(callback, model, BLACK).samples for _ in range(2))
    assert first.equal(second)


def test_the_sampler_of_the_callback_takes_the_place_of_the_models() -> None:
    callback = BFNSamples(num_samples=2, num_steps=3, frames=4, sampler=SDESolver(start=0.25))
    assert generated(callback, Foreign(), BLACK).times == [0.25, 0.5, 0.75, 1.0]


def test_samples_drawn_in_batches_are_as_many_as_asked_for(tmp_path: Path) -> None:
    generation = generated(BFNSamples(num_samples=5, num_steps=2, frames=3, batch_size=2), Foreign(), BLACK)
    assert [len(x) for x in [*generation.beliefs, generation.samples]] == [5] * 4


def conditional(condition: Any) -> tuple[BFN, list[Tensor]]:
    """A model, and a list that its network puts the conditions into that it is shown."""
    network = BFNMLP((8, 8, 1), 1, 1, width=8, depth=1, extra_inputs=ExtraInputs(condition))
    shown: list[Tensor] = []
    network.register_forward_pre_hook(
        lambda module, args, kwargs: shown.append(kwargs["condition"]), with_kwargs=True
    )
    return BFN(DiscreteFlow(2, 4.0), network.eval(), BinaryImages(levels=17)), shown


def test_classes_are_drawn_in_turn_whatever_the_batch_held() -> None:
    model, shown = conditional(ClassCondition(3))
    seen = BLACK._replace(condition=torch.tensor([2, 2, 2, 2]))
    generated(BFNSamples(num_samples=7, num_steps=1, batch_size=4), model, seen)
    assert [row.tolist() for row in shown[::2]] == [[0, 1, 2, 0], [1, 2, 0]]


def test_vectors_are_those_of_the_batch_in_turn() -> None:
    model, shown = conditional(VectorCondition(2))
    vectors = torch.randn(4, 2)
    generated(BFNSamples(num_samples=6, num_steps=1), model, BLACK._replace(condition=vectors))
    assert torch.equal(shown[0], torch.cat([vectors, vectors[:2]]))


@pytest.mark.parametrize(
    ("classes", "count", "columns"), [(10, 36, 10), (2, 36, 6), (3, 36, 6), (10, 400, 20), (40, 36, None)]
)
def test_a_column_of_the_sheet_holds_one_class(classes: int, count: int, columns: int | None) -> None:
    assert _columns(classes, count) == columns


def test_the_sheet_of_an_unconditional_model_is_as_square_as_can_be() -> None:
    assert _columns(None, 36) is None


def test_samples_are_as_long_as_the_words_of_the_first_batch(tmp_path: Path) -> None:
    words = EnglishWordsDataModule(length=6, batch_size=8)
    network = BFNConvNet((6,), 27, 27, width=8, dilations=(1,))
    model = BFN(DiscreteFlow(27, 0.6), network, Tokens("_abcdefghijklmnopqrstuvwxyz", padding="_"))
    trainer(tmp_path, BFNSamples(num_samples=10, num_steps=3)).validate(model, words, verbose=False)
    lines = (tmp_path / "texts" / "samples_step=0.txt").read_text().splitlines()
    first = next(iter(words.val_dataloader()))
    lengths = [len(words.spec.decode(word)) for word in first.tolist()]
    assert min(lengths) < 6
    # an untrained network may well say "_" at the end of a word, but nothing after it
    assert all(len(line) <= length for line, length in zip(lines, [*lengths, *lengths[:2]], strict=True))


def test_predictions_are_kept(tmp_path: Path) -> None:
    for name, folder in (("binary", "images"), ("text", "texts")):
        model = MODELS[name]()
        model.sample_steps = 2
        trainer(tmp_path, BFNSamples(), limit_predict_batches=1).predict(model, data(name, batch_size=4))
        (file,) = (tmp_path / folder).iterdir()
        assert file.name.startswith("predictions_0000")


@pytest.mark.parametrize("outputs", [{"a": torch.zeros(1)}, torch.zeros(3), [torch.zeros(1)], None])
def test_predictions_of_other_kinds_are_left_alone(tmp_path: Path, outputs: Any) -> None:
    BFNSamples().on_predict_batch_end(trainer(tmp_path), Foreign(), outputs, None, 0)
    assert not files(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, not 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        ({"every_n_epochs": 0}, "every_n_epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"frames": -1}, "frames must be at least 0, not -1"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNSamples(**arguments)
