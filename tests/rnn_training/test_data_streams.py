"""Texts as streams and crops: what is read, in which order, on each rank, and after an interruption."""

import gzip
import json
from itertools import chain
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel
from seen_batches import TWO_RANKS, Tagger, equal, on_rank, rows, seen

from graves_core import ExactResume, Text8DataModule, TextFileDataModule
from graves_core.data.text import Passage
from graves_core.testing import assert_exact_resume
from graves_rnn_training.data.streams import TextStreamsDataModule
from graves_rnn_training.data.windows import StreamChunks

TEXT = "The quick brown fox jumps over the lazy dog; so it goes, day by day. " * 12


@pytest.fixture
def text(tmp_path):
    (tmp_path / "fox.txt").write_text(TEXT, encoding="utf-8")

    def read(**arguments):
        settings = {"val_fraction": 0.2, "test_fraction": 0.2} | arguments
        return TextFileDataModule("fox.txt", str(tmp_path), **settings)

    return read


DRAW = torch.Generator().manual_seed(0)
PASSAGES = {
    part: Passage(torch.randint(2, (3000,), generator=DRAW, dtype=torch.uint8), Path("any.txt"))
    for part in ("train", "val", "test")
}


def ready(text, **arguments):
    data = TextStreamsDataModule(text, **arguments)
    data.setup()
    return data


def train_text(data):
    return data.text.passages()["train"].tokens


def by_stream(batches, name):
    """What each stream reads in an epoch."""
    return torch.cat([batch[name] for batch in batches], 1)


def in_order(chunks):
    """The batches of all chunks."""
    return [chunks.__getitems__(range(i, i + chunks.streams)) for i in range(0, len(chunks), chunks.streams)]


