"""Where a generation can be steered."""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.flows.losses import Params


@runtime_checkable
class Sliceable(Protocol):
    """Something that holds a row per example and can give a batch its share."""

    def rows(self, part: slice) -> Any:
        """The same for some of the examples."""


def share(holder: Any, part: slice) -> Any:
    """What is left of something for some of the examples; all of it, unless it holds a row for each."""
    return holder.rows(part) if isinstance(holder, Sliceable) else holder


class Control:
    """Corrects what a sampler does; a subclass overrides those methods that it needs.

    Example:
        >>> from graves_bfn import DiscreteFlow, MessageSampler
        >>> class Forbidden(Control):  # class 0 is never drawn
        ...     def expected(self, flow, output):
        ...         logits = output.logits.clone()
        ...         logits[..., 0] = -1e4
        ...         return type(output)(logits)
        >>> network = lambda theta, t: torch.zeros(2, 8, 3)
        >>> x = MessageSampler().sample(DiscreteFlow(3, 1.0), network, (2, 8), 4, controls=[Forbidden()])
        >>> bool((x > 0).all())
        True
    """

    def begun(self) -> None:
        """Called before the first step, for controls that keep something from step to step."""

    def shown(self, flow: Flow, params: Params) -> Params:
        """The beliefs that the network is shown in the place of `params`."""
        return params

    def expected(self, flow: Flow, output: Any) -> Any:
        """The output distribution that takes the place of the network's."""
        return output

    def moved(self, flow: Flow, step: GenerationStep, params: Params, t: float) -> Params:
        """The beliefs at time t that take the place of `params`, which the sampler made of `step`."""
        return params

    def survivors(
        self, flow: Flow, step: GenerationStep, t: float, generator: torch.Generator | None
    ) -> Int[Tensor, " batch"] | None:
        """Which example each place of the batch goes on with after the step to time t; None for its own."""
        return None
