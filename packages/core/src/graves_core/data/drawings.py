"""The drawings of Omniglot: PNG files in folders of alphabets and characters, or a zip of those."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from graves_core.data.damage import read_at_most, refusing

SIDE = 105
CHARACTERS = 1623
_NAME = re.compile(r"(\d{4})_\d{2}\.png")
_LARGEST_PNG = 1 << 16


def read_drawings(
    path: Path, size: int
) -> tuple[UInt8[Tensor, "drawings 1 side side"], Int64[Tensor, "drawings"]]:
    """Reads all drawings of an Omniglot part, sorted by alphabet, character and drawer.

    Args:
        path: the zip file or the unpacked folder (`<alphabet>/character<NN>/<id>_<drawer>.png` inside).
        size: side of the result in pixels; drawings have 105 and are shrunk by averaging areas.

    Returns:
        Drawings with 0 for ink and 255 for paper, and the number of their character over the whole of
        Omniglot, which is `<id>` less one.

    Raises:
        FileNotFoundError: when there is no drawing at all.
        ValueError: naming the file, when an archive or a drawing is damaged or is something else.
    """
    images, labels = [], []
    for name, content in _from_folder(path) if path.is_dir() else _from_zip(path):
        labels.append(character_of(name))
        images.append(decode(content, name, size))
    if not images:
        raise FileNotFoundError(f"{path} holds no drawings named <alphabet>/character<NN>/<id>_<drawer>.png")
    return torch.stack(images)[:, None], torch.tensor(labels)


def character_of(name: str) -> int:
    """The character that a drawing shows, counted from 0 over the whole of Omniglot, from its file name.

    Raises:
        ValueError: when the name is not like `0709_01.png`, or the number is not in 1 to 1623.
    """
    match = _NAME.fullmatch(PurePosixPath(name).name)
    if match is None or not 1 <= int(match[1]) <= CHARACTERS:
        raise ValueError(f"{name} is not named like a drawing of Omniglot: 0001_01.png to 1623_20.png")
    return int(match[1]) - 1


def decode(content: bytes | bytearray, name: str, size: int) -> UInt8[Tensor, "side side"]:
    """Decodes one PNG file of 105 x 105 pixels and shrinks it to `size`.

    Raises:
        ValueError: naming the file, when it is damaged or has another size.
    """
    from PIL import Image

    with refusing(Path(name)):
        Image.open(io.BytesIO(content), formats=("PNG",)).verify()
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        sides = image.size
        grey = image.convert("L") if sides == (SIDE, SIDE) else None
    if grey is None:
        raise ValueError(f"{name} has {sides[0]} x {sides[1]} pixels; drawings of Omniglot have 105 x 105")
    if size != SIDE:
        grey = grey.resize((size, size), Image.Resampling.BOX)
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(size, size)


def _is_drawing(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".png" and not path.name.startswith("._")


def _from_folder(path: Path) -> Iterator[tuple[str, bytearray]]:
    for file in sorted(file for file in path.glob("*/*/*.png") if _is_drawing(file.name)):
        with refusing(file), file.open("rb") as stream:
            content = read_at_most(stream, _LARGEST_PNG)
        yield str(file), content


def _from_zip(path: Path) -> Iterator[tuple[str, bytearray]]:
    with refusing(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for name in sorted(name for name in archive.namelist() if _is_drawing(name)):
            with refusing(path), archive.open(name) as stream:
                content = read_at_most(stream, _LARGEST_PNG)
            yield str(path / name), content