@given(st.integers(2, 80), st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_each_symbol_is_read_once_but_for_the_rest_that_is_stated(count, streams, length, full):
    tokens = torch.arange(count, dtype=torch.uint8)
    if (count - 1) // (streams * length if full else streams) < 1:
        with pytest.raises(ValueError, match=f"{count} symbols are too few for {streams} streams"):
            StreamChunks(tokens, streams, length, full)
        return
    batches = in_order(StreamChunks(tokens, streams, length, full))
    inputs = by_stream(batches, "inputs").flatten()
    rest = count - 1 - len(inputs)
    assert inputs.tolist() == list(range(len(inputs)))
    assert rest < (streams * length if full else streams)
    assert torch.equal(by_stream(batches, "targets").flatten(), inputs.long() + 1)
    sizes = [batch["inputs"].shape[1] for batch in batches]
    assert all(size == length for size in (sizes if full else sizes[:-1]))


@given(st.integers(1, 6), st.integers(1, 9))
def test_streams_begin_anew_in_the_first_chunk_alone(streams, length):
    batches = in_order(StreamChunks(torch.zeros(99, dtype=torch.uint8), streams, length, full=True))
    assert [batch["reset"].tolist() for batch in batches] == [
        [number == 0] * streams for number in range(len(batches))
    ]


def test_a_single_chunk_is_a_row_of_its_batch():
    chunks = StreamChunks(torch.arange(50, dtype=torch.uint8), streams=3, length=4, full=True)
    row, batch = chunks[4], chunks.__getitems__([3, 4, 5])
    assert all(torch.equal(row[name], batch[name][1]) for name in batch)


def test_targets_follow_the_inputs_across_chunks(text):
    data = ready(text(), length=16, batch_size=3)
    batches = list(data.train_dataloader())
    inputs, targets = by_stream(batches, "inputs"), by_stream(batches, "targets")
    assert len(batches) > 5
    assert torch.equal(targets[:, :-1], inputs[:, 1:].long())
    assert torch.equal(inputs.flatten(), train_text(data)[: inputs.numel()])


def test_streams_begin_anew_in_every_epoch(text, tmp_path):
    [batches] = seen(TextStreamsDataModule(text(), length=50, batch_size=2), tmp_path / "run", max_epochs=2)
    half = len(batches) // 2
    assert [bool(batch["reset"].all()) for batch in batches] == ([True] + [False] * (half - 1)) * 2
    assert all(map(equal, batches[:half], batches[half:]))


@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluation_reads_all_but_less_than_a_symbol_per_stream(text, part):
    data = ready(text(), length=16, batch_size=5)
    batches = list(getattr(data, f"{part}_dataloader")())
    tokens = data.text.passages()[part].tokens
    targets = by_stream(batches, "targets").flatten()
    assert 0 <= len(tokens) - 1 - len(targets) < 5
    assert torch.equal(targets, tokens[1 : len(targets) + 1].long())


def test_predictions_are_for_the_test_part(text):
    data = ready(text(), length=16)
    assert all(map(equal, data.predict_dataloader(), data.test_dataloader()))


@settings(max_examples=15)
@given(
    world=st.sampled_from([2, 4]),
    mode=st.sampled_from(["streams", "crops"]),
    part=st.sampled_from(["train", "val"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_ranks_share_the_global_batches_of_one(world, mode, part, seed):
    text = TextFileDataModule("any.txt", symbols="ab", val_fraction=0.45)
    text.passages = lambda: PASSAGES

    def loader(batch_size):
        data = ready(text, mode=mode, length=40, batch_size=batch_size, seed=seed)
        return getattr(data, f"{part}_dataloader")()

    one = on_rank(0, 1, lambda: loader(8))[:-2]  # without those that a short last batch may join
    for rank in range(world):
        share = on_rank(rank, world, lambda: loader(8 // world))
        assert all(map(equal, share, [rows(batch, slice(rank, None, world)) for batch in one]))
        assert len(share) >= len(one) > 3


@pytest.mark.parametrize("mode", ["streams", "crops"])
def test_two_processes_see_the_batches_of_one(text, tmp_path, mode):
    def data(batch_size):
        return TextStreamsDataModule(text(), mode, length=20, batch_size=batch_size)

    [one] = seen(data(4), tmp_path / "one", max_epochs=2)
    two = seen(data(2), tmp_path / "two", ranks=2, max_epochs=2)
    assert len(one) == 2 * len(data_of_an_epoch(data(4)))
    for rank, share in enumerate(two):
        assert len(share) == len(one)
        assert all(map(equal, share, [rows(batch, slice(rank, None, 2)) for batch in one]))


def data_of_an_epoch(data):
    data.setup("fit")
    return list(data.train_dataloader())


@pytest.mark.parametrize("mode", ["streams", "crops"])
def test_workers_change_nothing(text, mode):
    def batches(num_workers):
        settings = {"mode": mode, "length": 20, "batch_size": 4, "num_workers": num_workers}
        return data_of_an_epoch(TextStreamsDataModule(text(), **settings))

    assert all(map(equal, batches(0), batches(2)))


class Carrier(Tagger):
    """Its weights depend on a state that is carried from chunk to chunk and begins anew where it is told."""

    def __init__(self, symbols, classes):
        super().__init__(symbols, classes)
        self.state = None

    def training_step(self, batch, batch_idx):
        old = torch.zeros(len(batch["reset"])) if self.state is None else self.state
        self.state = torch.where(batch["reset"], 0, old) * 0.9 + batch["inputs"].float().mean(1)
        return super().training_step(batch, batch_idx) * self.state.mean()

    def on_save_checkpoint(self, checkpoint):
        checkpoint["carried"] = self.state

    def on_load_checkpoint(self, checkpoint):
        self.state = checkpoint["carried"]


@pytest.mark.parametrize(("mode", "num_workers"), [("streams", 0), ("streams", 2), ("crops", 0)])
def test_a_run_is_resumed_in_mid_stream(text, tmp_path, mode, num_workers):
    def data():
        return TextStreamsDataModule(text(), mode, length=12, batch_size=4, num_workers=num_workers)

    length, symbols = len(data_of_an_epoch(data())), len(set(TEXT))
    assert length > 5
    kills = [1, 4, length, length + 3]
    assert_exact_resume(lambda: Carrier(symbols, symbols), data, kills, 2 * length + 2, tmp_path)


def test_two_processes_are_resumed_in_mid_stream(text, tmp_path):
    symbols = len(set(TEXT))
    assert_exact_resume(
        lambda: Tagger(symbols, symbols),
        lambda: TextStreamsDataModule(text(), length=20, batch_size=2),
        [1, 5],
        9,
        tmp_path,
        lambda: [ExactResume()],
        TWO_RANKS,
    )


def test_crops_are_other_places_of_the_text_that_begin_anew(text):
    data = ready(text(), mode="crops", length=12, batch_size=4)
    loader, tokens = data.train_dataloader(), train_text(data).tolist()
    windows = {tuple(tokens[start : start + 13]) for start in range(len(tokens) - 12)}
    epochs = [list(loader) for _ in range(2)]
    for batch in chain(*epochs):
        assert batch["reset"].all()
        assert torch.equal(batch["inputs"][:, 1:].long(), batch["targets"][:, :-1])
        whole = torch.cat([batch["inputs"].long(), batch["targets"][:, -1:]], 1)
        assert {tuple(row) for row in whole.tolist()} <= windows
    first, second = (torch.cat([batch["inputs"] for batch in epoch]) for epoch in epochs)
    assert not torch.equal(first, second)


def test_crops_of_an_epoch_do_not_overlap(tmp_path):
    (tmp_path / "all.bin").write_bytes(bytes(range(256)))
    text = TextFileDataModule("all.bin", str(tmp_path), unit="byte", val_fraction=0.1, test_fraction=0.1)
    data = ready(text, mode="crops", length=9, batch_size=4)
    read = torch.cat([batch["inputs"].flatten() for batch in data.train_dataloader()])
    assert len(read.unique()) == len(read) > 140


def test_crops_for_validation_cover_every_target_once(text):
    data = ready(text(), mode="crops", length=16, batch_size=3)
    targets = torch.cat([batch["targets"].flatten() for batch in data.val_dataloader()])
    tokens = data.text.passages()["val"].tokens
    assert 0 <= len(tokens) - 1 - len(targets) < 16
    assert torch.equal(targets, tokens[1 : len(targets) + 1].long())


def test_bytes_have_256_symbols(tmp_path):
    (tmp_path / "wiki.raw").write_bytes("Grüße – ".encode() * 100)
    data = ready(TextFileDataModule("wiki.raw", str(tmp_path), unit="byte"), length=8, batch_size=2)
    assert (data.spec.levels, data.spec.classes, data.spec.shape) == (256, 256, (8,))
    batch = next(iter(data.train_dataloader()))
    assert bytes(batch["inputs"][0].tolist()) == "Grüße ".encode()
    assert (batch["inputs"].dtype, batch["targets"].dtype) == (torch.uint8, torch.int64)


def test_parts_with_files_of_their_own_are_read(tmp_path):
    for part, letters in {"train": "abc", "valid": "bca", "test": "cab"}.items():
        (tmp_path / f"wiki.{part}.tokens").write_text(letters * 30, encoding="utf-8")
    names = {"val_file": "wiki.valid.tokens", "test_file": "wiki.test.tokens"}
    data = ready(TextFileDataModule("wiki.train.tokens", str(tmp_path), **names), length=4, batch_size=2)
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [data.spec.decode(next(iter(loader))["inputs"][0].tolist()) for loader in loaders] == [
        "abca",
        "bcab",
        "cabc",
    ]


def test_sizes_are_known_once_the_alphabet_is(text):
    data = TextStreamsDataModule(text(), length=8)
    with pytest.raises(RuntimeError, match="alphabet is detected in setup"):
        _ = data.spec
    data.setup("fit")
    assert (data.spec.levels, data.spec.classes) == (len(set(TEXT)), len(set(TEXT)))


def test_without_a_text_it_is_the_embedded_english():
    data = ready(None, length=32)
    assert data.spec.levels == 27
    assert data.spec.decode(next(iter(data.train_dataloader()))["inputs"][0].tolist()).isprintable()


def test_there_is_no_validation_when_the_text_holds_none_back(text):
    assert ready(text(val_fraction=0.0), length=8).val_dataloader() == []


def test_the_text_is_downloaded_for_all_stages(monkeypatch):
    fetched = []
    monkeypatch.setattr(Text8DataModule, "fetch", lambda self, part: fetched.append(part))
    TextStreamsDataModule(Text8DataModule()).prepare_data()
    assert set(fetched) == {"train", "test"}


def test_a_text_that_is_too_short_is_refused_before_training(text):
    module = Tagger(30, 30)
    for mode, message in {"streams": "too few for 16 streams", "crops": "length=2001 does not fit"}.items():
        data = TextStreamsDataModule(text(), mode, length=2000)
        with pytest.raises(ValueError, match=rf"fox\.txt is too short in its train part: .*{message}"):
            pl.Trainer(accelerator="cpu", logger=False, max_epochs=1).fit(module, data)


def test_a_truncated_text_is_refused_before_training(tmp_path):
    packed = gzip.compress(TEXT.encode())
    (tmp_path / "cut.txt.gz").write_bytes(packed[:-10])
    with pytest.raises(ValueError, match=r"cut\.txt\.gz is truncated or corrupt"):
        TextStreamsDataModule(TextFileDataModule("cut.txt.gz", str(tmp_path))).setup("fit")


def test_loaders_are_not_asked_for_before_setup(text):
    data = TextStreamsDataModule(text())
    for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader):
        with pytest.raises(RuntimeError, match=r"call setup\(\) before asking for a loader"):
            loader()


def test_a_config_names_the_text_by_its_class():
    text = {"class_path": "graves_core.TextFileDataModule", "init_args": {"file": "a.txt", "unit": "byte"}}
    path = "graves_rnn_training.data.streams.TextStreamsDataModule"
    given = {"class_path": path, "init_args": {"text": text, "mode": "crops", "length": 12}}
    arguments = ["--data", json.dumps(given), "--trainer.logger=false"]
    settings = {"subclass_mode_data": True, "run": False, "save_config_callback": None}
    data = LightningCLI(BoringModel, pl.LightningDataModule, args=arguments, **settings).datamodule
    assert (type(data.text), data.mode, data.spec.shape) == (TextFileDataModule, "crops", (12,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": "a.txt"}, TypeError, "text must be a TextDataModule or None, got str"),
        ({"mode": "windows"}, ValueError, "mode must be 'streams' or 'crops', got 'windows'"),
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an integer, got 1.5"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0, got -1"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        TextStreamsDataModule(**arguments)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "unit", "symbols"),
    [
        ("novels27.zip", "character", 27),
        ("tinyshakespeare.txt", "character", 65),
        ("wikitext-2.valid.txt.gz", "byte", 256),
    ],
)
def test_real_texts_are_read_from_beginning_to_end(real_data, name, unit, symbols):
    if not (real_data / "text" / name).exists():
        pytest.skip(f"{name} is not at hand")
    data = ready(TextFileDataModule(name, str(real_data), unit=unit), length=1000, batch_size=16)
    assert data.spec.levels == symbols
    batches = list(data.train_dataloader())
    tokens = train_text(data)
    inputs, targets = by_stream(batches, "inputs"), by_stream(batches, "targets")
    assert 0 <= len(tokens) - 1 - inputs.numel() < 16 * 1000
    assert torch.equal(inputs.flatten(), tokens[: inputs.numel()])
    assert torch.equal(targets.flatten(), tokens[1 : inputs.numel() + 1].long())
