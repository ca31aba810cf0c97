"""Tiny stand-ins of the data sets, byte for byte in the formats of the originals."""

import gzip
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.random import Generator

from graves_core.testing.fake_speech import write_spoken_digits, write_timit

ALPHABETS = {
    "images_background": {"Greek": (1, 2, 3), "Latin": (4, 5), "Tifinagh": (6,)},
    "images_evaluation": {"Atlantean": (965, 966), "Ge_ez": (967,)},
}


def write_fake_data(root: Path, seed: int = 0) -> Path:
    """Writes small sets that every DataModule accepts as `data_dir`: the right formats, random content.

    There are 256 + 64 images of MNIST and of Fashion-MNIST, 5 x 32 + 64 of CIFAR-10, 6 + 3 characters of
    Omniglot with 4 drawings each, 60,000 characters of text8, three files of WikiText-103 in bytes, and
    for each of the 20 tasks of bAbI 6 + 3 stories of two questions, 40 + 10 spoken digits, and 4 + 2
    sentences of TIMIT.

    Args:
        root: folder to write into; it is made if need be.
        seed: of the content.

    Returns:
        `root`.

    Example:
        >>> import tempfile
        >>> folder = write_fake_data(Path(tempfile.mkdtemp()))
        >>> sorted(path.name for path in folder.iterdir())
        ['babi', 'cifar10', 'fashion_mnist', 'fsdd', 'mnist', 'omniglot', 'text8', 'timit', 'wikitext...']
    """
    draw = np.random.default_rng(seed)
    write_mnist(root / "mnist", draw)
    write_mnist(root / "fashion_mnist", draw)
    write_cifar10(root / "cifar10" / "cifar-10-batches-bin", draw)
    write_omniglot(root / "omniglot", draw)
    write_text8(root / "text8", draw)
    write_wikitext(root / "wikitext-103-raw", draw)
    write_babi(root / "babi", draw)
    write_spoken_digits(root / "fsdd" / "free-spoken-digit-dataset" / "recordings", draw)
    write_timit(root / "timit", draw)
    return root


def idx_bytes(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes.

    Args:
        values: an array of `uint8` with any number of dimensions.
    """
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(folder: Path, draw: Generator, train: int = 256, test: int = 64) -> None:
    """Writes the four gzipped files of MNIST: bright squares, whose place tells the class.

    Args:
        folder: where to.
        draw: source of the content.
        train: number of training images.
        test: number of test images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = draw.integers(0, 10, count, dtype=np.uint8)
        images = draw.integers(0, 32, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = 4 + 10 * (label // 5), 2 + 5 * (label % 5)
            image[top : top + 8, left : left + 5] += 200
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))


def cifar_bytes(draw: Generator, records: int) -> bytes:
    """A batch file of CIFAR-10's binary version: per record a label and 3,072 pixels.

    Args:
        draw: source of the content.
        records: number of records.
    """
    content = draw.integers(0, 256, (records, 3073), dtype=np.uint8)
    content[:, 0] %= 10
    return content.tobytes()


def write_cifar10(folder: Path, draw: Generator, records: int = 32) -> None:
    """Writes the folder of CIFAR-10's binary version.

    Args:
        folder: where to.
        draw: source of the content.
        records: in each of the five training batches; the test batch has twice as many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_bytes(draw, records))
    (folder / "test_batch.bin").write_bytes(cifar_bytes(draw, 2 * records))


def drawing_bytes(draw: Generator) -> bytes:
    """A PNG file of 105 x 105 pixels with one bit each, in which 0 is ink: two strokes on paper.

    Args:
        draw: source of the content.
    """
    from PIL import Image

    pixels = np.full((105, 105), 255, dtype=np.uint8)
    row, column = draw.integers(5, 95, 2)
    pixels[row : row + 3, 10:95] = 0
    pixels[10:95, column : column + 3] = 0
    file = BytesIO()
    Image.fromarray(pixels).convert("1").save(file, format="PNG")
    return file.getvalue()


def write_omniglot(folder: Path, draw: Generator, drawers: int = 4) -> None:
    """Writes the two zip files of Omniglot's images.

    Args:
        folder: where to.
        draw: source of the content.
        drawers: drawings per character.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, alphabets in ALPHABETS.items():
        with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{part}/", "")
            for alphabet, characters in alphabets.items():
                for number, character in enumerate(characters, start=1):
                    for drawer in range(1, drawers + 1):
                        name = f"{part}/{alphabet}/character{number:02}/{character:04}_{drawer:02}.png"
                        archive.writestr(name, drawing_bytes(draw))


def text8_bytes(draw: Generator, characters: int) -> bytes:
    """Random words of a-z with single spaces between them, and one before the first, as in text8.

    Args:
        draw: source of the content.
        characters: number of characters.
    """
    letters = draw.integers(ord("a"), ord("z") + 1, characters, dtype=np.uint8)
    ends = np.cumsum(draw.integers(3, 9, characters))
    letters[ends[ends < characters]] = ord(" ")
    letters[0] = ord(" ")
    return letters.tobytes()


def write_text8(folder: Path, draw: Generator, characters: int = 60_000) -> None:
    """Writes `text8.zip` with its one member `text8`.

    Args:
        folder: where to.
        draw: source of the content.
        characters: length of the text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "text8.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", text8_bytes(draw, characters))


def write_wikitext(folder: Path, draw: Generator, characters: int = 20_000) -> None:
    """Writes the three files of raw WikiText-103: articles with headings, in UTF-8.

    Args:
        folder: where to.
        draw: source of the content.
        characters: length of the training text; validation and test have a tenth of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, length in (("train", characters), ("valid", characters // 10), ("test", characters // 10)):
        words = text8_bytes(draw, length).decode()
        (folder / f"wiki.{part}.raw").write_text(f" \n = Café = \n \n{words} \n", encoding="utf-8")


def write_babi(folder: Path, draw: Generator, train: int = 6, test: int = 3) -> None:
    """Writes the files of bAbI: somebody goes to a place, then to another one, and is asked for after both.

    Args:
        folder: where to.
        draw: where the content comes from.
        train: number of training stories of each task.
        test: number of test stories of each task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = ["garden", "kitchen", "office"]
    for task in range(1, 21):
        for part, count in (("train", train), ("test", test)):
            lines = []
            for _ in range(count):
                first, second = draw.permutation(places)[:2]
                for number, place in ((1, first), (3, second)):
                    lines.append(f"{number} Mary went to the {place}.")
                    lines.append(f"{number + 1} Where is Mary? \t{place}\t{number}")
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"qa{task}_task_{part}.txt").write_text(text, encoding="utf-8")
