"""Omniglot, the drawings of 1,623 characters."""

import torch
from jaxtyping import Int64
from torch import Tensor

from graves_core.data.base import Part
from graves_core.data.drawings import CHARACTERS, SIDE, read_drawings
from graves_core.data.files import DataFolder, Remote
from graves_core.data.images import ImageDataModule, Images, Labels
from graves_core.data.spec import DataSpec
from graves_core.data.splits import holdout

_URLS = ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",)
REMOTES = {
    "train": Remote(
        "images_background.zip", "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640", _URLS
    ),
    "test": Remote(
        "images_evaluation.zip", "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee", _URLS
    ),
}


class OmniglotDataModule(ImageDataModule):
    """The 32,460 drawings of Lake, Salakhutdinov and Tenenbaum: 50 alphabets, 20 drawers a character.

    Batches are `[images, labels]`: `uint8 (B, 1, size, size)`, 0 is ink, 255 paper, as in the files; and
    `int64 (B,)`, the number of the character over the whole of Omniglot, which its files carry: 0 to 963 in
    the official background part (training), 964 to 1622 in the evaluation part (test). Validation takes
    whole characters out of the background part, so that no split sees a character of another. Zip files or
    unpacked folders (`images_background`, `images_evaluation`) are looked for in `data_dir` and
    `data_dir/omniglot`; what is missing is downloaded to `data_dir/omniglot`.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        size: side of the drawings in pixels, at most 105, which is how they are; smaller ones are made by
            averaging areas, and have grey pixels.
        batch_size: drawings per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the background characters for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> OmniglotDataModule(size=28).spec.shape
        (1, 28, 28)
    """

    def __init__(
        self,
        data_dir: str | None = None,
        size: int = SIDE,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        if not 1 <= size <= SIDE:
            raise ValueError(f"size must lie in 1..{SIDE}, got {size}")
        self.size = size
        self.folder = DataFolder(data_dir, "omniglot")

    @property
    def spec(self) -> DataSpec:
        """What one drawing is: `(1, size, size)`, 0 to 255."""
        return DataSpec("image", (1, self.size, self.size), levels=256, classes=CHARACTERS)

    def fetch(self, part: Part) -> None:
        """Downloads the zip file of a part, unless it or its folder is there."""
        self.folder.fetch(REMOTES[part], _unpacked(part))

    def read(self, part: Part) -> tuple[Images, Labels]:
        """Reads the drawings of a part, sorted by alphabet, character and drawer.

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """
        return read_drawings(self.folder.require(_unpacked(part), REMOTES[part].name), self.size)

    def split(self, labels: Labels) -> tuple[Int64[Tensor, "train"], Int64[Tensor, "val"]]:
        """Which drawings are for training and which for validation: by character, at random, by `seed`."""
        characters = torch.tensor(sorted(set(labels.tolist())))
        _, held = holdout(len(characters), self.val_fraction, self.seed)
        validation = (labels[:, None] == characters[held]).any(dim=1)
        return (~validation).nonzero()[:, 0], validation.nonzero()[:, 0]


def _unpacked(part: Part) -> str:
    return REMOTES[part].name.replace(".zip", "/")
