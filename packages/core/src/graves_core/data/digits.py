"""The digits that scikit-learn carries: real data without a download."""

import torch

from graves_core.data.base import Part
from graves_core.data.images import ImageDataModule, Images, Labels
from graves_core.data.spec import DataSpec

TEST = 360


class DigitsDataModule(ImageDataModule):
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn.

    Batches are `[images, labels]`: `uint8 (B, 1, 8, 8)`, 0 is paper, 16 ink; and `int64 (B,)`, 0 to 9. The
    last 360 digits are the test part, whatever the seed. Needs `pip install "graves-core[digits]"`.

    Args:
        batch_size: images per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the first 1,437 that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> digits = DigitsDataModule(batch_size=32)
        >>> digits.setup()
        >>> images, labels = next(iter(digits.test_dataloader()))
        >>> images.shape, int(images.max())
        (torch.Size([32, 1, 8, 8]), 16)
    """

    def __init__(
        self,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)

    @property
    def spec(self) -> DataSpec:
        """What one image is: `(1, 8, 8)`, 0 to 16."""
        return DataSpec("image", (1, 8, 8), levels=17, classes=10)

    def read(self, part: Part) -> tuple[Images, Labels]:
        """Takes the digits from scikit-learn.

        Raises:
            ImportError: when scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError('DigitsDataModule needs: pip install "graves-core[digits]"') from error
        digits = load_digits()
        rows = slice(None, -TEST) if part == "train" else slice(-TEST, None)
        images = torch.from_numpy(digits.images[rows]).to(torch.uint8)
        return images[:, None], torch.from_numpy(digits.target[rows]).long()
