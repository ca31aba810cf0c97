"""How many examples a training set and a batch have."""

from collections.abc import Sized
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.data import extract_batch_size


def training_examples(trainer: Trainer) -> int:
    """The number of examples of the training set.

    Args:
        trainer: in a fit that has begun.

    Raises:
        ValueError: when its loader does not tell.
    """
    dataset = getattr(trainer.train_dataloader, "dataset", None)
    if isinstance(dataset, Sized) and len(dataset) > 0:
        return len(dataset)
    loader = type(trainer.train_dataloader).__name__
    raise ValueError(f"examples must be given, because the training loader ({loader}) does not tell how many")


def batch_examples(batch: Any) -> int:
    """The number of examples of a batch: the length of its first tensor.

    Args:
        batch: tensors, perhaps in lists and dicts.
    """
    return extract_batch_size(batch)
