"""Language modelling: a text, symbol by symbol, and what comes next."""

from dataclasses import replace
from typing import Literal

import lightning.pytorch as pl

from graves_core.batches import rank_and_world
from graves_core.data import DataSpec, EnglishTextDataModule, StridedWindows, TextDataModule, TiledWindows
from graves_core.data.checks import check_at_least, check_seed
from graves_core.data.datasets import as_it_is
from graves_core.data.text import Passage, TextPart
from graves_core.loader import ResumableLoader
from graves_rnn_training.data.windows import Crops, StreamChunks


class TextStreamsDataModule(pl.LightningDataModule):
    """Any text as long streams that a network reads from beginning to end, or as crops; by character or byte.

    A batch is `{"inputs": uint8 (B, k), "targets": int64 (B, k), "reset": bool (B,)}`: symbols, the symbols
    that follow them, and whether a sequence begins anew, so that state and influence are to be set to zero
    first.

    - `"streams"`: the text is divided into `batch_size` times the number of devices equally long streams,
      and each batch is the next chunk of `length` symbols of every stream. `reset` is true for the first
      chunks of an epoch alone. In an epoch each symbol is read once, but for a rest at the end of the text:
      in training less than one chunk per stream; in validation and test, whose last chunks may be shorter,
      less than one symbol per stream.
    - `"crops"`: each row of a batch is another place of the text, and `reset` is always true. In training
      the crops lie side by side, in random order, shifted by another amount in every epoch. In validation and
      test they cover the text but for a rest shorter than `length`.

    `N` ranks with `batch_size / N` read the streams, or the crops, of one rank with `batch_size`. A run that
    is resumed goes on with the very next chunk; the state of the network is the module's to save.

    Args:
        text: what to read, how it is split, and what its symbols are; a text in bytes has 256. Of a
            DataModule of `graves_core` the text alone is used: its own `length`, `stride`, `batch_size`,
            `num_workers`, `pin_memory` and `seed` have no meaning here. None for `EnglishTextDataModule`.
        mode: how it is read.
        length: symbols in a chunk or crop.
        batch_size: streams, or crops per batch, on each device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the places and the order of crops.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Example:
        >>> data = TextStreamsDataModule(EnglishTextDataModule(), length=20, batch_size=2)
        >>> data.setup()
        >>> first, second, *_ = data.train_dataloader()
        >>> first["targets"][0, :-1].tolist() == first["inputs"][0, 1:].tolist()
        True
        >>> first["targets"][0, -1] == second["inputs"][0, 0]
        tensor(True)
        >>> first["reset"].tolist(), second["reset"].tolist()
        ([True, True], [False, False])
    """

    def __init__(
        self,
        text: TextDataModule | None = None,
        mode: Literal["streams", "crops"] = "streams",
        length: int = 128,
        batch_size: int = 16,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if text is not None and not isinstance(text, TextDataModule):
            raise TypeError(f"text must be a TextDataModule or None, got {type(text).__name__}")
        if mode not in ("streams", "crops"):
            raise ValueError(f"mode must be 'streams' or 'crops', got {mode!r}")
        self.text = text or EnglishTextDataModule()
        self.mode = mode
        self.length = check_at_least("length", length)
        self.batch_size = check_at_least("batch_size", batch_size)
        self.num_workers = check_at_least("num_workers", num_workers, 0)
        self.pin_memory = pin_memory
        self.seed = check_seed(seed)
        self._passages: dict[TextPart, Passage] | None = None

    @property
    def spec(self) -> DataSpec:
        """What the inputs of one example are; targets have as many `classes` as there are symbols.

        Raises:
            RuntimeError: before `setup`, when the alphabet of the text is detected.
        """
        text = self.text.spec
        return replace(text, shape=(self.length,), classes=text.levels)

    def prepare_data(self) -> None:
        """Downloads the text if it is missing, on one process per machine."""
        self.text.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Reads the text and refuses one that is too short, before anything is trained.

        Args:
            stage: `"fit"`, `"validate"`, `"test"`, `"predict"`; None for all.
        """
        self._passages = self.text.passages()
        parts: dict[str | None, tuple[TextPart, ...]] = {"fit": ("train", "val"), "validate": ("val",)}
        for part in parts.get(stage, ("train", "val", "test") if stage is None else ("test",)):
            if part in self._passages:
                self._dataset(part)

    def train_dataloader(self) -> ResumableLoader:
        """The streams, chunk by chunk, or crops in random order."""
        return self._loader("train")

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The validation part; no loader at all when the text holds none back."""
        return self._loader("val") if "val" in self._read() else []

    def test_dataloader(self) -> ResumableLoader:
        """The test part."""
        return self._loader("test")

    def predict_dataloader(self) -> ResumableLoader:
        """The test part."""
        return self._loader("test")

    def _read(self) -> dict[TextPart, Passage]:
        if self._passages is None:
            raise RuntimeError("call setup() before asking for a loader")
        return self._passages

    def _dataset(self, part: TextPart) -> StreamChunks | Crops:
        tokens, path = self._read()[part]
        training = part == "train"
        try:
            if self.mode == "streams":
                return StreamChunks(tokens, self.batch_size * rank_and_world()[1], self.length, training)
            if training:
                return Crops(TiledWindows(tokens, self.length + 1, self.seed))
            return Crops(StridedWindows(tokens, self.length + 1, stride=self.length))
        except ValueError as error:
            raise ValueError(f"{path} is too short in its {part} part: {error}") from error

    def _loader(self, part: TextPart) -> ResumableLoader:
        dataset = self._dataset(part)
        random_order = self.mode == "crops" and part == "train"
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=random_order,
            seed=self.seed,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            drop_last=random_order and len(dataset) >= self.batch_size * rank_and_world()[1],
            collate_fn=as_it_is,
        )
