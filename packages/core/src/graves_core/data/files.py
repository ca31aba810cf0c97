"""Where data sets lie on disk, and how missing files get there."""

import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

CACHE = "~/.cache/graves"


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Args:
        name: its name on disk.
        sha256: hexadecimal digest of its content.
        urls: folders that serve it under its name, tried in this order; each ends in `/`.
    """

    name: str
    sha256: str
    urls: tuple[str, ...]


def data_root(data_dir: str | None) -> Path:
    """The folder of data sets: `data_dir`, else the environment variable GRAVES_DATA, else a cache folder.

    Raises:
        ValueError: when it is a file.
    """
    root = Path(data_dir or os.environ.get("GRAVES_DATA") or CACHE).expanduser()
    if root.is_file():
        raise ValueError(f"data_dir must be a folder, got the file {root}")
    return root


def download(remote: Remote, folder: Path) -> Path:
    """Downloads a file with a progress bar, and puts it into `folder` only if its checksum is right.

    Other processes never see a part of it, and nothing is left behind by a download that failed.

    Returns:
        The path of the file.

    Raises:
        ValueError: when no server gave the right content; names the file and both checksums.
        ConnectionError: when no server could be reached.
    """
    from torch.hub import download_url_to_file

    folder.mkdir(parents=True, exist_ok=True)
    target, reasons, wrong = folder / remote.name, [], False
    for url in remote.urls:
        try:
            download_url_to_file(url + remote.name, str(target), hash_prefix=remote.sha256)
        except RuntimeError as error:  # what torch.hub raises on a wrong checksum: expected and got
            reasons.append(f"{url}: {error}")
            wrong = True
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error}")
        else:
            return target
    message = f"could not download {remote.name} into {folder}: {'; '.join(reasons)}"
    raise ValueError(message) if wrong else ConnectionError(message)


class DataFolder:
    """The places where the files of one data set may lie, all below one folder.

    Args:
        data_dir: folder of data sets; None for GRAVES_DATA, else the user's cache folder.
        name: name of the set; its files are looked for in the folder itself and in the sub-folder `name`,
            where downloads are put.
        layouts: other sub-folders to look into, as other software leaves them.

    Raises:
        ValueError: when `data_dir` is a file.

    Example:
        >>> DataFolder("/data", "mnist", ("MNIST/raw",)).places[1].as_posix()
        '/data/mnist'
    """

    def __init__(self, data_dir: str | None, name: str, layouts: tuple[str, ...] = ()) -> None:
        self.root = data_root(data_dir)
        self.home = self.root / name
        self.places = [self.root, self.home, *(self.root / layout for layout in layouts)]

    def find(self, *names: str) -> Path | None:
        """The first file that has one of these names; a name that ends in `/` is that of a folder.

        Returns:
            Its path; None when there is none.
        """
        for place in self.places:
            for name in names:
                path = place / name
                if path.is_dir() if name.endswith("/") else path.is_file():
                    return path
        return None

    def require(self, *names: str) -> Path:
        """Like `find`.

        Raises:
            FileNotFoundError: naming what was looked for, and where.
        """
        path = self.find(*names)
        if path is None:
            places = ", ".join(str(place) for place in self.places)
            raise FileNotFoundError(f"there is no {' or '.join(names)} in {places}")
        return path

    def fetch(self, remote: Remote, *names: str) -> None:
        """Downloads a file, unless it or one of the other `names` for it is there.

        Raises:
            ValueError: when the download has a wrong checksum.
            ConnectionError: when no server could be reached.
        """
        if self.find(remote.name, *names) is None:
            download(remote, self.home)
