"""Text files as users have them: plain, gzipped, or alone in a zip."""

import zipfile
from pathlib import Path
from typing import Literal

from graves_core.data.damage import GZIP_MAGIC, ZIP_MAGIC, open_maybe_gzip, refusing, starts_with


def read_text(path: Path, encoding: Literal["utf-8", "latin-1"] = "utf-8") -> str:
    """Reads a text file as it is, line ends included.

    Args:
        path: a plain file, a gzipped one, or a zip with one member; told apart by their content.
        encoding: `"latin-1"` reads any file, with one character for each of its bytes.

    Returns:
        Its characters.

    Raises:
        ValueError: naming the file, when it is truncated, corrupt, empty or not UTF-8 text.
    """
    for suffix, magic in ((".zip", ZIP_MAGIC), (".gz", GZIP_MAGIC)):
        if path.suffix == suffix and not starts_with(path, magic):
            raise ValueError(f"{path} is truncated or corrupt: it does not begin like a {suffix} file")
    if starts_with(path, ZIP_MAGIC) and path.suffix != ".txt":
        content = _only_member(path)
    else:
        with refusing(path), open_maybe_gzip(path) as stream:
            content = stream.read()
    if not content:
        raise ValueError(f"{path} is empty")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _only_member(path: Path) -> bytes:
    with refusing(path):
        archive = zipfile.ZipFile(path)
    with archive:
        names = [
            name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")
        ]
        if len(names) != 1:
            raise ValueError(f"{path} must hold one text file, but holds {len(names)}")
        with refusing(path):
            return archive.read(names[0])
