"""The LightningModule: a flow, a network and a codec, trained, scored and sampled."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graves_bfn.codecs.base import Codec
from graves_bfn.flows.arrays import Data, counted, first, padded, real_dtype
from graves_bfn.flows.base import Flow
from graves_bfn.flows.times import TimeGrid, stratified_times
from graves_bfn.guidance.masks import KnownMask
from graves_bfn.module.draws import DrawsSamples
from graves_bfn.nets.base import BFNNetworkBase
from graves_bfn.samplers.base import Sampler
from graves_bfn.samplers.messages import MessageSampler
from graves_core.batches import rank_and_world
from graves_core.spec import Spec


class BFN(Spec, DrawsSamples, LightningModule):
    """Bayesian Flow Network. Source: Graves et al. 2023, "Bayesian Flow Networks".

    Logs `train/nats_per_dim` (L_infinity, or L_n with `train_steps`). Validation and test log the whole code
    length, that loss plus the reconstruction loss, as `nats_per_dim`, `bits_per_dim` (or `bits_per_char`) and
    `nats_per_example`. `predict` draws as many samples as the batch has examples, under their conditions and
    with their lengths.

    What else the network sees is a matter of its `extra_inputs`: a condition, which the codec takes from the
    batch; which variables are known; or what it expected before (self-conditioning: in every second training
    batch, and always in evaluation).

    Args:
        flow: the data type: `ContinuousFlow`, `DiscretisedFlow`, `DiscreteFlow`, `MixedFlow` or your own.
        network: sees the beliefs and the time, gives the parameters of the output distribution.
        codec: turns batches into data of the flow, and data into pictures or text.
        optimizer: makes the optimizer from the network's parameter groups.
        lr_scheduler: makes a scheduler from the optimizer, stepped after every optimizer step.
        train_steps: train with the loss of that many messages instead of infinitely many.
        sampler: how to generate; the paper's `MessageSampler` by default.
        sample_steps: steps per sample in `predict`.
        eval_seed: seed of times and noise in validation and test, the same in every epoch, so that
            differences between epochs are differences between weights.
        grid: when messages end in losses of finitely many; evenly spaced by default.
        stratified_times: spread the times of a training step evenly over the global batch, which leaves the
            loss unbiased and lowers its variance; False draws them independently.
        known: which variables training reveals to the network, for inpainting; none by default.
        guidance_scale: classifier-free guidance in `predict` and in callbacks: 1 follows the condition, more
            exaggerates it, 0 ignores it.

    Raises:
        ValueError: when flow and network do not fit, a number is out of range, or a grid does not have as
            many steps.

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
        network: BFNNetworkBase,
        codec: Codec,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        train_steps: int | None = None,
        sampler: Sampler | None = None,
        sample_steps: int = 100,
        eval_seed: int = 0,
        grid: TimeGrid | None = None,
        stratified_times: bool = True,
        known: KnownMask | None = None,
        guidance_scale: float = 1.0,
    ) -> None:
        super().__init__()
        for name in ("inputs_per_variable", "outputs_per_variable"):
            wanted, given = getattr(flow, name), getattr(network, name)
            if wanted != given:
                raise ValueError(f"network has {name}={given}, but {type(flow).__name__} needs {wanted}")
        for name, steps in {"train_steps": train_steps, "sample_steps": sample_steps}.items():
            if steps is not None and steps < 1:
                raise ValueError(f"{name} must be at least 1, not {steps}")
        if guidance_scale < 0:
            raise ValueError(f"guidance_scale must be at least 0, not {guidance_scale}")
        self.flow = flow
        self.network = network
        self.codec = codec
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.train_steps = train_steps
        self.sampler = MessageSampler() if sampler is None else sampler
        self.sampler.times(sample_steps)
        if grid is not None and train_steps is not None:
            grid.fractions(train_steps)
        self.sample_steps = sample_steps
        self.eval_seed = eval_seed
        self.grid = grid
        self.stratified_times = stratified_times
        self.known = known
        self.guidance_scale = guidance_scale
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

    def loss(
        self,
        x: Data,
        *,
        condition: Tensor | None = None,
        valid: Data | None = None,
        known: Data | None = None,
        self_conditioning: bool = False,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """The training objective per example in nats: L_infinity, or L_n with `train_steps`.

        Args:
            x: the data.
            condition: labels or vectors.
            valid: booleans like x, False for padding.
            known: booleans like x, True for what the network is told.
            self_conditioning: show the network what it expects at first.
            generator: the source of times and noise; without one the ranks of a data-parallel run agree upon
                their times, so that all of them must call this.
        """
        network = self.shown(condition=condition, valid=valid, known=known)
        t = self._times(first(x).shape[0], generator)
        if self.train_steps is None:
            return self.flow.continuous_time_loss(
                network,
                x,
                t=t,
                valid=valid,
                known=known,
                self_conditioning=self_conditioning,
                generator=generator,
            )
        step = (t * self.train_steps).long().clamp(max=self.train_steps - 1) + 1
        return self.flow.discrete_time_loss(
            network,
            x,
            self.train_steps,
            grid=self.grid,
            step=step,
            valid=valid,
            known=known,
            self_conditioning=self_conditioning,
            generator=generator,
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss in nats per variable, averaged over the batch.

        What is logged counts only the variables that are charged for, neither padding nor known ones.
        """
        x, valid = self.codec.encode(batch), self.codec.valid(batch)
        known = None if self.known is None else self.known(x)
        # the epoch counts as well, for the sake of epochs of one batch
        turn = (self.current_epoch + batch_idx) % 2 == 0
        loss = self.loss(
            x,
            condition=self.codec.condition(batch),
            valid=valid,
            known=known,
            self_conditioning=self.network.extra_inputs.self_conditioning and turn,
        )
        charged = self._count(x, counted(valid, known))
        self.log("train/nats_per_dim", loss.detach().sum() / charged, prog_bar=True, batch_size=len(first(x)))
        return loss.mean() / self.num_variables

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

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """As many samples as the batch has examples: uint8 pictures, lines of text, or decoded data."""
        like, valid = self.codec.encode(batch), self.codec.valid(batch)
        drawn = self.sample(len(first(like)), condition=self.codec.condition(batch), valid=valid)
        x = padded(drawn, like, valid)
        pictures, texts = self.codec.images(x), self.codec.texts(x)
        return pictures if pictures is not None else texts if texts is not None else self.codec.decode(x)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over the network's parameter groups, and its scheduler if there is one."""
        optimizer = self.optimizer(self.network.parameter_groups())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _times(self, count: int, generator: torch.Generator | None) -> Float[Tensor, " {count}"]:
        """One time per example; in training the ranks share the work of covering [0, 1)."""
        shape = () if self.stratified_times else (count,)
        u = torch.rand(shape, generator=generator, device=self.device, dtype=real_dtype())
        if not self.stratified_times:
            return u
        rank, world_size = rank_and_world() if generator is None else (0, 1)
        if world_size > 1:
            torch.distributed.broadcast(u, 0)
        return stratified_times(u, count, rank, world_size)

    def _restart_evaluation(self) -> None:
        generator = torch.Generator(self.device)
        self._eval_generator = generator.manual_seed(self.eval_seed + self.global_rank)

    def _evaluate(self, batch: Any, stage: str) -> None:
        generator = self._eval_generator
        x, valid = self.codec.encode(batch, generator=generator), self.codec.valid(batch)
        condition = self.codec.condition(batch)
        recalls = self.network.extra_inputs.self_conditioning
        reconstruction = self.flow.reconstruction_loss(
            self.shown(condition=condition, valid=valid),
            x,
            valid=valid,
            self_conditioning=recalls,
            generator=generator,
        )
        messages = self.loss(
            x, condition=condition, valid=valid, self_conditioning=recalls, generator=generator
        )
        total, examples = messages + reconstruction, len(first(x))
        variables = int(self._count(x, valid))
        per_dim = total.sum() / variables
        values = {
            f"{stage}/nats_per_dim": per_dim,
            f"{stage}/bits_per_{self.codec.unit}": per_dim / math.log(2),
            f"{stage}/reconstruction_nats_per_dim": reconstruction.sum() / variables,
        }
        self.log_dict(values, on_epoch=True, sync_dist=True, batch_size=variables)
        self.log(
            f"{stage}/nats_per_example", total.mean(), on_epoch=True, sync_dist=True, batch_size=examples
        )

    def _count(self, x: Data, where: Any) -> int | Tensor:
        """How many variables of a batch there are where it is True; everywhere if it is None."""
        if not isinstance(x, dict):
            return x.numel() if where is None else where.sum().clamp(min=1)
        masks = where or {}
        return sum(self._count(part, masks.get(name)) for name, part in x.items())
