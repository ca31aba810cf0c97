"""What every flow is: messages, beliefs, and what samplers ask of them."""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bfn.flows.arrays import Shape
from graves_bfn.flows.losses import Network, Params, Priced
from graves_bfn.flows.outputs import OutputDistribution
from graves_core.spec import Spec


class GenerationStep(NamedTuple):
    """One moment of a generation: the time, the beliefs then, and what the network made of them."""

    time: float
    params: Params
    output: OutputDistribution


class Estimate(NamedTuple):
    """What the network expected at a time: `OutputDistribution.mean`."""

    time: float
    mean: Any


class Flow(Priced, Spec):
    """A data type: how its variables are sent with noise, believed in, and scored.

    Shapes: data `x` is `(batch, *variables)`. Times are `(batch,)`, in [0, 1]; 0 is the prior, 1 nearly
    clean. Accuracies are a number, one per example `(batch,)`, or with a schedule per variable
    `(batch, last axis)`. Losses are `(batch,)`, in nats, summed over the variables of an example.

    Example:
        >>> from graves_bfn import ContinuousFlow
        >>> flow: Flow = ContinuousFlow(sigma_1=0.5)
        >>> beliefs = flow.prior((1, 2))
        >>> flow.update(beliefs, torch.tensor([[1.0, -1.0]]), alpha=3.0).mean
        tensor([[ 0.7500, -0.7500]])
    """

    @property
    @abstractmethod
    def outputs_per_variable(self) -> Any:
        """How many numbers the network gives for each variable."""

    @property
    @abstractmethod
    def inputs_per_variable(self) -> Any:
        """How many numbers the network is given for each variable."""

    @abstractmethod
    def prior(self, shape: Any, *, device: torch.device | str | None = None) -> Params:
        """The beliefs before any message, for data of this shape (batch first)."""

    @abstractmethod
    def send(
        self,
        x: Any,
        alpha: Any,
        *,
        noise: Any = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        """The sender's noisy message about x at accuracy alpha."""

    @abstractmethod
    def update(self, params: Params, y: Any, alpha: Any) -> Params:
        """Bayes' rule: the beliefs after message y of accuracy alpha."""

    @abstractmethod
    def network_inputs(self, params: Params) -> Any:
        """What the network sees of the beliefs, without scaling: that is the network's own affair."""

    @abstractmethod
    def expectation(self, params: Params) -> Any:
        """The data that the beliefs themselves expect, `(batch, *variables)`, for people to look at."""

    @abstractmethod
    def point_mean(self, x: Any) -> Any:
        """Certain data in the form of `OutputDistribution.mean`."""

    @abstractmethod
    def output_distribution(self, outputs: Any, params: Params, t: Float[Tensor, " batch"]) -> Any:
        """What the network's outputs say about the data, given the beliefs and times it was shown."""

    @abstractmethod
    def output_noise(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Random numbers of the kind that this flow's output distribution draws its data with."""

    @abstractmethod
    def message_noise_shape(self, shape: Any) -> Any:
        """The shape of the normal noise in one message about data of this shape."""

    @abstractmethod
    def message_noise(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Standard normal numbers for one message about data of this shape."""

    @abstractmethod
    def receive(self, params: Params, x: Any, s: float, t: float, noise: Any) -> Params:
        """The beliefs at time t after the messages about x that arrive from time s on."""

    @abstractmethod
    def guide(self, unconditional: Any, conditional: Any, scale: float, rescale: float = 0.0) -> Any:
        """Network outputs for classifier-free guidance: u + scale (c - u).

        Args:
            unconditional: u, what the network gives without the condition.
            conditional: c, what it gives with it.
            scale: 0 ignores the condition, 1 follows it, more exaggerates.
            rescale: see `ClassifierFreeGuidance`.

        Raises:
            ValueError: when `rescale` is not 0 and the outputs are logits of classes.
        """

    @abstractmethod
    def beliefs_about(self, mean: Any, t: float, noise: Any) -> Params:
        """Beliefs at time t after messages about data whose expectation is `mean`; of nothing if it is None.

        Args:
            mean: `OutputDistribution.mean`, or None.
            t: the time.
            noise: as `message_noise` makes it.
        """

    @abstractmethod
    def solve(self, params: Params, now: Estimate, before: Estimate | None, t: float, noise: Any) -> Params:
        """Beliefs at time t by one step of a fast sampler; see `solver_steps`.

        Args:
            params: beliefs at the time of `now`.
            now: the estimate made from them.
            before: the estimate of the step before, for a step of second order.
            t: the time to go to.
            noise: as `message_noise` makes it; None for the ordinary differential equation.
        """

    def predict(
        self, network: Network, params: Params, t: Float[Tensor, " batch"], estimate: Any = None
    ) -> Any:
        """Runs the network on the beliefs and reads its outputs as a distribution over the data."""
        inputs = self.network_inputs(params)
        outputs = network(inputs, t) if estimate is None else network(inputs, t, estimate=estimate)
        return self.output_distribution(outputs, params, t)

    @abstractmethod
    def leaves(self, params: Params) -> tuple[Params, list[Tensor]]:
        """The beliefs made anew of tensors that record gradients, and those tensors."""

    @abstractmethod
    def nudge(self, params: Params, gradients: list[Tensor], s: float, t: float) -> Params:
        """Beliefs at time t moved up a gradient: by the variance that the step from s to t adds, times it.

        Args:
            params: beliefs at time t.
            gradients: one for each tensor of `leaves` at time s.
            s: the time before the step.
            t: the time after it.
        """

    def generate(
        self,
        network: Network,
        shape: Shape,
        num_steps: int,
        *,
        noise: Any = None,
        output_noise: Any = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[GenerationStep]:
        """Generates with the paper's sampler; see `MessageSampler.generate`."""
        from graves_bfn.samplers.messages import MessageSampler

        return MessageSampler().generate(
            self,
            network,
            shape,
            num_steps,
            noise=noise,
            output_noise=output_noise,
            generator=generator,
            device=device,
        )

    def sample(
        self,
        network: Network,
        shape: Shape,
        num_steps: int,
        *,
        noise: Any = None,
        output_noise: Any = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Draws data with the paper's sampler, the mode of the last output; arguments as in `generate`."""
        steps = self.generate(
            network,
            shape,
            num_steps,
            noise=noise,
            output_noise=output_noise,
            generator=generator,
            device=device,
        )
        (last,) = deque(steps, maxlen=1)
        return last.output.mode
