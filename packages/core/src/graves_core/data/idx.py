"""The IDX format of MNIST and its many siblings (Fashion-MNIST, KMNIST, EMNIST)."""

import math
import struct
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from graves_core.data.damage import capacity, open_maybe_gzip, read_at_most, refusing

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int) -> UInt8[Tensor, "..."]:
    """Reads an IDX file of unsigned bytes, gzipped or not.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each size as a
    big-endian 32-bit integer, then the values, last index fastest.

    Args:
        path: the file; whether it is gzipped is read from its content.
        dimensions: how many it must have: 3 for images `(N, H, W)`, 1 for labels `(N,)`.

    Returns:
        The values in a tensor with the sizes of the header.

    Raises:
        ValueError: naming the file, when it is truncated, corrupt or something else.
    """
    with refusing(path), open_maybe_gzip(path) as stream:
        header = stream.read(4 + 4 * dimensions)
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] != _UNSIGNED_BYTE:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins with {header[:4].hex(' ')}")
    if header[3] != dimensions:
        raise ValueError(f"{path} has {header[3]} dimensions, expected {dimensions}: {_expected(dimensions)}")
    if len(header) < 4 + 4 * dimensions:
        raise ValueError(f"{path} is truncated: its header ends after {len(header)} bytes")
    sizes = struct.unpack(f">{dimensions}I", header[4:])
    values = _payload(path, len(header), sizes)
    return torch.frombuffer(values, dtype=torch.uint8, offset=len(header)).view(sizes)


def _payload(path: Path, header: int, sizes: tuple[int, ...]) -> bytearray:
    """The whole file, header included, checked to hold exactly the values that its header announces."""
    claimed = math.prod(sizes)
    if claimed == 0:
        raise ValueError(f"{path} announces {_times(sizes)} values: it is empty")
    if header + claimed > capacity(path):
        size = path.stat().st_size
        raise ValueError(f"{path} announces {_times(sizes)} values, but its {size} bytes cannot hold them")
    with refusing(path), open_maybe_gzip(path) as stream:
        content = read_at_most(stream, header + claimed)
    if len(content) != header + claimed:
        found = "more" if len(content) > header + claimed else f"{max(0, len(content) - header)}"
        raise ValueError(f"{path} announces {_times(sizes)} = {claimed} values, but holds {found}")
    return content


def _expected(dimensions: int) -> str:
    return {1: "a labels file", 3: "an images file"}.get(dimensions, "another file")


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)
