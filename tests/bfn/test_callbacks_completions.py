"""What is completed, and what stays as it was told."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from small_models import MODELS, data

from graves_bfn import BFN, BFNMLP, BFNCompletions, DiscretisedFlow, ExtraInputs, QuantisedImages, RandomKnown

SETTINGS = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 1,
}


def told() -> BFN:
    net = BFNMLP((8, 8, 1), 1, 2, width=16, depth=1, extra_inputs=ExtraInputs(known=True))
    return BFN(
        DiscretisedFlow(17, 0.05), net, QuantisedImages(17, levels=17), known=RandomKnown(), sample_steps=3
    )


def validate(model: LightningModule, name: str, callback: BFNCompletions, root: Path) -> None:
    trainer = Trainer(default_root_dir=root, callbacks=[callback], **SETTINGS)
    trainer.validate(model, data(name), verbose=False)


def test_pictures_are_kept_as_a_sheet(tmp_path: Path) -> None:
    validate(told(), "binary", BFNCompletions(num_samples=5, methods=["clamp", "particles"]), tmp_path)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["completions_step=0.png"]


def test_what_was_known_of_a_text_stands_in_its_completion(tmp_path: Path) -> None:
    model = MODELS["text"]()
    model.sample_steps = 3
    validate(model, "text", BFNCompletions(num_samples=6), tmp_path)
    lines = (tmp_path / "texts" / "completions_step=0.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["data", "known", "replace", "particles"] * 6
    texts = [line[10:].ljust(16) for line in lines]
    hidden = 0
    for start in range(0, len(texts), 4):
        original, part, *completed = texts[start : start + 4]
        for i, letter in enumerate(part):
            hidden += letter == "."
            if letter != ".":
                assert all(text[i] == letter == original[i] for text in completed)
    assert 0 < hidden < 6 * 16


def test_the_mask_of_the_training_is_the_default_and_clamping_its_method() -> None:
    callback, model = BFNCompletions(), told()
    assert callback._mask(model) is model.known
    assert callback._methods(model) == ["clamp"]
    assert callback._methods(MODELS["binary"]()) == ["replace", "particles"]


def test_bad_arguments_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"methods must be 'clamp', 'replace' or 'particles', not \['paint'\]"
    ):
        BFNCompletions(methods=["paint"])

    class Other(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            source = told()
            self.flow, self.network, self.codec = source.flow, source.network, source.codec

        def validation_step(self, batch: object, batch_idx: int) -> torch.Tensor:
            return torch.zeros(())

    with pytest.raises(TypeError, match="Other must have the methods of DrawsSamples"):
        validate(Other(), "binary", BFNCompletions(), tmp_path)
