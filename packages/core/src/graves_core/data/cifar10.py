"""CIFAR-10 from its binary version."""

from pathlib import Path

from graves_core.data.base import Part
from graves_core.data.cifar_binary import ARCHIVE, CLASSES, FOLDER, TEST_BATCHES, TRAIN_BATCHES, read_batches
from graves_core.data.files import DataFolder, Remote
from graves_core.data.images import ImageDataModule, Images, Labels
from graves_core.data.spec import DataSpec

REMOTE = Remote(
    ARCHIVE,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/",),
)


class CIFAR10DataModule(ImageDataModule):
    """The 50,000 + 10,000 small photographs of Krizhevsky, Nair and Hinton.

    Batches are `[images, labels]`: `uint8 (B, 3, 32, 32)`, red, green, blue; and `int64 (B,)`, 0 to 9. The
    folder `cifar-10-batches-bin` or the archive `cifar-10-binary.tar.gz`, which is never unpacked, is looked
    for in `data_dir` and `data_dir/cifar10`; `data_dir` may also be that folder itself. Its batch files are
    taken as they are: some of the five may be missing, each may hold fewer records than the original, and
    the test batch is missed only when it is asked for. If there is nothing, the archive is downloaded to
    `data_dir/cifar10`.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        batch_size: images per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.
            The default is that of Bayesian Flow Networks: 500 of 50,000.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> CIFAR10DataModule().spec.shape
        (3, 32, 32)
    """

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.01,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        self.folder = DataFolder(data_dir, "cifar10")

    @property
    def spec(self) -> DataSpec:
        """What one image is: `(3, 32, 32)`, 0 to 255."""
        return DataSpec("image", (3, 32, 32), levels=256, classes=CLASSES)

    def fetch(self, part: Part) -> None:
        """Downloads the archive, which has both parts, unless some of CIFAR-10 is there."""
        self.folder.fetch(REMOTE, f"{FOLDER}/", *TRAIN_BATCHES, *TEST_BATCHES)

    def read(self, part: Part) -> tuple[Images, Labels]:
        """Reads the batch files of a part.

        Raises:
            FileNotFoundError: when there is none.
            ValueError: naming the file, when one is damaged.
        """
        return read_batches(self._source(), TRAIN_BATCHES if part == "train" else TEST_BATCHES)

    def _source(self) -> Path:
        found = self.folder.require(f"{FOLDER}/", ARCHIVE, *TRAIN_BATCHES, *TEST_BATCHES)
        return found.parent if found.suffix == ".bin" else found
