"""Speech: features, strings of digits, sentences of TIMIT, and files that are refused."""

import io
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from graves_bayes.data.speech.audio import log_mel, read_audio, stack_frames
from graves_bayes.data.speech.phonemes import CLASSES, phoneme_labels
from graves_bayes.data.speech.spoken_digits import SpokenDigitsDataModule
from graves_bayes.data.speech.timit import CORE_TEST, TIMITDataModule

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("kaldi_native_fbank")


def tone(hertz: float, seconds: float = 0.3, rate: int = 8000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wave(samples: np.ndarray, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    folder = tmp_path / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("ann", "bob"):
            for index in (0, 4, 5, 6, 7, 8):
                sound = tone(200 + 100 * digit + 10 * index + (5 if speaker == "bob" else 0))
                (folder / f"{digit}_{speaker}_{index}.wav").write_bytes(wave(sound))
    return tmp_path


def test_a_recording_is_read_as_it_was_written() -> None:
    samples, rate = read_audio(wave(tone(440)), "a tone")
    assert rate == 8000
    np.testing.assert_allclose(samples.numpy(), tone(440), atol=2**-15)


def test_a_tone_is_loud_in_its_band() -> None:
    rate, bins = 8000, 20
    mel = lambda hertz: 1127.0 * np.log1p(hertz / 700.0)
    centres = np.linspace(mel(20.0), mel(rate / 2), bins + 2)[1:-1]
    for hertz in (300.0, 1000.0, 2500.0):
        loudest = log_mel(torch.from_numpy(tone(hertz)), rate, bins).mean(0).argmax()
        assert abs(int(loudest) - int(np.abs(centres - mel(hertz)).argmin())) <= 1


def test_windows_come_every_10_ms() -> None:
    assert len(log_mel(torch.zeros(8000), 8000)) == pytest.approx(100, abs=3)


def test_too_little_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 25 ms, got 20 ms"):
        log_mel(torch.zeros(160), 8000)
    with pytest.raises(ValueError, match="has 2 frames, fewer than stack=3"):
        stack_frames(torch.zeros(2, 5), 3)


def test_a_string_holds_its_recordings_and_pauses(digits: Path) -> None:
    data = SpokenDigitsDataModule(str(digits), strings=20, test_strings=5, pause=0.0, stack=1)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    expected = 0.3 * batch["label_lengths"] * 100
    assert ((batch["lengths"] - expected).abs() <= 3).all()


def test_no_recording_is_in_two_parts(digits: Path) -> None:
    """With strings of one digit and no pauses, equal features are equal recordings."""
    data = SpokenDigitsDataModule(
        str(digits), strings=400, test_strings=200, shortest=1, longest=1, pause=0.0, val_fraction=0.25
    )
    train, val = data.split(everything := data.utterances("train"))
    parts = [[everything[row] for row in rows] for rows in (train, val)] + [list(data.utterances("test"))]
    seen = [{utterance.features.numpy().tobytes() for utterance in part} for part in parts]
    assert [len(part) for part in seen] == [10 * 2 * 3, 10 * 2, 10 * 2 * 2]
    assert not any(one & other for one, other in combinations(seen, 2))


def test_training_features_have_mean_0_and_deviation_1(digits: Path) -> None:
    data = SpokenDigitsDataModule(str(digits), strings=40, test_strings=5)
    data.setup("fit")
    rows = torch.cat(data._train.features)
    torch.testing.assert_close(rows.mean(0), torch.zeros(rows.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(rows.std(0), torch.ones(rows.shape[1]), atol=1e-3, rtol=0)


def test_a_zip_file_gives_what_the_folder_gives(digits: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with zipfile.ZipFile(other / "fsdd.zip", "w") as archive:
        for file in (digits / "free-spoken-digit-dataset").rglob("*.wav"):
            archive.write(file, file.relative_to(digits))
    one, two = (
        SpokenDigitsDataModule(str(folder), strings=5, test_strings=5).utterances("test")
        for folder in (digits, other)
    )
    for here, there in zip(one, two, strict=True):
        assert torch.equal(here.features, there.features)
        assert torch.equal(here.labels, there.labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "is no recording that can be read"),
        (wave(tone(440))[:1000], "is cut off|is no recording"),
        (wave(np.stack([tone(440)] * 2, 1)), "must have one channel, not 2"),
        (wave(tone(440), 16000), "must have 8000 samples a second, not 16000"),
    ],
    ids=["html", "truncated", "stereo", "rate"],
)
def test_bad_recordings_are_refused(digits: Path, content: bytes, message: str) -> None:
    (digits / "free-spoken-digit-dataset" / "recordings" / "3_ann_6.wav").write_bytes(content)
    with pytest.raises(ValueError, match=f"3_ann_6.wav.*({message})"):
        SpokenDigitsDataModule(str(digits), strings=5).setup("fit")


def test_a_bad_zip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fsdd.zip").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match=r"fsdd\.zip is truncated or corrupt"):
        SpokenDigitsDataModule(str(tmp_path)).setup("fit")


def test_missing_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no free-spoken-digit-dataset/ or fsdd\.zip"):
        SpokenDigitsDataModule(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"longest": 1}, "longest must be at least 2, got 1"),
        ({"pause": -1.0}, "pause must be at least 0 seconds, got -1.0"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpokenDigitsDataModule(**wrong)


def test_the_official_recordings_make_strings(real_data: Path) -> None:
    data = SpokenDigitsDataModule(str(real_data), strings=30, test_strings=10)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert batch["inputs"].shape == (10, int(batch["lengths"].max()), 78)


def test_61_symbols_make_39_classes() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 39
    assert phoneme_labels(["zh", "sh"]) == [CLASSES.index("sh")] * 2
    with pytest.raises(ValueError, match="'zz' is no phonetic symbol of TIMIT"):
        phoneme_labels(["zz"])


def timit(folder: Path) -> Path:
    for part, speaker in (("TRAIN", "FCJF0"), ("TEST", CORE_TEST[0].upper()), ("TEST", "FAKS0")):
        home = folder / "timit" / part / "DR1" / speaker
        home.mkdir(parents=True)
        for sentence in ("SA1", "SI1027", "SX37"):
            soundfile.write(home / f"{sentence}.WAV", tone(300, rate=16000), 16000, format="NIST")
            (home / f"{sentence}.PHN").write_text("0 900 h#\n900 2000 ix\n2000 4800 q\n")
    return folder


def test_sentences_of_timit_are_read_as_is_usual(tmp_path: Path) -> None:
    data = TIMITDataModule(str(timit(tmp_path)), val_fraction=0.0)
    train, test = data.utterances("train"), data.utterances("test")
    assert (len(train), len(test)) == (2, 2)
    assert train[0].labels.tolist() == [CLASSES.index("sil"), CLASSES.index("ih")]


def test_a_bad_transcription_is_refused(tmp_path: Path) -> None:
    data = TIMITDataModule(str(timit(tmp_path)))
    (tmp_path / "timit/TRAIN/DR1/FCJF0/SX37.PHN").write_text("0 900\n")
    with pytest.raises(ValueError, match=r"SX37\.PHN.*every line must have a beginning, an end and a symbol"):
        data.setup("fit")


def test_more_labels_than_steps_are_refused(digits: Path) -> None:
    with pytest.raises(ValueError, match=r"steps has labels that need .*: make stack smaller"):
        SpokenDigitsDataModule(str(digits), strings=20, pause=0.0, stack=40).setup("fit")
