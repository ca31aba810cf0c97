"""Recordings and the features that networks read of them."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def need(package: str) -> Any:
    """Imports a package of the extra `speech`.

    Raises:
        ImportError: saying what to install.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError('speech needs: pip install "graves-bayes[speech]"') from error


def read_audio(source: Path | bytes, name: str) -> tuple[Float[Tensor, " samples"], int]:
    """Reads a recording of one channel, of any format that libsndfile knows (WAV, FLAC, NIST SPHERE).

    Args:
        source: the path of a file, or its content.
        name: of the recording, for messages.

    Returns:
        Samples in [-1, 1), and how many make a second.

    Raises:
        ValueError: when the file is damaged, is empty, or has more than one channel.
    """
    soundfile = need("soundfile")
    content = source if isinstance(source, bytes) else source.read_bytes()
    if len(content) < (promised := _promised_bytes(content)):
        raise ValueError(f"{name} is cut off: {len(content)} of {promised} bytes")
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{name} is no recording that can be read: {error}") from error
    if not len(samples):
        raise ValueError(f"{name} has no samples")
    if samples.shape[1] != 1:
        raise ValueError(f"{name} must have one channel, not {samples.shape[1]}")
    return torch.from_numpy(np.ascontiguousarray(samples[:, 0])), rate


def _promised_bytes(content: bytes) -> int:
    """How long a file is by its header, which libsndfile does not check; 0 where it says nothing."""
    if content[:4] == b"RIFF":
        return 8 + int.from_bytes(content[4:8], "little")
    if content[:8] == b"NIST_1A\n":
        fields = dict(re.findall(rb"(\w+) -i (\d+)", content[:1024]))
        return 1024 + int(fields.get(b"sample_count", 0)) * int(fields.get(b"sample_n_bytes", 0))
    return 0


def log_mel(samples: Float[Tensor, " samples"], rate: int, bins: int = 26) -> Float[Tensor, "frames bins"]:
    """Logarithms of the energy in overlapping bands of the mel scale: windows of 25 ms, one each 10 ms.

    Computed by kaldi-native-fbank, without dither, so that the same recording always has the same features.

    Args:
        samples: in [-1, 1).
        rate: samples in a second.
        bins: number of bands.

    Raises:
        ValueError: when the recording is shorter than a window.
    """
    fbank = need("kaldi_native_fbank")
    if len(samples) < rate // 40:
        raise ValueError(f"a recording must have at least 25 ms, got {1000 * len(samples) / rate:.0f} ms")
    options = fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = bins
    computer = fbank.OnlineFbank(options)
    computer.accept_waveform(rate, (32768.0 * samples.numpy()).tolist())
    computer.input_finished()
    frames = [computer.get_frame(index) for index in range(computer.num_frames_ready)]
    return torch.from_numpy(np.stack(frames).astype(np.float32))


def stack_frames(frames: Float[Tensor, "frames bins"], count: int) -> Float[Tensor, "fewer stacked"]:
    """Puts `count` successive frames into one, so that a network makes fewer steps; the rest is left out.

    Raises:
        ValueError: when there are fewer frames than that.

    Example:
        >>> stack_frames(torch.arange(10.0).reshape(5, 2), 2).tolist()
        [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    """
    if len(frames) < count:
        raise ValueError(f"a recording has {len(frames)} frames, fewer than stack={count}")
    return frames[: len(frames) // count * count].reshape(-1, count * frames.shape[1])
