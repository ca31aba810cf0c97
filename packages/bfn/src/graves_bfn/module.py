"""The LightningModule: a flow, a network and a codec, trained, scored and sampled."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_bfn.codecs import Codec
from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.nets.base import BFNNetwork
from graves_bfn.samplers import MessageSampler, Sampler
from graves_core.spec import Spec


class BFN(Spec, LightningModule):
    """Bayesian Flow Network. Source: Graves et al. 2023, "Bayesian Flow Networks".

    Logs `train/nats_per_dim` (L_infinity, or L_n with `train_steps`). Validation and test log the whole code
    length, that loss plus the reconstruction loss, as `nats_per_dim`, `bits_per_dim` (or `bits_per_char`) and
    `nats_per_example`. `predict` draws as many samples as the batch has examples.

    Args:
        flow: the data type: `ContinuousFlow`, `DiscretisedFlow`, `DiscreteFlow` or your own.
        network: sees the beliefs and the time, gives the parameters of the output distribution.
        codec: turns batches into data of the flow, and data into pictures or text.
        optimizer: makes the optimizer from the network's parameter groups.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every optimizer step.
        train_steps: train with the loss of that many messages instead of infinitely many.
        sampler: how to generate; the paper's `MessageSampler` by default.
        sample_steps: steps per sample in `predict`.
        eval_seed: seed of times and noise in validation and test, the same in every epoch, so that
            differences between epochs are differences between weights.

    Raises:
        ValueError: when flow and network do not fit, or a number is not positive.

    Example:
        >>> from graves_bfn import BFNMLP, BinaryImages, DiscreteFlow
        >>> net = BFNMLP((8, 8, 1), 1, 1, width=32)
        >>> model = BFN(DiscreteFlow(2, beta_1=4.0), net, BinaryImages(levels=17))
        >>> model.sample(num_samples=3, num_steps=5).shape
        torch.Size([3, 8, 8, 1])
    """

    def __init__(
        self,
        flow: Flow,
        network: BFNNetwork,
        codec: Codec,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        train_steps: int | None = None,
        sampler: Sampler | None = None,
        sample_steps: int = 100,
        eval_seed: int = 0,
    ) -> None:
        super().__init__()
        for name in ("inputs_per_variable", "outputs_per_variable"):
            wanted, given = getattr(flow, name), getattr(network, name)
            if wanted != given:
                raise ValueError(f"network has {name}={given}, but {type(flow).__name__} needs {wanted}")
        for name, steps in {"train_steps": train_steps, "sample_steps": sample_steps}.items():
            if steps is not None and steps < 1:
                raise ValueError(f"{name} must be at least 1, not {steps}")
        self.flow = flow
        self.network = network
        self.codec = codec
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.train_steps = train_steps
        self.sampler = MessageSampler() if sampler is None else sampler
        self.sample_steps = sample_steps
        self.eval_seed = eval_seed
        self._eval_generator: torch.Generator | None = None

    @property
    def num_variables(self) -> int:
        """How many variables an example has."""
        return self.network.variables

    def setup(self, stage: str) -> None:
        """Compares the network with what the DataModule says it yields, if it says so.

        Raises:
            ValueError: when they do not fit.
        """
        spec = getattr(getattr(self.trainer, "datamodule", None), "spec", None)
        if spec is not None:
            shape = self.codec.data_shape(spec)
            if shape != self.network.shape:
                raise ValueError(f"network has shape={self.network.shape}, but the data have shape {shape}")

    def loss(self, x: Tensor, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """The training objective per example in nats: L_infinity, or L_n with `train_steps`."""
        if self.train_steps is None:
            return self.flow.continuous_time_loss(self.network, x, generator=generator)
        return self.flow.discrete_time_loss(self.network, x, self.train_steps, generator=generator)

    @torch.no_grad()
    def generate(
        self, num_samples: int, num_steps: int | None = None, *, generator: torch.Generator | None = None
    ) -> Iterator[GenerationStep]:
        """Generates step by step, with `sample_steps` steps unless told otherwise."""
        shape = (num_samples, *self.network.shape)
        steps = self.sample_steps if num_steps is None else num_steps
        yield from self.sampler.generate(
            self.flow, self.network, shape, steps, generator=generator, device=self.device
        )

    def sample(
        self, num_samples: int, num_steps: int | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws data, `(num_samples, *variables)`; arguments as in `generate`."""
        (last,) = deque(self.generate(num_samples, num_steps, generator=generator), maxlen=1)
        return last.output.mode

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss in nats per variable, averaged over the batch."""
        x = self.codec.encode(batch)
        loss = self.loss(x).mean() / self.num_variables
        self.log("train/nats_per_dim", loss.detach(), prog_bar=True, batch_size=len(x))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Starts the noise of the evaluation anew."""
        self._restart_evaluation()

    def on_test_epoch_start(self) -> None:
        """Starts the noise of the evaluation anew."""
        self._restart_evaluation()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the code length."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the code length."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor | list[str]:
        """Samples, as many as the batch has examples: uint8 pictures, lines of text, or data."""
        x = self.sample(len(self.codec.encode(batch)))
        pictures, texts = self.codec.images(x), self.codec.texts(x)
        return pictures if pictures is not None else texts if texts is not None else x

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over the network's parameter groups, and its scheduler if there is one."""
        optimizer = self.optimizer(self.network.parameter_groups())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _restart_evaluation(self) -> None:
        generator = torch.Generator(self.device)
        self._eval_generator = generator.manual_seed(self.eval_seed + self.global_rank)

    def _evaluate(self, batch: Any, stage: str) -> None:
        x = self.codec.encode(batch, generator=self._eval_generator)
        reconstruction = self.flow.reconstruction_loss(self.network, x, generator=self._eval_generator)
        total = (self.loss(x, generator=self._eval_generator) + reconstruction).mean()
        per_dim = total / self.num_variables
        values = {
            f"{stage}/nats_per_dim": per_dim,
            f"{stage}/bits_per_{self.codec.unit}": per_dim / math.log(2),
            f"{stage}/nats_per_example": total,
            f"{stage}/reconstruction_nats_per_dim": reconstruction.mean() / self.num_variables,
        }
        self.log_dict(values, on_epoch=True, sync_dist=True, batch_size=len(x))
