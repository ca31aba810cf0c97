"""Means and standard errors over examples and repeats."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MeanMetric, SumMetric


class Score:
    """Mean and standard errors of values per repeat and example, reduced over ranks by example counts.

    Args:
        repeats: how many values each example has.
        device: where they are.
    """

    def __init__(self, repeats: int, device: torch.device) -> None:
        self.mean, self.square = MeanMetric().to(device), MeanMetric().to(device)
        self.count = SumMetric().to(device)
        self.per_repeat = [MeanMetric().to(device) for _ in range(repeats)]

    def update(self, values: Float[Tensor, "repeats batch"]) -> None:
        """Takes the values of a batch."""
        examples = values.mean(0)
        self.mean.update(examples)
        self.square.update(examples.square())
        self.count.update(len(examples))
        for metric, row in zip(self.per_repeat, values, strict=True):
            metric.update(row)

    def compute(self) -> dict[str, Tensor]:
        """The mean and, by suffix, its standard errors."""
        mean = self.mean.compute()
        variance = (self.square.compute() - mean.square()).clamp(min=0)
        result = {"": mean, "_stderr": (variance / self.count.compute()).sqrt()}
        if len(self.per_repeat) > 1:
            repeats = torch.stack([metric.compute() for metric in self.per_repeat])
            result["_repeat_stderr"] = repeats.std() / math.sqrt(len(repeats))
        return result
