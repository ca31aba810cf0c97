"""One-shot classification: learn the characters of an episode while it runs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import lightning.pytorch as pl
import torch
from torch import Tensor

from graves_core.batches import mix_seed, rank_and_world
from graves_core.data import DataSpec, ImageDataModule, OmniglotDataModule
from graves_core.data.checks import check_at_least, check_seed
from graves_core.data.datasets import BatchedDataset, as_it_is
from graves_core.data.generated import GeneratedBatches
from graves_core.data.splits import holdout
from graves_core.loader import ResumableLoader
from graves_memory.data.characters import CharacterEpisodes
from graves_memory.data.padding import Batch, joined

Part = Literal["train", "val", "test"]
PADDING = {"targets": -100, "labels_before": -1, "sight": -1}


class OneShotDataModule(pl.LightningDataModule):
    """Episodes of characters that are shown again and again, with labels that hold in one episode only.

    A network reads an image and the label of the image before, and has to say the label of the image. A batch
    is `{"images": uint8 (B, T, C, H, W), "labels_before": int64 (B, T), "targets": int64 (B, T), "sight":
    int64 (B, T), "level": int64 (B,)}`: the images; the labels of the images before, -1 at the first step;
    the labels; how often the character was shown before in the episode; and the number of characters.

    Each episode takes characters at random, gives them labels from 0 to `classes - 1` at random, no two the
    same, and shows each `shows` times in random order. Training, validation and test have no character in
    common: validation takes whole characters out of the training part of `images`, by its `val_fraction` and
    seed; the test takes the characters of its test part that are not among those of training. Those of
    Omniglot are all of other alphabets; of digits, they are the ones of validation in other handwritings.

    Training episodes have `level` characters, or with `fewest` any number from there to `level`, drawn for
    each batch. A curriculum may raise `level` at any moment (`graves_core.Curriculum`). Batches are made in
    the training process when they are asked for, and depend on the seed, the number of the batch and the
    level alone: `N` ranks with `batch_size / N` see the episodes of one rank. Episodes for validation and the
    test are always the same ones; shorter ones are followed by steps with target -100 and sight -1.

    Args:
        images: where characters come from; its `batch_size`, `num_workers` and `pin_memory` have no meaning
            here. None for `OmniglotDataModule(size=20)`.
        level: characters of a training episode at the beginning.
        fewest: the fewest characters of training episodes; None for always `level`.
        classes: number of labels, at least as many as an episode has characters.
        shows: how often each character is shown.
        turns: whether a character turned by one, two or three quarter turns is a character of its own.
        rotation: the characters of an episode are turned by at most so many degrees to either side.
        stretch: the characters of an episode become wider and higher, or less so, by at most this share.
        batch_size: episodes per batch and device.
        batches_per_epoch: training batches that make an epoch; no two epochs have the same.
        val_levels: characters of the episodes for validation and for the test; none for no validation.
        val_episodes: how many episodes there are of each of these.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of all that is drawn, but for the split.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Source: Santoro et al. 2016; Rae et al. 2016.

    Example:
        >>> from graves_core import DigitsDataModule
        >>> digits = DigitsDataModule(val_fraction=0.4)
        >>> episodes = OneShotDataModule(digits, level=3, classes=5, shows=4, val_levels=[2], batch_size=8)
        >>> episodes.setup("fit")
        >>> batch = next(iter(episodes.train_dataloader()))
        >>> batch["images"].shape, batch["sight"][0].bincount().tolist()
        (torch.Size([8, 12, 1, 8, 8]), [3, 3, 3, 3])
    """

    def __init__(
        self,
        images: ImageDataModule | None = None,
        level: int = 5,
        fewest: int | None = None,
        classes: int = 20,
        shows: int = 10,
        turns: bool = True,
        rotation: float = 10.0,
        stretch: float = 0.2,
        batch_size: int = 16,
        batches_per_epoch: int = 500,
        val_levels: Sequence[int] = (5,),
        val_episodes: int = 64,
        pin_memory: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if images is not None and not isinstance(images, ImageDataModule):
            raise TypeError(f"images must be an ImageDataModule or None, got {type(images).__name__}")
        self.images = images or OmniglotDataModule(size=20)
        self.classes = check_at_least("classes", classes, 2)
        self.fewest = fewest if fewest is None else check_at_least("fewest", fewest)
        self.shows = check_at_least("shows", shows)
        self.turns = turns
        self.rotation = _check_share("rotation", rotation, 180)
        self.stretch = _check_share("stretch", stretch, math.inf)
        self.batch_size = check_at_least("batch_size", batch_size)
        self.batches_per_epoch = check_at_least("batches_per_epoch", batches_per_epoch)
        self.val_levels = [check_at_least("val_levels", number) for number in val_levels]
        self.val_episodes = check_at_least("val_episodes", val_episodes)
        self.pin_memory = pin_memory
        self.seed = check_seed(seed)
        self._parts: dict[Part, CharacterEpisodes] = {}
        self.level = level
        self._check_sizes()

    @property
    def level(self) -> int:
        """Characters of training episodes from the next batch on."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        check_at_least("level", level, self.fewest or 1)
        _check_most("level", level, self.classes, "labels (classes)")
        if "train" in self._parts:
            _check_most("level", level, len(self._parts["train"]), "characters of the train part")
        self._level = level

    @property
    def spec(self) -> DataSpec:
        """What one image is; `classes` counts the labels."""
        return replace(self.images.spec, classes=self.classes)

    def prepare_data(self) -> None:
        """Downloads the images if they are missing, on one process per machine."""
        self.images.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Reads the images and refuses too few characters, before anything is trained.

        Args:
            stage: `"fit"`, `"validate"`, `"test"`, `"predict"`; None for all.

        Raises:
            FileNotFoundError: when the images aren't there.
            ValueError: naming the file when it is damaged, or the part when it has too few characters.
        """
        if "train" not in self._parts:
            self._read_train()
        if stage in (None, "test", "predict") and self.val_levels and "test" not in self._parts:
            self._read_test()

    def train_dataloader(self) -> ResumableLoader:
        """New episodes in every epoch."""
        maker, size = self._part("train"), self.batch_size * rank_and_world()[1]
        plans = GeneratedBatches(partial(self._plan, maker, size), self.batches_per_epoch, size)
        return ResumableLoader(
            plans, self.batch_size, False, self.seed, pin_memory=self.pin_memory, collate_fn=maker.show
        )

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The same episodes always, in the order of `val_levels`; no loader at all without characters."""
        self._part("train")
        return self._evaluation("val") if "val" in self._parts else []

    def test_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Like those for validation, of the characters of the test part."""
        return self._evaluation("test")

    def predict_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The episodes of the test."""
        return self._evaluation("test")

    def state_dict(self) -> dict[str, int]:
        """Tells the level."""
        return {"level": self.level}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Takes over the level of the run that is resumed."""
        self.level = state_dict["level"]

    def _check_sizes(self) -> None:
        for number in self.val_levels:
            _check_most("val_levels", number, self.classes, "labels (classes)")
        _, height, width = self.images.spec.shape
        if self.turns and height != width:
            raise ValueError(f"turns must be False for images that are not square, got {height} x {width}")

    def _read_train(self) -> None:
        images, labels = self.images.read("train")
        characters = torch.unique(labels)
        kept, held = holdout(len(characters), self.images.val_fraction, self.images.seed)
        self._trained = characters[kept]
        train = self._episodes("train", images, labels, characters[kept])
        if len(held):
            self._parts["val"] = self._episodes("val", images, labels, characters[held])
        self._parts["train"] = train

    def _read_test(self) -> None:
        images, labels = self.images.read("test")
        characters = torch.unique(labels)
        others = characters[~torch.isin(characters, self._trained)]
        self._parts["test"] = self._episodes("test", images, labels, others)

    def _episodes(self, part: Part, images: Tensor, labels: Tensor, characters: Tensor) -> CharacterEpisodes:
        known = len(characters) * (4 if self.turns else 1)
        for number in [self.level] if part == "train" else self.val_levels:
            name = "level" if part == "train" else "val_levels"
            _check_most(name, number, known, f"characters of the {part} part")
        rows = torch.isin(labels, characters).nonzero()[:, 0]
        return CharacterEpisodes(
            images[rows], labels[rows], self.shows, self.classes, self.turns, self.rotation, self.stretch
        )

    def _part(self, part: Part) -> CharacterEpisodes:
        if part not in self._parts:
            raise RuntimeError("call setup() before asking for a loader")
        return self._parts[part]

    def _plan(self, maker: CharacterEpisodes, size: int, epoch: int, batch: int) -> Batch:
        draw = torch.Generator().manual_seed(mix_seed(self.seed, "oneshot", "train", epoch, batch))
        least = self.level if self.fewest is None else self.fewest
        return maker.plan(int(torch.randint(least, self.level + 1, (), generator=draw)), size, draw)

    def _evaluation(self, part: Part) -> ResumableLoader | list[ResumableLoader]:
        if not self.val_levels:
            return []
        episodes = _Fixed(self._part(part), self.val_levels, self.val_episodes, mix_seed(self.seed, part))
        return ResumableLoader(
            episodes, self.batch_size, False, self.seed, pin_memory=self.pin_memory, collate_fn=as_it_is
        )


class _Fixed(BatchedDataset):
    """Episodes that depend on the seed, their number of characters and their number alone."""

    def __init__(self, maker: CharacterEpisodes, levels: Sequence[int], count: int, seed: int) -> None:
        self.maker, self.levels, self.count, self.seed = maker, levels, count, seed

    def __len__(self) -> int:
        return len(self.levels) * self.count

    def __getitem__(self, index: int) -> Batch:
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return joined([self._episode(index) for index in indices], PADDING)

    def _episode(self, index: int) -> Batch:
        level, number = self.levels[index // self.count], index % self.count
        draw = torch.Generator().manual_seed(mix_seed(self.seed, "oneshot", level, number))
        return self.maker.show(self.maker.plan(level, 1, draw))


def _check_most(name: str, value: int, most: int, what: str) -> None:
    if value > most:
        raise ValueError(f"{name} must be at most {most}, the number of {what}, got {value}")


def _check_share(name: str, value: object, most: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must lie in [0, {most}], got {value}")
    return float(value)
