"""Networks with what they are shown besides the beliefs."""

import copy
from typing import Any

from torch import Tensor

from graves_bfn.flows.arrays import Data, rows
from graves_bfn.flows.base import Flow
from graves_bfn.flows.losses import Network
from graves_bfn.guidance.control import share


class ConditionedNetwork:
    """A network together with what it is shown in every call.

    Args:
        network: takes the keywords that are given here.
        condition: labels or vectors, `(batch, ...)`.
        valid: booleans like the data, False for padding.
        known: booleans like the data, True for what is given.

    Example:
        >>> import torch
        >>> network = lambda inputs, t, condition: inputs + condition[:, None]
        >>> shifted = ConditionedNetwork(network, condition=torch.tensor([1.0, 2.0]))
        >>> shifted(torch.zeros(2, 1), torch.zeros(2)).flatten()
        tensor([1., 2.])
    """

    def __init__(
        self,
        network: Network,
        condition: Tensor | None = None,
        valid: Data | None = None,
        known: Data | None = None,
    ) -> None:
        self.network = network
        given = {"condition": condition, "valid": valid, "known": known}
        self.given: dict[str, Any] = {name: value for name, value in given.items() if value is not None}

    def __call__(self, inputs: Any, t: Tensor, estimate: Any = None) -> Any:
        """Calls the network with all that is given."""
        recalled = {} if estimate is None else {"estimate": estimate}
        return self.network(inputs, t, **self.given, **recalled)

    def rows(self, part: slice) -> Any:
        """The same for some of the examples."""
        some = copy.copy(self)
        some.network, some.given = share(self.network, part), rows(self.given, part)
        return some


class ClassifierFreeGuidance:
    """Exaggerates what the condition changes in the outputs of a network that was trained with and without.

    The outputs become u + scale (c - u), with u those without the condition and c those with it: logits of
    classes, or the estimated noise. It acts on the outputs and not on the beliefs, because guidance changes
    what is expected of the data, and the beliefs follow by Bayes' rule.

    Args:
        flow: the data type.
        network: takes the keyword `condition`, which may be missing; trained with `dropout` of the condition.
        condition: labels or vectors, `(batch, ...)`.
        scale: 0 ignores the condition, 1 follows it, more exaggerates.
        rescale: how far to bring the guided outputs back to the standard deviation that they have under the
            condition, per example, in [0, 1]; for continuous and discretised data.
        valid: booleans like the data, False for padding.
        known: booleans like the data, True for what is given.

    Raises:
        ValueError: when an argument is out of range.

    Source: Ho and Salimans 2022; rescaling: Lin et al. 2024.

    Example:
        >>> import torch
        >>> from graves_bfn import DiscreteFlow
        >>> network = lambda theta, t, condition=None: theta * (0 if condition is None else 1)
        >>> guided = ClassifierFreeGuidance(DiscreteFlow(3, 1.0), network, torch.tensor([0]), scale=2.0)
        >>> guided(torch.ones(1, 1, 3), torch.zeros(1))
        tensor([[[2., 2., 2.]]])
    """

    def __init__(
        self,
        flow: Flow,
        network: Network,
        condition: Tensor,
        scale: float,
        rescale: float = 0.0,
        valid: Data | None = None,
        known: Data | None = None,
    ) -> None:
        if scale < 0:
            raise ValueError(f"scale must be at least 0, not {scale}")
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must lie in [0, 1], not {rescale}")
        self.flow = flow
        self.scale = scale
        self.rescale = rescale
        self.conditional = ConditionedNetwork(network, condition, valid, known)
        self.unconditional = ConditionedNetwork(network, None, valid, known)

    def __call__(self, inputs: Any, t: Tensor, estimate: Any = None) -> Any:
        """Calls the network twice, or once where the other call would not count."""
        if self.scale == 0:
            return self.unconditional(inputs, t, estimate)
        c = self.conditional(inputs, t, estimate)
        if self.scale == 1:
            return c
        return self.flow.guide(self.unconditional(inputs, t, estimate), c, self.scale, self.rescale)

    def rows(self, part: slice) -> Any:
        """The same for some of the examples."""
        some = copy.copy(self)
        some.conditional, some.unconditional = self.conditional.rows(part), self.unconditional.rows(part)
        return some
