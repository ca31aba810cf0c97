"""Stand-ins for sets of speech: the right names and formats, with noise for sound."""

import io
import wave
from pathlib import Path

import numpy as np
from numpy.random import Generator


def wave_bytes(draw: Generator, seconds: float, rate: int) -> bytes:
    """A WAV file of 16 bits with noise.

    Args:
        draw: source of the noise.
        seconds: its length.
        rate: samples in a second.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(draw.normal(0, 2000, int(seconds * rate)).astype("<i2").tobytes())
    return file.getvalue()


def write_spoken_digits(folder: Path, draw: Generator) -> None:
    """Writes ten digits as the Free Spoken Digit Dataset has them: 4 recordings each to train, 1 to test.

    Args:
        folder: where to.
        draw: source of the content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        for index in (0, 5, 6, 7, 8):
            (folder / f"{digit}_somebody_{index}.wav").write_bytes(wave_bytes(draw, 0.3, 8000))


def write_timit(folder: Path, draw: Generator) -> None:
    """Writes 4 sentences for training and 2 of the core test set as TIMIT has them.

    Args:
        folder: where to.
        draw: source of the content.
    """
    for part, speaker, sentences in (("TRAIN", "FCJF0", 4), ("TEST", "MDAB0", 2)):
        home = folder / part / "DR1" / speaker
        home.mkdir(parents=True, exist_ok=True)
        for number in range(sentences):
            (home / f"SX{number}.WAV").write_bytes(wave_bytes(draw, 1.0, 16_000))
            symbols = draw.choice(np.array(["h#", "ix", "dcl", "d", "q"]), 5)
            lines = [f"{3200 * at} {3200 * at + 3200} {symbol}" for at, symbol in enumerate(["h#", *symbols])]
            (home / f"SX{number}.PHN").write_text("\n".join(lines) + "\n", encoding="ascii")
