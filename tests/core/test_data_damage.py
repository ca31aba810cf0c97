"""Whatever happens to a file on its way, it is refused by name or read as it was."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graves_core.data.cifar_binary import TRAIN_BATCHES, read_batches
from graves_core.data.drawings import read_drawings
from graves_core.data.idx import read_idx
from graves_core.data.textsource import read_text
from graves_core.testing.fake_data import cifar_bytes, drawing_bytes, idx_bytes, text8_bytes

DRAW = np.random.default_rng(0)


def gzipped(content):
    return gzip.compress(content, mtime=0)


def tar_of(name, content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zip_of(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


CASES = {
    "images.gz": (
        gzipped(idx_bytes(DRAW.integers(0, 256, (6, 5, 4), dtype=np.uint8))),
        lambda p: read_idx(p, 3),
    ),
    "batches.tar.gz": (
        gzipped(tar_of("data_batch_1.bin", cifar_bytes(DRAW, 2))),
        lambda path: read_batches(path, TRAIN_BATCHES)[0],
    ),
    "drawings.zip": (
        zip_of("Greek/character01/0001_01.png", drawing_bytes(DRAW)),
        lambda path: read_drawings(path, 105)[0],
    ),
    "text.zip": (zip_of("text", text8_bytes(DRAW, 2000)), read_text),
    "text.gz": (gzipped(text8_bytes(DRAW, 2000)), read_text),
}
PLACES = st.floats(0, 1, exclude_max=True)


def refused_or_same(path, content):
    intact, read = CASES[path.name]
    path.write_bytes(intact)
    expected = read(path)
    path.write_bytes(content)
    try:
        result = read(path)
    except (ValueError, FileNotFoundError) as error:
        assert str(path) in str(error)
        return
    assert torch.equal(result, expected) if isinstance(expected, torch.Tensor) else result == expected


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=100)
@given(place=PLACES)
def test_truncated(tmp_path_factory, name, place):
    content = CASES[name][0]
    refused_or_same(tmp_path_factory.getbasetemp() / name, content[: int(place * len(content))])


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=200)
@given(place=PLACES, bits=st.integers(1, 255))
def test_one_wrong_byte(tmp_path_factory, name, place, bits):
    content = bytearray(CASES[name][0])
    content[int(place * len(content))] ^= bits
    refused_or_same(tmp_path_factory.getbasetemp() / name, content)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=30)
@given(content=st.binary(max_size=300))
def test_something_else_altogether(tmp_path_factory, name, content):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        CASES[name][1](path)
    assert str(path) in str(error.value)
