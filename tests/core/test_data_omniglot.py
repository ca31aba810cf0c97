"""Omniglot's drawings: zip and folder, labels, splits by character, and what is refused by name."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from graves_core import OmniglotDataModule
from graves_core.data.drawings import character_of, decode, read_drawings
from graves_core.testing.fake_data import write_omniglot


@pytest.fixture
def folder(tmp_path):
    write_omniglot(tmp_path / "omniglot", np.random.default_rng(0))
    return tmp_path / "omniglot"


def png(size=(105, 105), mode="1"):
    file = io.BytesIO()
    Image.new(mode, size).save(file, format="PNG")
    return file.getvalue()


def test_zip_and_unpacked_folder_are_the_same(folder):
    zipped = read_drawings(folder / "images_background.zip", 105)
    with zipfile.ZipFile(folder / "images_background.zip") as archive:
        archive.extractall(folder)
    unpacked = read_drawings(folder / "images_background", 105)
    assert torch.equal(zipped[0], unpacked[0])
    assert zipped[1].tolist() == unpacked[1].tolist() == [label for label in range(6) for _ in range(4)]
    assert zipped[0].unique().tolist() == [0, 255]


def test_labels_do_not_depend_on_what_else_is_there(folder):
    data = OmniglotDataModule(str(folder))
    data.setup("test")
    assert data.test_dataloader().dataset.labels.unique().tolist() == [964, 965, 966]
    assert data.spec.classes == 1623


def test_validation_has_its_own_characters(folder):
    data = OmniglotDataModule(str(folder.parent), size=28, val_fraction=0.4)
    data.setup("fit")
    train, val = (
        {int(label) for _, labels in loader for label in labels}
        for loader in (data.train_dataloader(), data.val_dataloader())
    )
    assert (len(train), len(val)) == (4, 2)
    assert not train & val
    assert len(data.val_dataloader().dataset) == 8


def test_shrinking_averages_areas():
    pixels = np.full((105, 105), 255, np.uint8)
    pixels[:, :52] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    assert decode(file.getvalue(), "a.png", 3).tolist() == [[0, 255 * 18 // 35, 255]] * 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is truncated or corrupt"),
        (png()[:-20], "is truncated or corrupt"),
        (b"GIF89a" + bytes(50), "is truncated or corrupt"),
        (png((28, 28)), "28 x 28 pixels; drawings of Omniglot have 105 x 105"),
    ],
)
def test_damaged_drawing_is_refused_by_name(folder, content, reason):
    name = "images_background/Greek/character09/0009_01.png"
    with zipfile.ZipFile(folder / "images_background.zip", "a") as archive:
        archive.writestr(name, content)
    with pytest.raises(ValueError, match=f"{name} .*{reason}"):
        OmniglotDataModule(str(folder)).setup("fit")


@pytest.mark.parametrize("name", ["0000_01.png", "1624_01.png", "letter.png", "1_01.png"])
def test_drawing_with_a_strange_name_is_refused(name):
    with pytest.raises(ValueError, match="not named like a drawing of Omniglot"):
        character_of(f"images_background/Greek/character01/{name}")


@pytest.mark.parametrize("size", [0, 106])
def test_size_is_checked(size):
    with pytest.raises(ValueError, match=f"size must lie in 1..105, got {size}"):
        OmniglotDataModule(size=size)
