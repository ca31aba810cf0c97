"""What agents have in common: their network's noise, evaluation, and optimizer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_bayes.layers.noise_control import hold_noise, resample_noise
from graves_bayes.layers.torsos import Torso
from graves_bayes.returns.clock import Clock
from graves_core.batches import mix_seed


class AgentModel(LightningModule, ABC):
    """Base of the agents.

    Args:
        torso: features of observations.
        actions: how many there are.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every update.
    """

    def __init__(
        self,
        torso: Torso,
        actions: int,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None,
    ) -> None:
        super().__init__()
        self.observation_shape = torso.observation_shape
        self.actions = actions
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self._drawn: tuple[int | str | None, ...] | None = None

    @abstractmethod
    def act(self, observations: Tensor, clock: Clock, greedy: bool = False) -> Tensor:
        """Chooses an action in each environment.

        Args:
            observations: of the environments.
            clock: decides about all that is drawn.
            greedy: act without noise and without exploration.
        """

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says of its environment, if it says so.

        Raises:
            ValueError: when they do not fit.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        shape, actions = getattr(spec, "observation_shape", None), getattr(spec, "actions", None)
        if shape is not None and tuple(shape) != self.observation_shape:
            raise ValueError(
                f"torso has observation_shape={self.observation_shape}, "
                f"but the environment shows {tuple(shape)}"
            )
        if actions is not None and actions != self.actions:
            raise ValueError(f"the model has actions={self.actions}, but the environment takes {actions}")

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Logs the return and the length of an episode."""
        self._log_episode("val", batch)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Logs the return and the length of an episode."""
        self._log_episode("test", batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters that are learned, and its scheduler if there is one."""
        optimizer = self.optimizer([weight for weight in self.parameters() if weight.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def generator(self, *place: int | str) -> torch.Generator:
        """A source of draws on the device of the model.

        Args:
            place: what the draws are for; another place is another stream.
        """
        return torch.Generator(self.device).manual_seed(mix_seed(*place))

    def draw_noise(self, net: nn.Module, *place: int | str, count: int | None = None) -> None:
        """Gives a network the noise that belongs to a place, unless that is what was drawn last.

        Args:
            net: the network.
            place: what the noise is for.
            count: draw noise for each row of a batch of so many rows.
        """
        key = (id(net), count, *place)
        if self._drawn != key:
            resample_noise(net, self.generator(*place), count)
            hold_noise(net)
            self._drawn = key

    def _log_training(self, values: Mapping[str, Tensor], returns: Tensor) -> None:
        """Logs numbers of a batch when it is their turn, and the mean return whenever episodes ended."""
        every = max(1, getattr(self.trainer, "log_every_n_steps", 1))
        if (self.global_step + 1) % every == 0:
            self.log_dict(dict(values), batch_size=1)  # costs as much as a small network's update
        if len(returns) > 0:
            self.log("train/return", returns.mean(), prog_bar=True, batch_size=1)

    def _log_episode(self, stage: str, batch: Mapping[str, Tensor]) -> None:
        values = {
            f"{stage}/return": batch["return"].mean(),
            f"{stage}/length": batch["length"].float().mean(),
        }
        self.log_dict(values, prog_bar=True, on_epoch=True, sync_dist=True, batch_size=1)
