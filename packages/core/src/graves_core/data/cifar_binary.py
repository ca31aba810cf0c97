"""The binary format of CIFAR-10, from its folder or straight from its archive."""

import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from graves_core.data.damage import open_maybe_gzip, read_at_most, refusing

FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_BATCHES = ("test_batch.bin",)
CLASSES = 10
RECORD = 1 + 3 * 32 * 32
BATCH_RECORDS = 10_000


def parse_records(
    content: bytearray, name: str
) -> tuple[UInt8[Tensor, "records 3 32 32"], Int64[Tensor, "records"]]:
    """Images and labels of one batch file, as many as it holds.

    A record has 3,073 bytes: the label, then 1,024 red, 1,024 green and 1,024 blue values, row by row.

    Args:
        content: the bytes of the file.
        name: of the file, for errors.

    Returns:
        Images and labels in the order of the file.

    Raises:
        ValueError: naming the file, when it isn't made of such records.
    """
    if not content or len(content) % RECORD:
        raise ValueError(f"{name} has {len(content)} bytes, which is no multiple of a record's {RECORD}")
    if len(content) > BATCH_RECORDS * RECORD:
        raise ValueError(f"{name} holds more than the {BATCH_RECORDS} records of a batch")
    records = torch.frombuffer(content, dtype=torch.uint8).view(-1, RECORD)
    labels = records[:, 0].long()
    if int(labels.max()) >= CLASSES:
        raise ValueError(f"{name} has the label {int(labels.max())}; the labels of CIFAR-10 are 0 to 9")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def read_batches(
    path: Path, names: tuple[str, ...]
) -> tuple[UInt8[Tensor, "records 3 32 32"], Int64[Tensor, "records"]]:
    """Reads the batch files that are there out of `names`, in this order.

    Args:
        path: a folder with batch files, or the archive, which is read member by member and never unpacked.
        names: names of batch files.

    Returns:
        Images and labels of all of them.

    Raises:
        FileNotFoundError: when none of them is there.
        ValueError: naming the file, when one of them or the archive is damaged.
    """
    contents = _from_folder(path, names) if path.is_dir() else _from_archive(path, names)
    if not contents:
        raise FileNotFoundError(f"{path} holds no {' or '.join(names)}")
    parts = [parse_records(contents[name], str(path / name)) for name in names if name in contents]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def _from_folder(path: Path, names: tuple[str, ...]) -> Mapping[str, bytearray]:
    contents = {}
    for name in names:
        if (path / name).is_file():
            with refusing(path / name), (path / name).open("rb") as stream:
                contents[name] = read_at_most(stream, BATCH_RECORDS * RECORD)
    return contents


def _from_archive(path: Path, names: tuple[str, ...]) -> Mapping[str, bytearray]:
    contents = {}
    with refusing(path), open_maybe_gzip(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            file = archive.extractfile(member) if name in names and member.isreg() else None
            if file is not None:
                contents[name] = read_at_most(file, BATCH_RECORDS * RECORD)
        # the checksum of gzip stands at the end, behind what tar looks at
        while stream.read(1 << 20):
            pass
    return contents
