"""ImageClassifier, and its recipe with a posterior."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from graves_bayes.callbacks.variational import VariationalInference
from graves_bayes.module.classifier import ImageClassifier
from graves_core import DigitsDataModule
from graves_core.testing import assert_safe_checkpoint
from graves_core.testing.quiet import QUIET


def test_the_loss_is_the_mean_of_minus_log_p() -> None:
    model = ImageClassifier((1, 4, 4), classes=3, levels=17, hidden=[5])
    images, labels = torch.randint(0, 17, (6, 1, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 2, 2, 1, 0])
    probabilities = model.predict_step([images, labels], 0)
    expected = -probabilities[torch.arange(6), labels].log().mean()
    model.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    torch.testing.assert_close(model.training_step([images, labels], 0), expected)


def test_pixels_are_scaled_to_one() -> None:
    model = ImageClassifier((1, 1, 1), classes=2, levels=17, hidden=[])
    weight, bias = model.layers[0].weight, model.layers[0].bias
    logits = model(torch.full((1, 1, 1, 1), 16, dtype=torch.uint8))
    torch.testing.assert_close(logits, (weight[:, 0] + bias)[None])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"classes": 1}, "classes must be at least 2, not 1"),
        ({"levels": 1}, "levels must be at least 2, not 1"),
        ({"hidden": [0]}, "image_shape and hidden must be at least 1"),
    ],
)
def test_wrong_sizes_are_refused(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ImageClassifier(**arguments)


def test_data_that_do_not_fit_are_refused() -> None:
    trainer = Trainer(**QUIET, enable_checkpointing=False, max_epochs=1)
    with pytest.raises(ValueError, match="levels=256"):
        trainer.fit(ImageClassifier((1, 8, 8)), DigitsDataModule())


def test_checkpoints_rebuild_the_model(tmp_path: Any) -> None:
    trainer = Trainer(**QUIET, max_steps=1, callbacks=[VariationalInference()], default_root_dir=tmp_path)
    model = ImageClassifier((1, 8, 8), levels=17, hidden=[7])
    trainer.fit(model, DigitsDataModule())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = assert_safe_checkpoint(tmp_path / "model.ckpt")
    assert isinstance(again, ImageClassifier)
    assert again.spec == model.spec


@pytest.mark.parametrize("estimator", ["squared", "reparameterised"])
def test_digits_are_compressed_in_few_epochs(estimator: Any) -> None:
    seed_everything(0, verbose=False)
    model = ImageClassifier((1, 8, 8), levels=17, hidden=[50])
    callback = VariationalInference(estimator=estimator, classes=10)
    trainer = Trainer(**QUIET, enable_checkpointing=False, max_epochs=15, callbacks=[callback])
    model.optimizer = lambda parameters: torch.optim.Adam(parameters, lr=2e-2)
    trainer.fit(model, DigitsDataModule(batch_size=32))
    assert trainer.callback_metrics["variational/compression"] < 0.6
    assert trainer.callback_metrics["val/accuracy"] > 0.9
