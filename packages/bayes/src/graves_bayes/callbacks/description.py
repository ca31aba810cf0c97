"""The description length of a training set during training."""

import math

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from graves_bayes.layers.posterior import WeightPosterior

NATS = math.log(2)


class DescriptionTally:
    """Adds up the error of an epoch.

    Example:
        >>> tally = DescriptionTally()
        >>> tally.add_error(torch.tensor(4.0))
        >>> tally.error
        tensor(4.)
    """

    def __init__(self) -> None:
        self.error: Tensor = torch.zeros(())
        self.examples: int = 0
        self.epoch: int = 0

    def begin(self, epoch: int, examples: int) -> None:
        """Counts the examples of a batch; what is left of another epoch is forgotten.

        A run that was saved between the last batch of an epoch and its end goes on with the next epoch.

        Args:
            epoch: of the batch.
            examples: of the batch.
        """
        if epoch != self.epoch:
            self.error, self.examples, self.epoch = torch.zeros_like(self.error), 0, epoch
        self.examples += examples

    def add_error(self, error: Tensor) -> None:
        """Adds the error of a batch.

        Args:
            error: the sum over its examples in nats.
        """
        self.error = self.error.to(error.device) + error.float()

    def pop(self, trainer: Trainer) -> Tensor:
        """The mean error of an example over all ranks; counts from 0 again.

        Args:
            trainer: of the run.
        """
        sums = torch.stack([self.error, self.error.new_tensor(float(self.examples))])
        self.error, self.examples = torch.zeros_like(self.error), 0
        error, examples = trainer.strategy.reduce(sums, reduce_op="sum")
        mean: Tensor = error / examples
        return mean

    def state_dict(self) -> dict[str, Tensor | int]:
        """What has been added up."""
        return {"error": self.error.cpu(), "examples": self.examples, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Goes on from there.

        Args:
            state: of `state_dict`.
        """
        self.error = torch.as_tensor(state["error"])
        self.examples, self.epoch = int(state["examples"]), int(state["epoch"])


def described(
    posterior: WeightPosterior, error: Tensor, examples: int, classes: int | None
) -> dict[str, Tensor]:
    """What is logged of a posterior.

    Args:
        posterior: over the weights.
        error: mean error of an example in nats.
        examples: number of training examples.
        classes: number of values of a target.
    """
    error_nats, complexity = error * examples, posterior.complexity()
    found = {
        "error_nats": error_nats,
        "complexity_nats": complexity,
        "error_bits": error_nats / NATS,
        "complexity_bits": complexity / NATS,
        "bits_per_weight": complexity / NATS / posterior.weights,
    }
    if classes is not None:
        found["compression"] = (error_nats + complexity) / (examples * math.log(classes))
    groups = posterior.prior_groups
    for index, label in enumerate(groups.labels):
        name = f"/{label}" if len(groups.labels) > 1 else ""
        found[f"prior_mean{name}"] = groups.prior_mean[index]
        found[f"prior_scale{name}"] = groups.prior_scale[index]
    return {f"variational/{name}": value for name, value in found.items()}
