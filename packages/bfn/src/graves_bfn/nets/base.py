"""What every network of a Bayesian flow takes and returns."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from graves_bfn.nets.extra_inputs import ConditionEmbedding, ExtraInputs
from graves_bfn.nets.features import FieldShape, Scaling, VariableFeatures
from graves_core.spec import Spec


class BFNNetworkBase(Spec, nn.Module, ABC):
    """What networks of one tensor (`BFNNetwork`) and of several (`BFNMixedNetwork`) have in common.

    Args:
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Example:
        >>> from graves_bfn import BFNMixedMLP, BFNMLP, FieldShape
        >>> fields = {"a": FieldShape((2,), 1, 1), "b": FieldShape((3,), 5, 5)}
        >>> networks = BFNMLP((2,), 1, 1), BFNMixedMLP(fields)
        >>> [(isinstance(network, BFNNetworkBase), network.variables) for network in networks]
        [(True, 2), (True, 5)]
    """

    shape: tuple[int, ...] | dict[str, tuple[int, ...]]
    inputs_per_variable: int | dict[str, int]
    outputs_per_variable: int | dict[str, int]

    def __init__(self, extra_inputs: ExtraInputs | None = None) -> None:
        super().__init__()
        self.extra_inputs = ExtraInputs() if extra_inputs is None else extra_inputs
        self.embed_condition: ConditionEmbedding | None = None

    @property
    @abstractmethod
    def variables(self) -> int:
        """Number of variables of one example."""

    def add_condition(
        self, time: Float[Tensor, "batch width"], condition: Shaped[Tensor, "batch *size"] | None
    ) -> Float[Tensor, "batch width"]:
        """Adds the embedded condition, or the null vector for None, to the embedded time.

        A subclass sets `embed_condition` to `extra_inputs.embed_condition(width)` first.

        Args:
            time: the embedded time.
            condition: class labels, vectors or None, as in `forward`.

        Raises:
            ValueError: when there is a condition that the network was not built for.
        """
        if self.embed_condition is not None:
            result: Tensor = time + self.embed_condition(condition, len(time))
            return result
        if condition is None:
            return time
        raise ValueError(
            "condition needs a network with extra_inputs=ExtraInputs(condition=...): a ClassCondition for "
            "labels, a VectorCondition for vectors"
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the parameters as an optimizer takes them; a group may overrule `weight_decay`."""
        return [{"params": list(self.parameters())}]


class BFNNetwork(BFNNetworkBase):
    """Base of networks of one tensor: sees the parameters of every variable and the time, speaks of each.

    A subclass calls `super().__init__` with the numbers below and defines `forward`.

    - `inputs` are the raw parameters of the input distribution. Means (continuous and discretised data) come
      as `(batch, *shape)`. Probabilities (discrete data) come as `(batch, *shape, inputs_per_variable)`:
      all K classes, or for K = 2 the probability of class 0 alone. `features` brings both, and what else is
      known of each variable, into one form.
    - `t` is one time in [0, 1] per example.
    - The output is `(batch, *shape, outputs_per_variable)`: one noise estimate (continuous), mean and
      log-deviation of the noise (discretised), K logits (discrete), or for K = 2 the logit of class 1 alone.
      Under autocast it may come in half precision: whoever computes a loss from it casts it up.

    Args:
        shape: shape of one example; images are (height, width, channels).
        inputs_per_variable: 1 for means and for K = 2, else K.
        outputs_per_variable: 1, 2 or K as above.
        extra_inputs: what the network is told beside `inputs` and `t`; nothing by default.

    Raises:
        ValueError: when a number is below 1 or `shape` is empty.

    Example:
        >>> import torch
        >>> class Affine(BFNNetwork):
        ...     def __init__(self, length: int, extra_inputs: ExtraInputs | None = None) -> None:
        ...         super().__init__((length,), 1, 2, extra_inputs)
        ...         self.layer = nn.Linear(self.features_per_variable, 2)
        ...         self.embed_time = nn.Linear(1, 2)
        ...         self.embed_condition = self.extra_inputs.embed_condition(width=2)
        ...
        ...     def forward(self, inputs, t, *, condition=None, valid=None, known=None, estimate=None):
        ...         x = self.features(inputs, valid=valid, known=known, estimate=estimate)
        ...         time = self.add_condition(self.embed_time(t[:, None]), condition)
        ...         return self.layer(x) + time[:, None]
        >>> net = Affine(length=3, extra_inputs=ExtraInputs(known=True))
        >>> net(torch.randn(5, 3), torch.rand(5), known=torch.rand(5, 3) < 0.5).shape
        torch.Size([5, 3, 2])
    """

    shape: tuple[int, ...]
    inputs_per_variable: int
    outputs_per_variable: int
    scaling: ClassVar[Scaling] = "range"

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs_per_variable: int,
        outputs_per_variable: int,
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        super().__init__(extra_inputs)
        field = FieldShape(shape, inputs_per_variable, outputs_per_variable)
        self.shape = field.shape
        self.inputs_per_variable = inputs_per_variable
        self.outputs_per_variable = outputs_per_variable
        self.variable_features = VariableFeatures(field, self.extra_inputs, scaling=self.scaling)

    @property
    def variables(self) -> int:
        """Number of variables of one example."""
        return math.prod(self.shape)

    @property
    def features_per_variable(self) -> int:
        """Length of the last axis of `features`: what the first layer of a network sees of each variable."""
        return self.variable_features.per_variable

    @abstractmethod
    def forward(
        self,
        inputs: Float[Tensor, "batch *variables"],
        t: Float[Tensor, " batch"],
        *,
        condition: Shaped[Tensor, "batch *size"] | None = None,
        valid: Bool[Tensor, "batch *places"] | None = None,
        known: Bool[Tensor, "batch *places"] | None = None,
        estimate: Float[Tensor, "batch *estimated"] | None = None,
    ) -> Float[Tensor, "batch *outputs"]:
        """Computes the parameters of the output distribution.

        All but `inputs`, `t` and `valid` need a network whose `extra_inputs` name them.

        Args:
            inputs: `(batch, *shape)` means or `(batch, *shape, inputs_per_variable)` probabilities.
            t: one time in [0, 1] per example.
            condition: class labels `(batch,)` or vectors `(batch, size)`; None for no condition.
            valid: `(batch, *shape)`, False for padding. What stands there does not change the outputs of
                other variables.
            known: `(batch, *shape)`, True for variables whose data are given; None for none of them.
            estimate: what the network expected of the data in an earlier call, in the form of `inputs`; None
                for no earlier call.

        Returns:
            `(batch, *shape, outputs_per_variable)`.
        """

    def features(
        self,
        inputs: Float[Tensor, "batch *variables"],
        *,
        valid: Bool[Tensor, "batch *places"] | None = None,
        known: Bool[Tensor, "batch *places"] | None = None,
        estimate: Float[Tensor, "batch *estimated"] | None = None,
    ) -> Float[Tensor, "batch *shape {self.features_per_variable}"]:
        """Gives every variable a last axis of features around zero: the mean itself or 2 p - 1, then extras.

        A class whose `scaling` is not "range" gets another line in p, see `VariableFeatures`.

        Args:
            inputs: as in `forward`, like all other arguments.
            valid: False for padding, whose features are zero.
            known: becomes one feature, if the network is built for it.
            estimate: becomes as many features as `inputs`, if the network is built for it.

        Raises:
            ValueError: when a tensor has a wrong shape or the network was not built for it.
        """
        return self.variable_features(inputs, valid=valid, known=known, estimate=estimate)
