"""Episodes of images: what a Kanerva machine writes into a memory, all at once and in no order."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from graves_core.batches import mix_seed
from graves_core.data import BaseDataModule, DataSpec, DigitsDataModule, ImageDataModule, ImageSet
from graves_core.data.base import Part
from graves_core.data.checks import check_at_least
from graves_core.data.datasets import BatchedDataset

Batch = dict[str, Tensor]


class ImageEpisodes(BatchedDataset):
    """Episodes of different images, always the same ones.

    Without a limit of classes, the images are dealt out in random order, so that each is in one episode, but
    for fewer than `length` that are left over; once all are dealt out, they are shuffled and dealt out again.
    With a limit, each episode draws its classes and then its images among all of those classes.

    Args:
        images: what episodes are made of.
        length: images per episode.
        classes: how many classes an episode's images are drawn from; None for all.
        episodes: how many there are; None for as many as one deal gives.
        seed: of all that is drawn.

    Raises:
        ValueError: when there are too few images or classes for one episode.

    Example:
        >>> squares = ImageSet(torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.arange(9))
        >>> episodes = ImageEpisodes(squares, length=4, classes=None, episodes=None, seed=0)
        >>> batch = episodes.__getitems__([0, 1])
        >>> batch["images"].shape, len(set(batch["labels"].flatten().tolist()))
        (torch.Size([2, 4, 1, 4, 4]), 8)
    """

    def __init__(
        self, images: ImageSet, length: int, classes: int | None, episodes: int | None, seed: int
    ) -> None:
        self.images = images
        self.length = length
        self.classes = classes
        self.seed = seed
        self.epoch = 0
        self.per_deal = len(images) // length
        if self.per_deal < 1:
            raise ValueError(f"{len(images)} images are too few for an episode of length={length}")
        self.episodes = episodes or self.per_deal
        self._deals: dict[int, Tensor] = {}
        self._by_class = [] if classes is None else self._sorted(classes)

    def __len__(self) -> int:
        """Number of episodes."""
        return self.episodes

    def __getitem__(self, index: int) -> Batch:
        """One episode."""
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The images and labels of several episodes."""
        places = torch.stack([self._places(index) for index in indices])
        members = self.images.members[places]
        return {"images": self.images.images[members], "labels": self.images.labels[members]}

    def _sorted(self, classes: int) -> list[Int64[Tensor, "members"]]:
        labels = self.images.labels[self.images.members]
        counts = labels.bincount()
        counts = counts[counts > 0]
        if classes > len(counts):
            raise ValueError(
                f"classes_per_episode={classes} is more than the {len(counts)} classes there are"
            )
        least = sum(sorted(counts.tolist())[:classes])
        if least < self.length:
            raise ValueError(
                f"length={self.length} is too long for classes_per_episode={classes}: the smallest such "
                f"classes have {least} images together"
            )
        return list(torch.split(labels.argsort(stable=True), counts.tolist()))

    def _places(self, index: int) -> Int64[Tensor, "length"]:
        """Where the images of an episode stand in the set."""
        if self.classes is None:
            deal, place = divmod(index, self.per_deal)
            if deal not in self._deals:
                self._deals[deal] = torch.randperm(len(self.images), generator=self._draw("deal", deal))
            return self._deals[deal][place * self.length : (place + 1) * self.length]
        draw = self._draw("episode", index)
        chosen = torch.randperm(len(self._by_class), generator=draw)[: self.classes].tolist()
        pool = torch.cat([self._by_class[number] for number in chosen])
        return pool[torch.randperm(len(pool), generator=draw)[: self.length]]

    def _draw(self, kind: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(mix_seed(self.seed, "episodes", kind, self.epoch, number))


class ChangingImageEpisodes(ImageEpisodes):
    """Episodes that are others in every epoch.

    Args:
        images: what episodes are made of.
        length: images per episode.
        classes: how many classes an episode's images are drawn from; None for all.
        episodes: how many there are in an epoch; None for as many as one deal gives.
        seed: of all that is drawn.

    Raises:
        ValueError: when there are too few images or classes for one episode.

    Example:
        >>> squares = ImageSet(torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.arange(9))
        >>> episodes = ChangingImageEpisodes(squares, length=4, classes=None, episodes=None, seed=0)
        >>> first = episodes[0]["labels"]
        >>> episodes.set_epoch(1)
        >>> torch.equal(first, episodes[0]["labels"])
        False
    """

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch.

        Args:
            epoch: its number, from 0.
        """
        if epoch != self.epoch:
            self.epoch = epoch
            self._deals.clear()


class ImageEpisodesDataModule(BaseDataModule):
    """Episodes of images of any image data set: every row of a batch is a small set of images of its own.

    A batch is `{"images": uint8 (B, T, C, H, W), "labels": int64 (B, T)}`: `B` episodes of `T` different
    images each, in no order that means anything. Values are those of the image data set; `spec` says what
    one image is.

    Training episodes are others in every epoch. Without a limit of classes, an epoch deals all training
    images out, each into one episode, but for fewer than `length` that are left over. Validation and test
    episodes are always the same ones, made in the same way from the images of their part; prediction takes
    those of the test. `N` ranks with `batch_size / N` see the episodes of one rank with `batch_size`, and a
    run that is resumed goes on with the very next batch.

    Args:
        images: where the images come from, and how they are split; its own `batch_size`, `num_workers` and
            `pin_memory` have no meaning here. None for `DigitsDataModule`.
        length: images per episode.
        classes_per_episode: how many classes, drawn anew for each episode, its images are taken from; None
            for all.
        batch_size: episodes per batch and device.
        episodes_per_epoch: training episodes that make an epoch; None for as many as the training images
            give when each is used once.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the episodes; the split has the seed of `images`.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range, or there are not so many classes.

    Example:
        >>> data = ImageEpisodesDataModule(DigitsDataModule(), length=8, classes_per_episode=2, batch_size=4)
        >>> data.setup()
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["images"].shape, max(len(set(labels)) for labels in batch["labels"].tolist())
        (torch.Size([4, 8, 1, 8, 8]), 2)
    """

    def __init__(
        self,
        images: ImageDataModule | None = None,
        length: int = 32,
        classes_per_episode: int | None = None,
        batch_size: int = 16,
        episodes_per_epoch: int | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
    ) -> None:
        if images is not None and not isinstance(images, ImageDataModule):
            raise TypeError(f"images must be an ImageDataModule or None, got {type(images).__name__}")
        images = images or DigitsDataModule()
        super().__init__(batch_size, num_workers, pin_memory, seed, images.val_fraction)
        self.images = images
        self.length = check_at_least("length", length)
        self.classes_per_episode = classes_per_episode
        self.episodes_per_epoch = episodes_per_epoch
        if classes_per_episode is not None:
            self._check_classes(check_at_least("classes_per_episode", classes_per_episode))
        if episodes_per_epoch is not None:
            check_at_least("episodes_per_epoch", episodes_per_epoch)

    @property
    def spec(self) -> DataSpec:
        """What one image of an episode is."""
        return self.images.spec

    def fetch(self, part: Part) -> None:
        """Downloads the images of a part if they are missing.

        Args:
            part: `"train"` or `"test"`.
        """
        self.images.fetch(part)

    def read_train(self) -> tuple[ImageEpisodes, ImageEpisodes | None]:
        """Reads the training images, splits them and makes episodes of each part.

        Raises:
            FileNotFoundError: when they aren't there.
            ValueError: naming the file when it is damaged, or the part when it has too few images or classes.
        """
        train, val = self.images.read_train()
        return self._episodes("train", train), None if val is None else self._episodes("val", val)

    def read_test(self) -> ImageEpisodes:
        """Reads the test images and makes episodes of them.

        Raises:
            FileNotFoundError: when they aren't there.
            ValueError: naming the file when it is damaged, or that the part has too few images or classes.
        """
        return self._episodes("test", self.images.read_test())

    def _check_classes(self, classes: int) -> None:
        known = self.spec.classes
        if known is not None and classes > known:
            raise ValueError(
                f"classes_per_episode must be at most {known}, the classes of {type(self.images).__name__}, "
                f"got {classes}"
            )

    def _episodes(self, part: str, images: ImageSet) -> ImageEpisodes:
        seed = mix_seed(self.seed, part)
        try:
            if part == "train":
                number = self.episodes_per_epoch
                return ChangingImageEpisodes(images, self.length, self.classes_per_episode, number, seed)
            return ImageEpisodes(images, self.length, self.classes_per_episode, None, seed)
        except ValueError as error:
            raise ValueError(f"{type(self.images).__name__}, {part} part: {error}") from error
