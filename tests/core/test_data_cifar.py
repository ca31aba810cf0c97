"""CIFAR-10's binary version: folder and archive, also partly filled, and what is refused by name."""

import gzip
import io
import tarfile

import numpy as np
import pytest
import torch

from graves_core import CIFAR10DataModule
from graves_core.data.cifar_binary import (
    ARCHIVE,
    FOLDER,
    TEST_BATCHES,
    TRAIN_BATCHES,
    parse_records,
    read_batches,
)
from graves_core.testing.fake_data import cifar_bytes, write_cifar10


@pytest.fixture
def folder(tmp_path):
    write_cifar10(tmp_path / FOLDER, np.random.default_rng(0), records=3)
    return tmp_path / FOLDER


def archive_of(folder, target, inside=FOLDER):
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, f"{inside}/{path.name}")
    return target


def test_record_is_a_label_and_three_planes():
    record = bytearray([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes(range(256)) * 4
    images, labels = parse_records(record * 2, "batch")
    assert labels.tolist() == [7, 7]
    assert images.shape == (2, 3, 32, 32)
    assert images[1, :2].flatten(1).unique(dim=1).tolist() == [[1], [2]]
    assert images[1, 2, 0].tolist() == list(range(32))


def test_archive_and_folder_are_the_same(folder, tmp_path):
    archive = archive_of(folder, tmp_path / ARCHIVE)
    for names in (TRAIN_BATCHES, TEST_BATCHES):
        for one, other in zip(read_batches(folder, names), read_batches(archive, names), strict=True):
            assert torch.equal(one, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FOLDER, ARCHIVE]


def test_archive_with_a_hostile_path_is_read_and_nothing_is_written(folder, tmp_path):
    (tmp_path / "home").mkdir()
    archive = archive_of(folder, tmp_path / "home" / ARCHIVE, inside="../../../evil")
    read_batches(archive, TRAIN_BATCHES)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [ARCHIVE]


@pytest.mark.parametrize("where", ["set", "parent", "folder"])
def test_user_folder_is_used_as_it_is(folder, tmp_path, where):
    home = tmp_path / "data" / "cifar10"
    home.mkdir(parents=True)
    folder.rename(home / FOLDER)
    data_dir = {"set": home, "parent": home.parent, "folder": home / FOLDER}[where]
    data = CIFAR10DataModule(str(data_dir), val_fraction=0.2)
    data.prepare_data()
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [12, 3, 6]


def test_partly_filled_batches_without_a_test_batch_can_be_trained_on(tmp_path):
    home = tmp_path / FOLDER
    home.mkdir()
    (home / "data_batch_2.bin").write_bytes(cifar_bytes(np.random.default_rng(0), 5))
    archive_of(home, tmp_path / ARCHIVE)
    (home / "data_batch_2.bin").unlink()
    home.rmdir()
    data = CIFAR10DataModule(str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    assert len(data.train_dataloader().dataset) == 4
    with pytest.raises(FileNotFoundError, match=f"{ARCHIVE} holds no test_batch.bin"):
        data.setup("test")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes, which is no multiple of a record's 3073"),
        (bytes(3072), "3072 bytes, which is no multiple"),
        (bytes([10]) + bytes(3072), "the label 10; the labels of CIFAR-10 are 0 to 9"),
        (bytes(10_001 * 3073), "more than the 10000 records|no multiple"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
def test_wrong_batch_is_refused_by_name_before_training(folder, tmp_path, name, packed, content, reason):
    (folder / name).write_bytes(content)
    if packed:
        archive_of(folder, tmp_path / ARCHIVE)
        folder.rename(tmp_path / "aside")
    with pytest.raises(ValueError, match=f"{name} h.*({reason})"):
        CIFAR10DataModule(str(tmp_path)).setup("fit")


def test_member_that_claims_to_be_huge_is_refused(tmp_path):
    member = tarfile.TarInfo(f"{FOLDER}/data_batch_1.bin")
    member.size = 1 << 40
    file = io.BytesIO(member.tobuf() + bytes(100_000))
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(file.getvalue()))
    with pytest.raises(ValueError, match=f"{ARCHIVE} is truncated or corrupt"):
        read_batches(tmp_path / ARCHIVE, TRAIN_BATCHES)
