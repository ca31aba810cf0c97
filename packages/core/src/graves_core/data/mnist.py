"""MNIST, and Fashion-MNIST, which has the same files."""

from abc import abstractmethod

from graves_core.data.base import Part
from graves_core.data.files import DataFolder, Remote
from graves_core.data.idx import read_idx
from graves_core.data.images import ImageDataModule, Images, Labels
from graves_core.data.spec import DataSpec

CLASSES = 10
SIDE = 28
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_MNIST_URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_MNIST_DIGESTS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_FASHION_URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
_FASHION_DIGESTS = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


def names_of(name: str) -> tuple[str, ...]:
    """The names under which an IDX file goes about: as served, unpacked, and unpacked under its old name."""
    plain = name.removesuffix(".gz")
    return name, plain, plain.replace("-idx", ".idx")


class IdxDataModule(ImageDataModule):
    """Images of 28 x 28 grey pixels in ten classes, in four IDX files.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        batch_size: images per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(
        self,
        data_dir: str | None,
        batch_size: int,
        num_workers: int,
        pin_memory: bool,
        seed: int,
        val_fraction: float,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        self.folder = self.look_into(data_dir)

    @abstractmethod
    def look_into(self, data_dir: str | None) -> DataFolder:
        """Where the four files may lie."""

    @abstractmethod
    def remote(self, name: str) -> Remote:
        """Where a file can be had."""

    @property
    def spec(self) -> DataSpec:
        """What one image is: `(1, 28, 28)`, 0 to 255."""
        return DataSpec("image", (1, SIDE, SIDE), levels=256, classes=CLASSES)

    def fetch(self, part: Part) -> None:
        """Downloads the files of a part that are not there."""
        for name in FILES[part]:
            self.folder.fetch(self.remote(name), *names_of(name))

    def read(self, part: Part) -> tuple[Images, Labels]:
        """Reads the images and the labels of a part.

        Raises:
            FileNotFoundError: when one of the two files isn't there.
            ValueError: naming the file, when it is damaged, or does not fit the other.
        """
        images_path, labels_path = (self.folder.require(*names_of(name)) for name in FILES[part])
        images, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
        if images.shape[1:] != (SIDE, SIDE):
            sides = " x ".join(str(side) for side in images.shape[1:])
            raise ValueError(f"{images_path} has images of {sides} pixels, expected {SIDE} x {SIDE}")
        if len(images) != len(labels):
            raise ValueError(
                f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels"
            )
        if int(labels.max()) >= CLASSES:
            raise ValueError(f"{labels_path} has the label {int(labels.max())}, expected 0 to {CLASSES - 1}")
        return images[:, None], labels.long()


class MNISTDataModule(IdxDataModule):
    """The 60,000 + 10,000 handwritten digits of LeCun, Cortes and Burges.

    Batches are `[images, labels]`: `uint8 (B, 1, 28, 28)`, 0 is paper, 255 ink; and `int64 (B,)`, 0 to 9.
    The four files, gzipped or not, are looked for in `data_dir`, `data_dir/mnist` and `data_dir/MNIST/raw`,
    and used whatever they hold as long as it has this shape; what is missing is downloaded to
    `data_dir/mnist`.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        batch_size: images per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.
            The default is that of Bayesian Flow Networks: 600 digits.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> MNISTDataModule(batch_size=100).spec.shape
        (1, 28, 28)
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
        super().__init__(data_dir, batch_size, num_workers, pin_memory, seed, val_fraction)

    def look_into(self, data_dir: str | None) -> DataFolder:
        """Where the four files may lie."""
        return DataFolder(data_dir, "mnist", ("MNIST/raw",))

    def remote(self, name: str) -> Remote:
        """Where a file can be had."""
        return Remote(name, _MNIST_DIGESTS[name], _MNIST_URLS)


class FashionMNISTDataModule(IdxDataModule):
    """The 60,000 + 10,000 articles of clothing of Zalando, in the format of MNIST.

    Batches are `[images, labels]`: `uint8 (B, 1, 28, 28)`, 0 is background; and `int64 (B,)`, 0 to 9. The
    four files, gzipped or not, are looked for in `data_dir`, `data_dir/fashion_mnist`,
    `data_dir/fashion-mnist` and `data_dir/FashionMNIST/raw`, and used whatever they hold as long as it has
    this shape; what is missing is downloaded to `data_dir/fashion_mnist`.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        batch_size: images per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> FashionMNISTDataModule().spec.classes
        10
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
        super().__init__(data_dir, batch_size, num_workers, pin_memory, seed, val_fraction)

    def look_into(self, data_dir: str | None) -> DataFolder:
        """Where the four files may lie."""
        return DataFolder(data_dir, "fashion_mnist", ("fashion-mnist", "FashionMNIST/raw"))

    def remote(self, name: str) -> Remote:
        """Where a file can be had."""
        return Remote(name, _FASHION_DIGESTS[name], _FASHION_URLS)
