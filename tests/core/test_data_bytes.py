"""Files that are read byte by byte, and parts that have files of their own."""

import gzip
import zipfile

import pytest
import torch

from graves_core import EnglishTextDataModule, TextFileDataModule

CONTENT = bytes(range(256)) * 3 + "Wörtchen – ".encode() * 20


@pytest.fixture
def files(tmp_path):
    (tmp_path / "plain.bin").write_bytes(CONTENT)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(CONTENT))
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("member", CONTENT)
    for part, letters in {"train": "abc", "valid": "abd", "test": "eab"}.items():
        (tmp_path / f"wiki.{part}.tokens").write_text(letters * 30, encoding="utf-8")
    return tmp_path


def wiki(files, **arguments):
    names = {"file": "wiki.train.tokens", "val_file": "wiki.valid.tokens", "test_file": "wiki.test.tokens"}
    return TextFileDataModule(data_dir=str(files), **(names | {"length": 10} | arguments))


def texts(data):
    return {part: data.spec.decode(tokens.tolist()) for part, (tokens, _) in data.passages().items()}


@pytest.mark.parametrize("name", ["plain.bin", "packed.gz", "packed.zip"])
def test_token_i_is_byte_i(files, name):
    data = TextFileDataModule(name, str(files), unit="byte", length=16)
    assert data.spec.levels == 256
    passages = data.passages()
    tokens = torch.cat([passages[part].tokens for part in ("train", "val", "test")])
    assert bytes(tokens.tolist()) == CONTENT
    assert data.spec.decode(list(range(256))).encode("latin-1") == bytes(range(256))


def test_bytes_come_in_windows_like_characters(files):
    data = TextFileDataModule("plain.bin", str(files), unit="byte", length=16, batch_size=4)
    data.setup()
    assert bytes(next(iter(data.val_dataloader()))[0].tolist()) in CONTENT


@pytest.mark.parametrize("cut", [0, 5, 60, -9, -1])
def test_truncated_file_of_bytes_is_refused_by_name(files, cut):
    whole = (files / "packed.gz").read_bytes()
    (files / "cut.gz").write_bytes(whole[:cut])
    with pytest.raises(ValueError, match=r"cut\.gz is truncated or corrupt"):
        TextFileDataModule("cut.gz", str(files), unit="byte", length=16).setup("fit")


@pytest.mark.parametrize("unit", ["character", "byte"])
def test_parts_with_files_of_their_own_are_these_files(files, unit):
    data = wiki(files, unit=unit, val_fraction=0.5, test_fraction=0.4)
    assert texts(data) == {"train": "abc" * 30, "val": "abd" * 30, "test": "eab" * 30}
    data.setup()
    sizes = [len(loader.dataset) for loader in (data.val_dataloader(), data.test_dataloader())]
    assert sizes == [9, 9]


def test_alphabet_is_that_of_all_files(files):
    data = wiki(files)
    data.setup("fit")
    assert data.spec.symbols == "abcde"


def test_parts_without_files_are_cut_off_the_end(files):
    data = wiki(files, val_file=None, val_fraction=0.1, test_fraction=0.5)
    assert texts(data) == {"train": "abc" * 27, "val": "abc" * 3, "test": "eab" * 30}
    data = wiki(files, test_file=None, val_fraction=0.5, test_fraction=0.1)
    assert texts(data) == {"train": "abc" * 27, "val": "abd" * 30, "test": "abc" * 3}


def test_nothing_is_held_back_when_the_fraction_is_zero(files):
    assert set(wiki(files, val_file=None, val_fraction=0.0).passages()) == {"train", "test"}


def test_validation_file_counts_when_the_fraction_is_zero(files):
    data = wiki(files, val_fraction=0.0)
    data.setup("fit")
    assert len(data.val_dataloader().dataset) == 9


def test_missing_and_strange_files_of_parts_are_named(files):
    with pytest.raises(FileNotFoundError, match=r"no other\.tokens in"):
        wiki(files, val_file="other.tokens").setup("fit")
    with pytest.raises(ValueError, match=r"wiki\.valid\.tokens has 'd' at character 2"):
        wiki(files, symbols="abc").setup("fit")
    with pytest.raises(ValueError, match=r"wiki\.valid\.tokens is too short: its val part has 90 characters"):
        wiki(files, file="plain.bin", unit="byte", length=100).setup("fit")


def test_parts_are_read_once(files):
    data = wiki(files)
    assert data.passages()["train"].tokens is data.passages()["train"].tokens


def test_parts_of_one_text_are_consecutive():
    data = EnglishTextDataModule()
    assert "".join(texts(data).values()) == data.read()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "word"}, "unit must be 'character' or 'byte', got 'word'"),
        ({"unit": "byte", "symbols": "ab"}, "symbols must be None for unit 'byte', got 'ab'"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextFileDataModule("a.txt", **arguments)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "size"), [("tinyshakespeare.txt", 1_115_394), ("wikitext-2.valid.txt.gz", 1_121_681)]
)
def test_real_files_have_the_published_number_of_bytes(real_data, name, size):
    if not (real_data / "text" / name).exists():
        pytest.skip(f"{name} is not at hand")
    passages = TextFileDataModule(name, str(real_data), unit="byte").passages()
    assert sum(len(tokens) for tokens, _ in passages.values()) == size
