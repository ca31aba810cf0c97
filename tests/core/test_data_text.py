"""Text files, alphabets and windows."""

import gzip
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_core import EnglishTextDataModule, Text8DataModule, TextFileDataModule
from graves_core.data import StridedWindows, TiledWindows
from graves_core.data.alphabet import LETTERS, detect_symbols, encode, to_letters
from graves_core.data.textsource import read_text
from graves_core.testing.fake_data import write_fake_data

TEXT = "Ein Wörtchen,\r\nund noch eins. " * 40


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def files(tmp_path):
    (tmp_path / "plain.txt").write_bytes(TEXT.encode())
    (tmp_path / "packed.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "gzipped_without_saying_so").write_bytes(gzip.compress(TEXT.encode()))
    zipped(tmp_path / "packed.zip", member=TEXT)
    return tmp_path


@pytest.mark.parametrize("name", ["plain.txt", "packed.gz", "packed.zip", "gzipped_without_saying_so"])
def test_text_is_read_as_it_is(files, name):
    assert read_text(files / name) == TEXT


@pytest.mark.parametrize("how", ["path", "name", "sub-folder"])
def test_file_is_found(files, monkeypatch, how):
    if how == "path":
        monkeypatch.chdir(files)
    data_dir = None if how == "path" else str(files)
    if how == "sub-folder":
        (files / "text").mkdir()
        (files / "plain.txt").rename(files / "text" / "plain.txt")
    data = TextFileDataModule("plain.txt", data_dir, length=16)
    data.setup()
    assert data.spec.symbols == "".join(sorted(set(TEXT)))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no novel\.txt in .*text"):
        TextFileDataModule("novel.txt", str(tmp_path)).setup("fit")


def test_bad_files_are_refused_by_name(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes("Wörtchen".encode("latin-1"))
    zipped(tmp_path / "two.zip", one="a", two="b")
    for name, reason in {"empty.txt": "is empty", "latin.txt": "at byte 1", "two.zip": "but holds 2"}.items():
        with pytest.raises(ValueError, match=reason) as error:
            read_text(tmp_path / name)
        assert name in str(error.value)


def test_alphabet_is_known_after_setup_unless_it_is_given(files):
    detected = TextFileDataModule("plain.txt", str(files), length=16)
    with pytest.raises(RuntimeError, match="call it before spec, or give symbols"):
        _ = detected.spec
    detected.setup("fit")
    given_symbols = TextFileDataModule("plain.txt", str(files), symbols=detected.spec.symbols, length=16)
    assert given_symbols.spec == detected.spec
    batch = next(iter(detected.test_dataloader()))
    assert detected.spec.decode(batch[0].tolist()) in TEXT


def test_character_outside_the_alphabet_is_named(files):
    with pytest.raises(ValueError, match=r"plain.txt has 'ö' at character 5"):
        TextFileDataModule("plain.txt", str(files), symbols="EinW ").setup("fit")


def test_text_with_too_many_characters_is_refused(tmp_path):
    (tmp_path / "all.txt").write_text("".join(map(chr, range(400, 657))), encoding="utf-8")
    with pytest.raises(ValueError, match=r"all.txt has 257 different characters"):
        TextFileDataModule("all.txt", str(tmp_path)).setup("fit")


@given(st.text(min_size=1, max_size=80))
def test_encoding_is_undone_by_the_alphabet(text):
    text += "ab"
    symbols = detect_symbols(text, Path("text"))
    assert "".join(symbols[token] for token in encode(text, symbols, Path("text")).tolist()) == text


@given(st.text(max_size=80))
def test_letters_are_the_27_of_text8_with_single_spaces(text):
    letters = to_letters(text)
    assert set(letters) <= set(LETTERS)
    assert "  " not in letters


@given(st.integers(1, 90), st.integers(1, 20), st.integers(1, 20))
def test_strided_windows_are_all_that_fit(count, length, stride):
    tokens = torch.arange(count, dtype=torch.uint8)
    if count < length:
        with pytest.raises(ValueError, match=f"length={length} does not fit into a text of {count}"):
            StridedWindows(tokens, length, stride)
        return
    windows = StridedWindows(tokens, length, stride)
    starts = [int(window[0]) for window in windows.__getitems__(range(len(windows)))]
    assert starts == list(range(0, count - length + 1, stride))
    assert all(windows[index].tolist() == list(range(s, s + length)) for index, s in enumerate(starts))


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_tiled_windows_never_overlap_within_an_epoch(count, length, seed, epoch):
    if count < length:
        return
    windows = TiledWindows(torch.arange(count, dtype=torch.uint8), length, seed)
    windows.set_epoch(epoch)
    characters = windows.__getitems__(range(len(windows))).flatten().tolist()
    assert characters == list(range(characters[0], characters[0] + len(characters)))
    assert len(windows) == max(1, (count - length + 1) // length)
    assert torch.equal(windows[len(windows) - 1], windows.__getitems__([len(windows) - 1])[0])


def test_tiled_windows_begin_everywhere_equally_often():
    windows = TiledWindows(torch.arange(100, dtype=torch.uint8), length=10, seed=3)
    starts = torch.zeros(100)
    for epoch in range(3000):
        windows.set_epoch(epoch)
        starts[windows.__getitems__(range(len(windows)))[:, 0].long()] += 1
    assert starts[90:].sum() == 0
    assert (starts[:90] - 300).abs().max() < 5 * 300**0.5


def test_text8_is_split_by_proportions(tmp_path):
    data = Text8DataModule(str(write_fake_data(tmp_path)), length=100)
    assert data.spec.symbols == LETTERS
    data.setup()
    sizes = [len(loader.dataset) for loader in (data.val_dataloader(), data.test_dataloader())]
    assert sizes == [30, 30]
    assert len(data.train_dataloader().dataset) == (54_000 - 99) // 100


@pytest.mark.parametrize("layout", ["text8", "text8/text8"])
def test_text8_may_be_unpacked(tmp_path, layout):
    path = tmp_path / layout
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b" some words" * 200)
    data = Text8DataModule(str(tmp_path), length=20)
    data.prepare_data()
    data.setup("fit")
    assert len(data.val_dataloader().dataset) == 5


def test_other_characters_in_text8_are_refused(tmp_path):
    (tmp_path / "text8").write_bytes(b" some words\n" * 200)
    with pytest.raises(ValueError, match=r"text8 has '\\n' at character 11"):
        Text8DataModule(str(tmp_path)).setup("fit")


def test_part_that_is_shorter_than_a_window_is_refused_before_training(files):
    with pytest.raises(ValueError, match=r"plain.txt is too short: its val part has 60 char.* length=256"):
        TextFileDataModule("plain.txt", str(files)).setup("fit")


def test_embedded_english_has_words():
    data = EnglishTextDataModule(length=200)
    data.setup("test")
    text = "".join(data.spec.decode(window.tolist()) for window in next(iter(data.test_dataloader())))
    assert {"the", "is", "a", "and"} <= set(text.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"symbols": "aba"}, "symbols must be different characters, got 'aba'"),
        ({"symbols": "a"}, "symbols must be 2 to 256 characters, got 1"),
        ({"test_fraction": 0.0}, "test_fraction must lie between 0 and 0.95"),
        ({"val_fraction": 0.9, "test_fraction": 0.1}, "test_fraction must lie between"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextFileDataModule("a.txt", **arguments)
