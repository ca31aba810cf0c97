"""What every flow shares: the loop that trains on messages and the loop that generates with them."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, overload

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from graves_core.spec import Spec

Real = TypeVar("Real", float, Tensor)
Params: TypeAlias = Any
"""Beliefs about the data: whatever the flow at hand keeps them in."""

Network = Callable[[Tensor, Tensor], Tensor]
"""Maps network inputs and times `(batch,)` to outputs `(batch, *variables, outputs_per_variable)`."""


class OutputDistribution(Protocol):
    """What the network believes the data to be, one independent distribution per variable (p_O)."""

    @property
    def mean(self) -> Tensor:
        """The expected data; for classes the probabilities, with one more axis."""

    @property
    def mode(self) -> Tensor:
        """The most probable data, shape `(batch, *variables)`."""

    def sample(self, noise: Tensor) -> Tensor:
        """Data drawn with the given random numbers; each distribution says which numbers it wants."""


class GenerationStep(NamedTuple):
    """One moment of a generation: the time, the beliefs then, and what the network made of them."""

    time: float
    params: Params
    output: OutputDistribution


class Estimate(NamedTuple):
    """What the network expected at a time: `OutputDistribution.mean`."""

    time: float
    mean: Tensor


class Flow(Spec, ABC):
    """A data type: how its variables are sent with noise, believed in, and scored.

    Shapes: data `x` is `(batch, *variables)`. Times are `(batch,)`, in [0, 1]; 0 is the prior, 1 nearly
    clean. Losses are `(batch,)`, in nats, summed over the variables of an example.

    Example:
        >>> from graves_bfn import ContinuousFlow
        >>> flow: Flow = ContinuousFlow(sigma_1=0.5)
        >>> beliefs = flow.prior((1, 2))
        >>> flow.update(beliefs, torch.tensor([[1.0, -1.0]]), alpha=3.0).mean
        tensor([[ 0.7500, -0.7500]])
    """

    @property
    @abstractmethod
    def outputs_per_variable(self) -> int:
        """How many numbers the network gives for each variable."""

    @property
    @abstractmethod
    def inputs_per_variable(self) -> int:
        """How many numbers the network is given for each variable."""

    @abstractmethod
    def beta(self, t: Real) -> Real:
        """The accuracy of all messages up to time t together."""

    @abstractmethod
    def beta_rate(self, t: Real) -> Real:
        """The derivative of `beta` in t."""

    def alpha(self, i: Real, n: int) -> Real:
        """The accuracy of message i of n (i counts from 1)."""
        return self.beta(i / n) - self.beta((i - 1) / n)

    @abstractmethod
    def prior(self, shape: tuple[int, ...], *, device: torch.device | str | None = None) -> Params:
        """The beliefs before any message, for data of this shape (batch first)."""

    @abstractmethod
    def send(
        self,
        x: Tensor,
        alpha: float | Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The sender's noisy message about x at accuracy alpha (a number or one per example)."""

    @abstractmethod
    def update(self, params: Params, y: Tensor, alpha: float | Tensor) -> Params:
        """Bayes' rule: the beliefs after message y of accuracy alpha (a number or one per example)."""

    @abstractmethod
    def sample_params(
        self,
        x: Tensor,
        t: Float[Tensor, " batch"],
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Params:
        """Draws the beliefs that messages about x have led to at time t (the flow distribution p_F)."""

    @abstractmethod
    def network_inputs(self, params: Params) -> Tensor:
        """What the network sees of the beliefs, without scaling: that is the network's own affair."""

    @abstractmethod
    def expectation(self, params: Params) -> Tensor:
        """The data that the beliefs themselves expect, `(batch, *variables)`, for people to look at."""

    @abstractmethod
    def output_distribution(
        self, outputs: Tensor, params: Params, t: Float[Tensor, " batch"]
    ) -> OutputDistribution:
        """What the network's outputs say about the data, given the beliefs and times it was shown."""

    @abstractmethod
    def output_noise(
        self,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Random numbers of the kind that this flow's output distribution draws its data with."""

    @abstractmethod
    def message_noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the normal noise in one message about data of this shape."""

    @abstractmethod
    def uninformed(self, noise: Tensor, t: float) -> Params:
        """Beliefs at time t after messages about nothing; where fast samplers start.

        Args:
            noise: standard normal numbers, `message_noise_shape` of the data's shape.
            t: the time.
        """

    @abstractmethod
    def solve(
        self, params: Params, now: Estimate, before: Estimate | None, t: float, noise: Tensor | None
    ) -> Params:
        """Beliefs at time t by one step of a fast sampler; see `solver_steps`.

        Args:
            params: beliefs at the time of `now`.
            now: the estimate made from them.
            before: the estimate of the step before, for a step of second order.
            t: the time to go to.
            noise: as in `uninformed`; None for the ordinary differential equation.
        """

    @abstractmethod
    def _squared_error(self, x: Tensor, output: Any) -> Tensor:
        """Per variable: the squared distance between the data and what the network expects."""

    @abstractmethod
    def _message_cost(
        self,
        x: Tensor,
        output: Any,
        alpha: Float[Tensor, " batch"],
        sender_noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Per variable: KL of the sender from the receiver distribution for one message, in nats."""

    @abstractmethod
    def _clean_cost(self, x: Tensor, output: Any) -> Tensor:
        """Per variable: -ln p_O(x), the price of the data once all messages have arrived, in nats."""

    def predict(self, network: Network, params: Params, t: Float[Tensor, " batch"]) -> OutputDistribution:
        """Runs the network on the beliefs and reads its outputs as a distribution over the data."""
        return self.output_distribution(network(self.network_inputs(params), t), params, t)

    def continuous_time_loss(
        self,
        network: Network,
        x: Shaped[Tensor, "batch *variables"],
        *,
        t: Float[Tensor, " batch"] | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_infinity: the price of infinitely many messages, estimated at one time per example, in nats.

        Args:
            network: see `Network`.
            x: the data.
            t: the times to estimate at; drawn uniformly when not given.
            noise: standard normal numbers of the flow distribution, as in `sample_params`.
            generator: the source of what is not given.

        Source: Graves et al. 2023; beta'(t)/2 times the squared error, for any schedule.
        """
        if t is None:
            t = torch.rand(x.shape[0], generator=generator, device=x.device)
        with torch.no_grad():
            params = self.sample_params(x, t, noise=noise, generator=generator)
        output = self.predict(network, params, t)
        return 0.5 * self.beta_rate(t) * _per_example(self._squared_error(x, output))

    def discrete_time_loss(
        self,
        network: Network,
        x: Shaped[Tensor, "batch *variables"],
        num_steps: int,
        *,
        step: Int[Tensor, " batch"] | None = None,
        noise: Tensor | None = None,
        sender_noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_n: the price of n messages, estimated from one message per example, in nats.

        Args:
            network: see `Network`.
            x: the data.
            num_steps: n, the number of messages.
            step: which message (1 to n) each example is scored on; drawn uniformly when not given.
            noise: standard normal numbers of the flow distribution, as in `sample_params`.
            sender_noise: standard normal numbers of the messages, with an axis of Monte-Carlo samples
                in front; flows that integrate over the message in closed form draw none by themselves.
            generator: the source of what is not given.

        Raises:
            ValueError: when `num_steps` is not positive.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, not {num_steps}")
        if step is None:
            step = torch.randint(1, num_steps + 1, x.shape[:1], generator=generator, device=x.device)
        t = (step - 1) / num_steps
        alpha = self.alpha(step, num_steps)
        with torch.no_grad():
            params = self.sample_params(x, t, noise=noise, generator=generator)
        output = self.predict(network, params, t)
        return num_steps * _per_example(self._message_cost(x, output, alpha, sender_noise, generator))

    def reconstruction_loss(
        self,
        network: Network,
        x: Shaped[Tensor, "batch *variables"],
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_r: the price of the clean data after the last message, -ln p_O(x) at t = 1, in nats."""
        t = torch.ones(x.shape[0], device=x.device)
        with torch.no_grad():
            params = self.sample_params(x, t, noise=noise, generator=generator)
        return _per_example(self._clean_cost(x, self.predict(network, params, t)))

    def generate(
        self,
        network: Network,
        shape: tuple[int, ...],
        num_steps: int,
        *,
        noise: Tensor | None = None,
        output_noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[GenerationStep]:
        """Lets the receiver talk to itself, showing every step: `num_steps` messages, one more network call.

        Args:
            network: see `Network`.
            shape: the shape of the data to make, batch first.
            num_steps: how many messages.
            noise: normal noise of the messages, `(num_steps, *message_noise_shape(shape))`.
            output_noise: numbers to draw the data with, `(num_steps, *shape)`, as `output_noise` makes them.
            generator: the source of what is not given.
            device: where to work.

        Raises:
            ValueError: when `num_steps` is not positive.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, not {num_steps}")
        params = self.prior(shape, device=device)
        t = torch.empty(shape[0], device=device)
        for i in range(1, num_steps + 1):
            output = self.predict(network, params, t.fill_((i - 1) / num_steps))
            yield GenerationStep((i - 1) / num_steps, params, output)
            draw = (
                self.output_noise(shape, generator=generator, device=device)
                if output_noise is None
                else output_noise[i - 1]
            )
            alpha = self.alpha(float(i), num_steps)
            message_noise = None if noise is None else noise[i - 1]
            y = self.send(output.sample(draw), alpha, noise=message_noise, generator=generator)
            params = self.update(params, y, alpha)
        yield GenerationStep(1.0, params, self.predict(network, params, t.fill_(1.0)))

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        shape: tuple[int, ...],
        num_steps: int,
        *,
        noise: Tensor | None = None,
        output_noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draws data of the given shape; arguments as in `generate`. Returns the mode of the last output."""
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


def _per_example(values: Float[Tensor, "batch *variables"]) -> Float[Tensor, " batch"]:
    return values.flatten(1).sum(1)


@overload
def over_variables(values: Tensor, like: Tensor) -> Tensor: ...


@overload
def over_variables(values: float | Tensor, like: Tensor) -> float | Tensor: ...


def over_variables(values: float | Tensor, like: Tensor) -> float | Tensor:
    """Gives one value per example the trailing axes that it needs to broadcast over `like`."""
    if isinstance(values, Tensor) and values.ndim == 1:
        return values.reshape(-1, *[1] * (like.ndim - 1))
    return values


def full_precision(outputs: Tensor) -> Tensor:
    """Network outputs as float32 at least: under autocast they come in half precision."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def normal_noise(
    shape: tuple[int, ...] | torch.Size,
    noise: Tensor | None,
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """The given noise after a check of its shape, or fresh standard normal numbers.

    Raises:
        ValueError: when the given noise has another shape.
    """
    if noise is None:
        return torch.randn(shape, generator=generator, device=device)
    if noise.shape != torch.Size(shape):
        raise ValueError(f"noise must have shape {tuple(shape)}, not {tuple(noise.shape)}")
    return noise
