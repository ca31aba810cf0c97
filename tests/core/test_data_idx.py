"""IDX files and the two sets that come in them: what is read, and what is refused by name."""

import gzip
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_core import FashionMNISTDataModule, MNISTDataModule
from graves_core.data.idx import read_idx
from graves_core.testing.fake_data import idx_bytes, write_mnist

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.fixture
def folder(tmp_path):
    write_mnist(tmp_path / "mnist", np.random.default_rng(0))
    return tmp_path / "mnist"


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_reads_what_was_written(tmp_path_factory, sizes, zipped):
    values = np.random.default_rng(0).integers(0, 256, sizes, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "values"
    path.write_bytes(gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values))
    assert torch.equal(read_idx(path, len(sizes)), torch.from_numpy(values))


def header(*sizes):
    return bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an IDX file"),
        (b"<html>not found</html>", "not an IDX file"),
        (b"\0\0\x0d\3" + header(1, 1, 1)[4:] + bytes(4), "not an IDX file of unsigned bytes"),
        (header(1)[:3] + b"\1", "1 dimensions, expected 3: an images file"),
        (header(9, 2, 2)[:9], "header ends after 9 bytes"),
        (header(0, 28, 28), "it is empty"),
        (header(9, 2, 2) + bytes(35), "announces 9 x 2 x 2"),
        (header(9, 2, 2) + bytes(37), "holds more|cannot hold"),
        (header(4_000_000_000, 28, 28) + bytes(100), "cannot hold them"),
    ],
)
def test_wrong_content_is_refused_by_name(tmp_path, content, reason, pack):
    path = tmp_path / "train-images"
    path.write_bytes(pack(content))
    with pytest.raises(ValueError, match=reason) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("data_module", [MNISTDataModule, FashionMNISTDataModule])
def test_files_in_the_folder_itself_are_used(folder, data_module):
    data = data_module(str(folder))
    data.setup()
    assert data.spec.shape == (1, 28, 28)
    assert len(data.train_dataloader().dataset) + len(data.val_dataloader().dataset) == 256
    assert len(data.test_dataloader().dataset) == 64


@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw"])
@pytest.mark.parametrize("rename", [None, "{}", "{}.idx"])
def test_layouts_and_names_of_other_software_are_used(folder, tmp_path, layout, rename):
    home = tmp_path / "elsewhere" / layout
    home.mkdir(parents=True)
    for path in folder.iterdir():
        if rename is None:
            (home / path.name).write_bytes(path.read_bytes())
        else:
            name = path.stem if rename == "{}" else path.stem.replace("-idx", ".idx")
            (home / name).write_bytes(gzip.decompress(path.read_bytes()))
    data = MNISTDataModule(str(tmp_path / "elsewhere"))
    data.prepare_data()
    data.setup()
    assert len(data.test_dataloader().dataset) == 64


def test_folder_is_found_through_the_environment(folder, monkeypatch):
    monkeypatch.setenv("GRAVES_DATA", str(folder.parent))
    data = MNISTDataModule()
    data.setup("fit")
    assert len(data.train_dataloader().dataset) == 253


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        (IMAGES, np.zeros(256, np.uint8), f"{IMAGES} has 1 dimensions, expected 3"),
        (LABELS, np.zeros((256, 28, 28), np.uint8), f"{LABELS} has 3 dimensions, expected 1"),
        (IMAGES, np.zeros((256, 8, 8), np.uint8), f"{IMAGES} has images of 8 x 8 pixels, expected 28 x 28"),
        (LABELS, np.zeros(255, np.uint8), f"256 images, but .*{LABELS} has 255 labels"),
        (LABELS, np.full(256, 10, np.uint8), f"{LABELS} has the label 10"),
        ("t10k-labels-idx1-ubyte.gz", np.zeros(63, np.uint8), "t10k-labels.* has 63 labels"),
    ],
)
def test_wrong_file_is_refused_before_training(folder, name, values, reason):
    (folder / name).write_bytes(gzip.compress(idx_bytes(values)))
    with pytest.raises(ValueError, match=reason):
        MNISTDataModule(str(folder)).setup("fit")


def test_missing_test_part_is_missed_when_it_is_asked_for(folder):
    for path in folder.glob("t10k-*"):
        path.unlink()
    data = MNISTDataModule(str(folder))
    data.setup("fit")
    with pytest.raises(RuntimeError, match='setup\\("test"\\)'):
        data.test_dataloader()
    with pytest.raises(FileNotFoundError, match="there is no t10k-images-idx3-ubyte"):
        data.setup("test")
