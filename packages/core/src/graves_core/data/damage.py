"""Damaged files: one error for all that the archive modules raise on them, and no trust in their headers."""

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Protocol

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK"
_BLOCK = 1 << 20
_DEFLATE_RATIO = 1032  # deflate cannot shrink anything further than this


class Readable(Protocol):
    """Whatever bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns what a damaged archive or compressed file raises while it is read into one ValueError.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (
        EOFError,
        OSError,
        ValueError,
        OverflowError,
        RuntimeError,
        SyntaxError,  # Pillow, on a PNG with a broken chunk
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
        tarfile.TarError,
    ) as error:
        raise ValueError(f"{path} is truncated or corrupt: {error}") from error


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether the first bytes of a file are `magic`."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def open_maybe_gzip(path: Path) -> gzip.GzipFile | BufferedReader:
    """Opens a file for reading, through gzip when its content (not its name) says so."""
    return gzip.GzipFile(path) if starts_with(path, GZIP_MAGIC) else path.open("rb")


def capacity(path: Path) -> int:
    """The most bytes that a file can hold once unpacked, from its size on disk alone."""
    size = path.stat().st_size
    return size * _DEFLATE_RATIO if starts_with(path, GZIP_MAGIC) else size


def read_at_most(stream: Readable, limit: int) -> bytearray:
    """Reads to the end of a stream, or `limit` bytes and one more, which tells that there is more.

    Memory grows with what is really there, so that a header that lies about sizes costs nothing.
    """
    content = bytearray()
    while len(content) <= limit:
        block = stream.read(min(_BLOCK, limit + 1 - len(content)))
        if not block:
            break
        content += block
    return content
