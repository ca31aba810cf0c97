"""What data cost: the three losses of every flow, from what a flow says of one variable."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_bfn.flows.arrays import Data, counted, first, real_dtype
from graves_bfn.flows.schedules import Schedule
from graves_bfn.flows.times import TimeGrid, UniformGrid

Params: TypeAlias = Any
"""Beliefs about the data: whatever the flow at hand keeps them in."""

EVEN_STEPS = UniformGrid()
"""Made once, because the compiler cannot follow how a `Spec` remembers its arguments."""

Network = Callable[..., Any]
"""Maps network inputs and times `(batch,)` to outputs `(batch, *variables, outputs_per_variable)`.

One that is trained with self-conditioning takes the keyword `estimate` as well.
"""


class Priced(ABC):
    """The part of a flow that computes losses: `(batch,)`, in nats, summed over an example's variables."""

    @abstractmethod
    def sample_params(
        self,
        x: Any,
        t: Float[Tensor, " batch"],
        *,
        noise: Any = None,
        generator: torch.Generator | None = None,
    ) -> Params:
        """Draws the beliefs that messages about x have led to at time t (the flow distribution p_F)."""

    @abstractmethod
    def reveal(self, params: Params, x: Any, known: Any) -> Params:
        """The beliefs of somebody who has been told the data where `known` says so."""

    @abstractmethod
    def revealed_output(self, output: Any, x: Any, known: Any) -> Any:
        """What the network says, corrected where the data are known."""

    @abstractmethod
    def estimate_inputs(self, output: Any) -> Any:
        """What the network expects of the data, in the form of `network_inputs`, for self-conditioning."""

    @abstractmethod
    def predict(
        self, network: Network, params: Params, t: Float[Tensor, " batch"], estimate: Any = None
    ) -> Any:
        """Runs the network on the beliefs and reads its outputs as a distribution over the data."""

    @abstractmethod
    def expected_cost(self, x: Any, output: Any, s: float, t: float, where: Any) -> Float[Tensor, " batch"]:
        """Per example: what messages from time s to t about x cost by the network's expectation, in nats."""

    @abstractmethod
    def continuous_cost(self, x: Any, output: Any, t: Tensor, where: Any) -> Float[Tensor, " batch"]:
        """Per example: beta'(t)/2 times the squared error, summed over the variables that count."""

    @abstractmethod
    def message_cost(
        self,
        x: Any,
        output: Any,
        accuracies: Callable[[Schedule], Tensor],
        where: Any,
        sender_noise: Any,
        generator: torch.Generator | None,
    ) -> Float[Tensor, " batch"]:
        """Per example: the price of one message, whose accuracy is looked up in a flow's schedule."""

    @abstractmethod
    def clean_cost(self, x: Any, output: Any, where: Any) -> Float[Tensor, " batch"]:
        """Per example: the price of the clean data, summed over the variables that count."""

    def _predict_at(
        self,
        network: Network,
        x: Any,
        t: Tensor,
        noise: Any,
        known: Any,
        self_conditioning: bool,
        generator: torch.Generator | None,
    ) -> Any:
        """The output distribution from beliefs that messages about x might have led to at time t."""
        estimate = None
        with torch.no_grad():
            params = self.sample_params(x, t, noise=noise, generator=generator)
            if known is not None:
                params = self.reveal(params, x, known)
            if self_conditioning:
                output = self.predict(network, params, t)
                output = output if known is None else self.revealed_output(output, x, known)
                estimate = self.estimate_inputs(output)
        return self.predict(network, params, t, estimate)

    def continuous_time_loss(
        self,
        network: Network,
        x: Data,
        *,
        t: Float[Tensor, " batch"] | None = None,
        noise: Any = None,
        valid: Data | None = None,
        known: Data | None = None,
        self_conditioning: bool = False,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_infinity: the price of infinitely many messages, estimated at one time per example, in nats.

        Args:
            network: see `Network`.
            x: the data.
            t: the times to estimate at; drawn uniformly when not given.
            noise: standard normal numbers of the flow distribution, as in `sample_params`.
            valid: booleans like x, False for padding, which costs nothing.
            known: booleans like x, True for what the network is told and is not charged for; the rest is
                then a bound on its conditional likelihood.
            self_conditioning: show the network what it expects at first, and score what it expects then.
            generator: the source of what is not given.

        Source: Graves et al. 2023; beta'(t)/2 times the squared error, for any schedule.
        """
        one = first(x)
        if t is None:
            kind = real_dtype(one.dtype)
            t = torch.rand(one.shape[0], generator=generator, device=one.device, dtype=kind)
        output = self._predict_at(network, x, t, noise, known, self_conditioning, generator)
        return self.continuous_cost(x, output, t, counted(valid, known))

    def discrete_time_loss(
        self,
        network: Network,
        x: Data,
        num_steps: int,
        *,
        grid: TimeGrid | None = None,
        step: Int[Tensor, " batch"] | None = None,
        noise: Any = None,
        sender_noise: Any = None,
        valid: Data | None = None,
        known: Data | None = None,
        self_conditioning: bool = False,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_n: the price of n messages, estimated from one message per example, in nats.

        Args:
            network: see `Network`.
            x: the data.
            num_steps: n, the number of messages.
            grid: when the messages end; evenly spaced when not given.
            step: which message (1 to n) each example is scored on; drawn uniformly when not given.
            noise: standard normal numbers of the flow distribution, as in `sample_params`.
            sender_noise: standard normal numbers of the messages, with an axis of Monte-Carlo samples
                in front; flows that integrate over the message in closed form draw none by themselves.
            valid: as in `continuous_time_loss`.
            known: as in `continuous_time_loss`.
            self_conditioning: as in `continuous_time_loss`.
            generator: the source of what is not given.

        Raises:
            ValueError: when `num_steps` is not positive.
        """
        one = first(x)
        times = torch.tensor((grid or EVEN_STEPS).fractions(num_steps), dtype=torch.float64)
        if step is None:
            step = torch.randint(1, num_steps + 1, one.shape[:1], generator=generator, device=one.device)
        kind = real_dtype(one.dtype)

        def look_up(table: Tensor) -> Tensor:
            return table.to(one.device, kind, non_blocking=True)[step - 1]

        t = look_up(times[:-1])
        output = self._predict_at(network, x, t, noise, known, self_conditioning, generator)
        cost = self.message_cost(
            x,
            output,
            lambda schedule: look_up(schedule.beta(times).diff(dim=0)),
            counted(valid, known),
            sender_noise,
            generator,
        )
        return num_steps * cost

    def reconstruction_loss(
        self,
        network: Network,
        x: Data,
        *,
        noise: Any = None,
        valid: Data | None = None,
        known: Data | None = None,
        self_conditioning: bool = False,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """L_r: the price of the clean data after the last message, -ln p_O(x) at t = 1, in nats.

        Args:
            network: see `Network`.
            x: the data.
            noise: standard normal numbers of the flow distribution, as in `sample_params`.
            valid: as in `continuous_time_loss`.
            known: as in `continuous_time_loss`.
            self_conditioning: as in `continuous_time_loss`.
            generator: the source of what is not given.
        """
        one = first(x)
        t = torch.ones(one.shape[0], device=one.device, dtype=real_dtype(one.dtype))
        output = self._predict_at(network, x, t, noise, known, self_conditioning, generator)
        return self.clean_cost(x, output, counted(valid, known))
