"""What the callbacks leave behind, and whether the likelihoods they report are right."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from small_models import MODELS, data

from graves_bfn import BFNLikelihood, BFNSamples
from graves_bfn.callbacks import _Score

SETTINGS = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def fit(name: str, root: Path, callback: BFNSamples) -> None:
    trainer = Trainer(
        max_epochs=2,
        limit_train_batches=1,
        limit_val_batches=1,
        default_root_dir=root,
        callbacks=[callback],
        **SETTINGS,
    )
    trainer.fit(MODELS[name](), datamodule=data(name))


def test_image_samples_are_kept_as_sheet_strip_and_animation(tmp_path: Path) -> None:
    fit("binary", tmp_path, BFNSamples(num_samples=6, num_steps=10, frames=5))
    files = sorted(path.name for path in (tmp_path / "images").iterdir())
    kinds = ["generation_step={}.gif", "samples_step={}.png", "strip_step={}.png"]
    assert files == [kind.format(step) for kind in kinds for step in (1, 2)]
    with Image.open(tmp_path / "images" / "generation_step=1.gif") as animation:
        assert animation.n_frames >= 5
    with Image.open(tmp_path / "images" / "samples_step=1.png") as sheet:
        assert len(sheet.getcolors()) == 2  # finished samples of binary data are black and white


def test_the_first_moment_of_a_generation_shows_beliefs_without_information(tmp_path: Path) -> None:
    callback, model = BFNSamples(num_samples=2, num_steps=10, frames=5), MODELS["binary"]()
    with torch.no_grad():
        steps = callback._generate(model)
    assert [round(step.time, 6) for step in steps] == [0.0, 0.2, 0.5, 0.8, 1.0]
    assert (model.flow.expectation(steps[0].params) == 0.5).all()


def test_text_samples_are_kept_as_text(tmp_path: Path) -> None:
    fit("text", tmp_path, BFNSamples(num_samples=3, num_steps=10, frames=4, every_n_epochs=2))
    texts = tmp_path / "texts"
    assert sorted(path.name for path in texts.iterdir()) == ["generation_step=2.txt", "samples_step=2.txt"]
    lines = (texts / "samples_step=2.txt").read_text().splitlines()
    assert [len(line) for line in lines] == [16] * 3
    moments = (texts / "generation_step=2.txt").read_text().splitlines()
    assert [line.split()[0] for line in moments] == ["t=0.00", "t=0.30", "t=0.70", "t=1.00"]


def test_the_same_noise_is_used_every_time() -> None:
    model, callback = MODELS["discretised"](), BFNSamples(num_samples=2, num_steps=4)
    with torch.no_grad():
        first, second = (callback._generate(model)[-1].output.mode for _ in range(2))
    assert first.equal(second)


def test_predictions_are_kept(tmp_path: Path) -> None:
    for name, folder in (("binary", "images"), ("text", "texts")):
        model = MODELS[name]()
        model.sample_steps = 2
        trainer = Trainer(
            limit_predict_batches=1, default_root_dir=tmp_path, callbacks=[BFNSamples()], **SETTINGS
        )
        trainer.predict(model, data(name, batch_size=4))
        (file,) = (tmp_path / folder).iterdir()
        assert file.name.startswith("predictions_0000")


def test_likelihoods_for_step_counts_are_logged_with_standard_errors() -> None:
    torch.manual_seed(0)
    trainer = Trainer(callbacks=[BFNLikelihood(steps=[1, 50], repeats=3)], **SETTINGS)
    (logged,) = trainer.test(MODELS["binary"](), data("binary", batch_size=120), verbose=False)
    for n in ("1", "50", "inf"):
        value, error = (logged[f"test/nats_per_example_n={n}{suffix}"] for suffix in ("", "_stderr"))
        assert 0 < error < 0.1 * value
        assert 0 < logged[f"test/nats_per_example_n={n}_repeat_stderr"] < 4 * error  # of 3 repeats: rough
    # an untrained network says one half everywhere: L_inf = beta_1 / 2 for each of 64 pixels of 2 classes
    expected = 64 * (4.0 / 2 + math.log(2))
    assert (
        abs(logged["test/nats_per_example_n=inf"] - expected)
        < 5 * logged["test/nats_per_example_n=inf_stderr"]
    )
    assert logged["test/nats_per_example_n=inf"] == pytest.approx(logged["test/nats_per_example"], rel=0.1)


def test_scores_are_means_over_examples_not_over_batches() -> None:
    values = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)) + 80
    score = _Score(2, torch.device("cpu"))
    for part in values.split([7, 40, 3], dim=1):
        score.update(part)
    result, examples = score.compute(), values.mean(0)
    assert result[""].item() == pytest.approx(values.mean().item(), rel=1e-5)
    assert result["_stderr"].item() == pytest.approx(
        (examples.std(unbiased=False) / math.sqrt(50)).item(), rel=0.02
    )
    repeat = values.mean(1).std() / math.sqrt(2)
    assert result["_repeat_stderr"].item() == pytest.approx(repeat.item(), rel=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BFNSamples(num_samples=0), "num_samples must be at least 1, not 0"),
        (lambda: BFNSamples(num_steps=0), "num_steps must be at least 1, not 0"),
        (lambda: BFNSamples(every_n_epochs=0), "every_n_epochs must be at least 1, not 0"),
        (lambda: BFNSamples(frames=-1), "frames must be at least 0, not -1"),
        (lambda: BFNLikelihood(steps=[0]), r"steps must all be at least 1, not \[0\]"),
        (lambda: BFNLikelihood(repeats=0), "repeats must be at least 1, not 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_other_models_are_refused() -> None:
    for callback, hook in (
        (BFNSamples(), "on_validation_epoch_end"),
        (BFNLikelihood(), "on_test_epoch_start"),
    ):
        with pytest.raises(TypeError, match=f"{type(callback).__name__} needs a BFN, not LightningModule"):
            getattr(callback, hook)(Trainer(**SETTINGS), LightningModule())
