"""Data of one kind on one schedule: what continuous, discretised and discrete flows share."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bfn.flows.arrays import Real, per_example, real_dtype, weighted_sum
from graves_bfn.flows.base import Flow
from graves_bfn.flows.losses import Params
from graves_bfn.flows.outputs import OutputDistribution, Revealed
from graves_bfn.flows.schedules import Schedule


class SingleFlow(Flow):
    """A flow whose data are one tensor of one kind of variable; the base class for flows of your own.

    Accuracies are a number, one per example `(batch,)`, or with a schedule per variable
    `(batch, last axis)`.

    Args:
        schedule: the accuracy of all messages together as a function of time.

    Raises:
        ValueError: when the schedule does not start at 0, does not increase, or is not finite.

    Example:
        >>> from graves_bfn import ContinuousFlow
        >>> flow: SingleFlow = ContinuousFlow(sigma_1=0.5)
        >>> [round(flow.alpha(i, 2), 6) for i in (1, 2)]
        [1.0, 2.0]
    """

    def __init__(self, schedule: Schedule) -> None:
        schedule.check()
        self.schedule = schedule

    def beta(self, t: Real) -> Real:
        """The accuracy of all messages up to time t together."""
        value: Real = self._at(self.schedule.beta, t)
        return value

    def beta_rate(self, t: Real) -> Real:
        """The derivative of `beta` in t."""
        value: Real = self._at(self.schedule.beta_rate, t)
        return value

    def alpha(self, i: Real, n: int) -> Real:
        """The accuracy of message i of n (i counts from 1): beta(i/n) - beta((i-1)/n)."""
        return self.beta(i / n) - self.beta((i - 1) / n)

    def _at(self, function: Callable[[Tensor], Tensor], t: Any) -> Any:
        """The schedule at a tensor of times; at a number a number, or float64 `(1, last axis)`."""
        if isinstance(t, Tensor):
            return function(t)
        value = function(torch.tensor([t], dtype=torch.float64))
        return float(value) if value.ndim == 1 else value

    def message_noise(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Standard normal numbers for one message about data of this shape."""
        sizes = self.message_noise_shape(shape)
        return torch.randn(sizes, generator=generator, device=device, dtype=real_dtype())

    def receive(self, params: Params, x: Any, s: float, t: float, noise: Any) -> Params:
        """The beliefs at time t after the messages about x that arrive from time s on."""
        alpha = self.beta(t) - self.beta(s)
        return self.update(params, self.send(x, alpha, noise=noise), alpha)

    def revealed_output(self, output: Any, x: Any, known: Any) -> OutputDistribution:
        """What the network says, corrected where the data are known."""
        return Revealed(output, x, self.point_mean(x), known)

    def guide(self, unconditional: Any, conditional: Any, scale: float, rescale: float = 0.0) -> Any:
        """u + scale (c - u)."""
        return torch.lerp(unconditional, conditional, scale)

    @abstractmethod
    def _squared_error(self, x: Any, output: Any) -> Tensor:
        """Per variable: the squared distance between the data and what the network expects."""

    @abstractmethod
    def _message_cost(
        self,
        x: Any,
        output: Any,
        alpha: Tensor,
        sender_noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Per variable: KL of the sender from the receiver distribution for one message, in nats."""

    @abstractmethod
    def _clean_cost(self, x: Any, output: Any) -> Tensor:
        """Per variable: -ln p_O(x), the price of the data once all messages have arrived, in nats."""

    def expected_cost(self, x: Any, output: Any, s: float, t: float, where: Any) -> Tensor:
        """Per example: what messages from time s to t about x cost by the network's expectation, in nats."""
        error = self._squared_error(x, output)
        alpha = self.schedule.beta(torch.tensor([s, t], dtype=torch.float64)).diff(dim=0)
        return weighted_sum(alpha.to(error, non_blocking=True), error, where) / 2

    def continuous_cost(self, x: Any, output: Any, t: Tensor, where: Any) -> Float[Tensor, " batch"]:
        """Per example: beta'(t)/2 times the squared error, summed over the variables that count."""
        return weighted_sum(self.schedule.beta_rate(t), self._squared_error(x, output), where) / 2

    def message_cost(
        self,
        x: Any,
        output: Any,
        accuracies: Callable[[Schedule], Tensor],
        where: Any,
        sender_noise: Any,
        generator: torch.Generator | None,
    ) -> Float[Tensor, " batch"]:
        """Per example: the price of one message, whose accuracy is looked up in this flow's schedule."""
        costs = self._message_cost(x, output, accuracies(self.schedule), sender_noise, generator)
        return per_example(costs, where)

    def clean_cost(self, x: Any, output: Any, where: Any) -> Float[Tensor, " batch"]:
        """Per example: the price of the clean data, summed over the variables that count."""
        return per_example(self._clean_cost(x, output), where)
