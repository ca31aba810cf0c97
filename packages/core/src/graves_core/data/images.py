"""Sets of labelled images in memory."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from graves_core.data.base import BaseDataModule, Part
from graves_core.data.datasets import BatchedDataset
from graves_core.data.splits import holdout

Images = UInt8[Tensor, "examples channels height width"]
Labels = Int64[Tensor, "examples"]


class ImageSet(BatchedDataset):
    """Some members of one tensor of images; several sets share it without a copy.

    Args:
        images: all images.
        labels: the label of each.
        members: which of them belong to this set; None for all.

    Example:
        >>> images = torch.zeros(9, 1, 8, 8, dtype=torch.uint8)
        >>> digits = ImageSet(images, torch.arange(9), members=torch.tensor([3, 5]))
        >>> digits.__getitems__([1, 0])[1]
        tensor([5, 3])
    """

    def __init__(
        self, images: Images, labels: Labels, members: Int64[Tensor, "members"] | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self.members = torch.arange(len(labels)) if members is None else members

    def __len__(self) -> int:
        """Number of members."""
        return len(self.members)

    def __getitem__(self, index: int) -> list[Tensor]:
        """`[image, label]` of one member."""
        member = self.members[index]
        return [self.images[member], self.labels[member]]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """`[images, labels]` of several members."""
        members = self.members[torch.as_tensor(indices)]
        return [self.images[members], self.labels[members]]


class ImageDataModule(BaseDataModule):
    """Labelled images that fit into memory: a subclass reads them, this splits and serves them.

    Batches are `[images, labels]`: `uint8 (B, C, H, W)` and `int64 (B,)`.

    Args:
        batch_size: images per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> from graves_core import DataSpec
        >>> class Squares(ImageDataModule):
        ...     spec = DataSpec("image", (1, 4, 4), levels=2, classes=2)
        ...     def read(self, part):
        ...         labels = torch.arange(20) % 2
        ...         return labels.to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4), labels
        >>> squares = Squares(batch_size=9, num_workers=0, pin_memory=False, seed=0, val_fraction=0.1)
        >>> squares.setup()
        >>> [len(images) for images, _ in squares.train_dataloader()]
        [9, 9]
    """

    def __init__(
        self, batch_size: int, num_workers: int, pin_memory: bool, seed: int, val_fraction: float
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)

    @abstractmethod
    def read(self, part: Part) -> tuple[Images, Labels]:
        """Reads all images and labels of a part.

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """

    def split(self, labels: Labels) -> tuple[Int64[Tensor, "train"], Int64[Tensor, "val"]]:
        """Which images are for training and which for validation: at random, by `seed`."""
        return holdout(len(labels), self.val_fraction, self.seed)

    def read_train(self) -> tuple[ImageSet, ImageSet | None]:
        """Reads the training part and splits it."""
        images, labels = self.read("train")
        train, val = self.split(labels)
        return ImageSet(images, labels, train), ImageSet(images, labels, val) if len(val) else None

    def read_test(self) -> ImageSet:
        """Reads the test part."""
        return ImageSet(*self.read("test"))
