"""The variables of one tensor, and what a network is told about each of them as features around zero."""

import math
from collections.abc import Sequence
from typing import Literal, NoReturn

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_bfn.nets.checks import check_positive
from graves_bfn.nets.extra_inputs import ExtraInputs
from graves_core.spec import Spec

Scaling = Literal["range", "prior", "variance"]
OPTIONS = {"known": "known", "estimate": "self_conditioning"}


class FieldShape(Spec):
    """How many variables a tensor of data has, and how many numbers a network sees and says of each.

    Args:
        shape: shape of the data of one example.
        inputs_per_variable: 1 for means and for two classes, else the number of classes.
        outputs_per_variable: 1 (continuous, two classes), 2 (discretised) or the number of classes.

    Raises:
        ValueError: when a number is below 1 or `shape` is empty.

    Example:
        >>> FieldShape((12, 3), inputs_per_variable=1, outputs_per_variable=1).variables
        36
    """

    def __init__(self, shape: tuple[int, ...], inputs_per_variable: int, outputs_per_variable: int) -> None:
        if not shape or min(shape) < 1:
            raise ValueError(f"shape must hold at least one number, all of them positive, got {tuple(shape)}")
        check_positive("inputs_per_variable", inputs_per_variable)
        check_positive("outputs_per_variable", outputs_per_variable)
        self.shape = tuple(shape)
        self.inputs_per_variable = inputs_per_variable
        self.outputs_per_variable = outputs_per_variable

    @property
    def variables(self) -> int:
        """Number of variables of one example."""
        return math.prod(self.shape)


class VariableFeatures:
    """Brings all that a network is told about the variables of one tensor into one last axis around zero.

    The features are, in this order, those of the inputs, those of the estimate, and 1 for known variables and
    0 for others, as far as the network was built for them. What is not given is zero, and so are all features
    of padding.

    Args:
        field: the variables.
        extra_inputs: what the network is told beside the inputs.
        name: name of the tensor in error messages, where there are several.
        scaling: how probabilities of K classes enter. "range": as 2 p - 1, in [-1, 1]. "prior": as K p - 1,
            which near 1 / K does not shrink as K grows. "variance": as (K p - 1) / sqrt(K), which for a known
            class has a variance of 1 - 1 / K, as loud as a mean whatever K is. All agree for two classes that
            enter as one probability.
    """

    def __init__(
        self,
        field: FieldShape,
        extra_inputs: ExtraInputs,
        name: str | None = None,
        scaling: Scaling = "range",
    ) -> None:
        self.field = field
        self.extra_inputs = extra_inputs
        self.suffix = "" if name is None else f"[{name!r}]"
        self.slope, self.offset = _line(scaling, field.inputs_per_variable)

    @property
    def per_variable(self) -> int:
        """Number of features of each variable."""
        extra = self.extra_inputs
        return self.field.inputs_per_variable * (2 if extra.self_conditioning else 1) + int(extra.known)

    def __call__(
        self,
        inputs: Float[Tensor, "batch *variables"],
        *,
        valid: Bool[Tensor, "batch *places"] | None = None,
        known: Bool[Tensor, "batch *places"] | None = None,
        estimate: Float[Tensor, "batch *estimated"] | None = None,
    ) -> Float[Tensor, "batch *shape {self.per_variable}"]:
        """Computes the features; arguments as in `BFNNetwork.forward`.

        Raises:
            ValueError: when a tensor has a wrong shape or the network was not built for it.
        """
        extra, places = self.extra_inputs, (len(inputs), *self.field.shape)
        self._check_inputs(inputs)
        self._check("valid", valid, places)
        self._check("known", known, places, built_for=extra.known)
        self._check("estimate", estimate, inputs.shape, built_for=extra.self_conditioning)
        parts = [self._centred(inputs)]
        if extra.self_conditioning:
            parts.append(torch.zeros_like(parts[0]) if estimate is None else self._centred(estimate))
        if extra.known:
            told = torch.zeros_like(parts[0][..., 0]) if known is None else known.to(parts[0].dtype)
            parts.append(told.unsqueeze(-1))
        features = torch.cat(parts, dim=-1)
        return features if valid is None else features.masked_fill(~valid.unsqueeze(-1), 0.0)

    def _centred(self, values: Float[Tensor, "batch *variables"]) -> Float[Tensor, "batch *features"]:
        if values.ndim == len(self.field.shape) + 1:
            return values.unsqueeze(-1)
        return self.slope * values - self.offset

    def _check_inputs(self, inputs: Tensor) -> None:
        shape, per_variable, given = self.field.shape, self.field.inputs_per_variable, tuple(inputs.shape[1:])
        if given == (*shape, per_variable) or (given == shape and per_variable == 1):
            return
        expected = f"(batch, *{(*shape, per_variable)}) for probabilities"
        if per_variable == 1:
            expected += f" or (batch, *{shape}) for means"
        self._refuse("inputs", f"must have the shape {expected}, got {tuple(inputs.shape)}")

    def _check(self, name: str, value: Tensor | None, shape: Sequence[int], built_for: bool = True) -> None:
        if value is None:
            return
        if not built_for:
            self._refuse(name, f"needs a network with extra_inputs=ExtraInputs({OPTIONS[name]}=True)")
        if value.shape != tuple(shape):
            self._refuse(name, f"must have the shape {tuple(shape)}, got {tuple(value.shape)}")

    def _refuse(self, argument: str, reason: str) -> NoReturn:
        raise ValueError(f"{argument}{self.suffix} {reason}")


def _line(scaling: Scaling, inputs_per_variable: int) -> tuple[float, float]:
    """The `(slope, offset)` of the feature `slope * p - offset`."""
    if scaling == "range" or inputs_per_variable == 1:
        return 2.0, 1.0
    size = math.sqrt(inputs_per_variable) if scaling == "variance" else 1.0
    return inputs_per_variable / size, 1.0 / size
