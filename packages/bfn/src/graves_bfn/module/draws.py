"""What a model with a flow and a network can generate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graves_bfn.flows.arrays import Data, Shape, first
from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.flows.losses import Network
from graves_bfn.guidance.control import Control
from graves_bfn.guidance.inpainting import ClampInpainting, ParticleInpainting, ReplaceInpainting
from graves_bfn.guidance.networks import ClassifierFreeGuidance, ConditionedNetwork
from graves_bfn.nets.base import BFNNetworkBase
from graves_bfn.samplers.base import Sampler


class DrawsSamples:
    """The part of a `BFN` that generates: samples under conditions, with guidance, and completions.

    The network generates as in evaluation, whatever mode it is in: nothing is dropped.

    Example:
        >>> from graves_bfn import BFN, BFNMLP, BinaryImages, DiscreteFlow, ODESolver
        >>> model = BFN(DiscreteFlow(2, beta_1=4.0), BFNMLP((8, 8, 1), 1, 1, width=32), BinaryImages(17))
        >>> model.sample(5, num_steps=4, sampler=ODESolver(), batch_size=2).shape
        torch.Size([5, 8, 8, 1])
    """

    flow: Flow
    network: BFNNetworkBase
    sampler: Sampler
    sample_steps: int
    guidance_scale: float
    device: torch.device

    def shown(
        self,
        *,
        condition: Tensor | None = None,
        valid: Data | None = None,
        known: Data | None = None,
        guidance_scale: float | None = 1.0,
    ) -> Network:
        """The network with all that it is shown besides beliefs and time, for the methods of the flow.

        Args:
            condition: labels or vectors; left out where the network takes none.
            valid: booleans like the data, False for padding.
            known: booleans like the data, True for what is given; left out where the network is not told.
            guidance_scale: of classifier-free guidance, None for the model's; without a condition it changes
                nothing.
        """
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        extra = self.network.extra_inputs
        condition = condition if extra.condition is not None else None
        known = known if extra.known else None
        if condition is not None and scale != 1:
            return ClassifierFreeGuidance(self.flow, self.network, condition, scale, valid=valid, known=known)
        if condition is None and valid is None and known is None:
            return self.network
        return ConditionedNetwork(self.network, condition, valid, known)

    def generate(
        self,
        num_samples: int,
        num_steps: int | None = None,
        *,
        condition: Tensor | None = None,
        valid: Data | None = None,
        known: Data | None = None,
        controls: Sequence[Control] = (),
        guidance_scale: float | None = None,
        sampler: Sampler | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[GenerationStep]:
        """Generates step by step; arguments as in `sample`."""
        steps = (sampler or self.sampler).generate(
            self.flow,
            self.shown(condition=condition, valid=valid, known=known, guidance_scale=guidance_scale),
            self._shape(num_samples),
            self.sample_steps if num_steps is None else num_steps,
            controls=controls,
            self_conditioning=self.network.extra_inputs.self_conditioning,
            generator=generator,
            device=self.device,
        )
        return _each_evaluating(self.network, steps)

    def sample(
        self,
        num_samples: int,
        num_steps: int | None = None,
        *,
        condition: Tensor | None = None,
        valid: Data | None = None,
        known: Data | None = None,
        controls: Sequence[Control] = (),
        guidance_scale: float | None = None,
        sampler: Sampler | None = None,
        batch_size: int | None = None,
        progress: bool = False,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Draws data, `(num_samples, *variables)`.

        Args:
            num_samples: how many.
            num_steps: steps per sample; `sample_steps` by default.
            condition: labels or vectors, one for each sample; None for the unconditional distribution.
            valid: booleans like the data, False for padding: how long each sample is to be.
            known: what the network is told is known; the controls say the data themselves, see `inpaint`.
            controls: what steers the generation, such as `GradientGuidance`.
            guidance_scale: of classifier-free guidance; the model's by default.
            sampler: how to generate; the model's by default.
            batch_size: how many to draw at a time; all at once by default.
            progress: show a progress bar.
            generator: the source of the noise.
        """
        with _evaluating(self.network):
            return (sampler or self.sampler).sample(
                self.flow,
                self.shown(condition=condition, valid=valid, known=known, guidance_scale=guidance_scale),
                self._shape(num_samples),
                self.sample_steps if num_steps is None else num_steps,
                controls=controls,
                self_conditioning=self.network.extra_inputs.self_conditioning,
                batch_size=batch_size,
                progress=progress,
                generator=generator,
                device=self.device,
            )

    def inpaint(
        self,
        x: Data,
        known: Data,
        num_steps: int | None = None,
        *,
        method: Literal["clamp", "replace", "particles"] = "clamp",
        particles: int = 8,
        condition: Tensor | None = None,
        valid: Data | None = None,
        sampler: Sampler | None = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Completes data of which a part is known.

        Args:
            x: the data, on the model's device; what stands where nothing is known does not matter.
            known: booleans like x.
            num_steps: steps per sample; `sample_steps` by default.
            method: "clamp" for models trained with `known`, see `ClampInpainting`; "replace" and "particles"
                for all others, see `ReplaceInpainting` and `ParticleInpainting`.
            particles: how many per example, for that method.
            condition: labels or vectors, one for each example.
            valid: booleans like x, False for padding.
            sampler: how to generate; the model's by default.
            generator: the source of the noise.

        Raises:
            ValueError: when the method is unknown.
        """
        if method not in ("clamp", "replace", "particles"):
            raise ValueError(f"method must be 'clamp', 'replace' or 'particles', not {method!r}")
        control: ParticleInpainting | ClampInpainting | ReplaceInpainting
        if method == "particles":
            control = ParticleInpainting(x, known, particles)
            condition, valid = control.repeated(condition), control.repeated(valid)
        else:
            control = ClampInpainting(x, known) if method == "clamp" else ReplaceInpainting(x, known)
        drawn = self.sample(
            len(first(control.x)),
            num_steps,
            condition=condition,
            valid=valid,
            known=known if method == "clamp" else None,
            controls=[control],
            sampler=sampler,
            generator=generator,
        )
        return control.choose(drawn, generator) if isinstance(control, ParticleInpainting) else drawn

    def _shape(self, count: int) -> Shape:
        shape = self.network.shape
        if isinstance(shape, dict):
            return {name: (count, *sizes) for name, sizes in shape.items()}
        return (count, *shape)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode for a while."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _each_evaluating(network: nn.Module, steps: Iterator[GenerationStep]) -> Iterator[GenerationStep]:
    """The steps, each made with the network in evaluation mode."""
    while True:
        with _evaluating(network):
            step = next(steps, None)
        if step is None:
            return
        yield step
