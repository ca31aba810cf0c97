"""Utterances of different lengths, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from graves_core.data.datasets import BatchedDataset


@dataclass(frozen=True)
class Utterance:
    """What was said, and the features of how it sounded.

    Args:
        features: one row per step.
        labels: the whole numbers from 0 to `classes - 1`, in the order in which they were said.

    Example:
        >>> Utterance(torch.zeros(50, 26), torch.tensor([3, 1, 4])).labels.tolist()
        [3, 1, 4]
    """

    features: Float[Tensor, "time features"]
    labels: Int64[Tensor, " labels"]


class Utterances(BatchedDataset):
    """Utterances in memory; batches are filled up with zeros at the end.

    Args:
        utterances: at least one.
        mean: what is subtracted from the features.
        deviation: what they are then divided by.

    Raises:
        ValueError: when an utterance has fewer steps than it takes to say its labels one by one, with a pause
            between equal ones.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        mean: Float[Tensor, " features"],
        deviation: Float[Tensor, " features"],
    ) -> None:
        self.features = [(utterance.features - mean) / deviation for utterance in utterances]
        self.labels = [utterance.labels for utterance in utterances]
        for utterance in utterances:
            repeated = int((utterance.labels[1:] == utterance.labels[:-1]).sum())
            steps, needed = len(utterance.features), len(utterance.labels) + repeated
            if steps < needed:
                raise ValueError(
                    f"an utterance of {steps} steps has labels that need {needed}: make stack smaller"
                )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A batch of one."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`inputs` `(B, T, features)`, `lengths` `(B,)`, `labels` `(B, L)` and `label_lengths` `(B,)`."""
        features, labels = ([of[index] for index in indices] for of in (self.features, self.labels))
        return {
            "inputs": pad_sequence(features, batch_first=True),
            "lengths": torch.tensor([len(rows) for rows in features]),
            "labels": pad_sequence(labels, batch_first=True),
            "label_lengths": torch.tensor([len(row) for row in labels]),
        }


def moments(
    utterances: Sequence[Utterance],
) -> tuple[Float[Tensor, " features"], Float[Tensor, " features"]]:
    """Mean and standard deviation of each feature over all steps of all utterances."""
    rows = torch.cat([utterance.features for utterance in utterances])
    return rows.mean(0), rows.std(0).clamp(min=1e-5)
