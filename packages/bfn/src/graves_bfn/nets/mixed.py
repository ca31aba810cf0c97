"""Networks for data of several named fields, each of its own kind."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from graves_bfn.nets.base import BFNNetworkBase
from graves_bfn.nets.extra_inputs import ExtraInputs
from graves_bfn.nets.features import FieldShape, VariableFeatures
from graves_bfn.nets.perceptron import ResidualPerceptron


class BFNMixedNetwork(BFNNetworkBase):
    """Base of networks that see several named tensors at one time and speak about every variable of each.

    Inputs and outputs are dicts with one tensor per field, in the forms that `BFNNetwork` describes. A
    subclass calls `super().__init__` and defines `forward`. The order in which fields are named does not
    matter: they are kept sorted by name.

    Args:
        fields: shape and kind of each field, by name.
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when there is no field, or a name is empty or has a dot.
        TypeError: when a name is no str or a field no `FieldShape`.

    Example:
        >>> import torch
        >>> class Separate(BFNMixedNetwork):
        ...     def __init__(self, fields: dict[str, FieldShape]) -> None:
        ...         super().__init__(fields)
        ...         seen, said = self.features_per_variable, self.outputs_per_variable
        ...         layers = {name: torch.nn.Linear(seen[name], said[name]) for name in self.fields}
        ...         self.layers = torch.nn.ModuleDict(layers)
        ...
        ...     def forward(self, inputs, t, *, condition=None, valid=None, known=None, estimate=None):
        ...         x = self.features(inputs, valid=valid, known=known, estimate=estimate)
        ...         return {name: layer(x[name]) for name, layer in self.layers.items()}
        >>> net = Separate({"where": FieldShape((4, 3), 1, 1), "what": FieldShape((4,), 6, 6)})
        >>> outputs = net({"where": torch.randn(2, 4, 3), "what": torch.rand(2, 4, 6)}, torch.rand(2))
        >>> {name: tuple(value.shape) for name, value in outputs.items()}
        {'what': (2, 4, 6), 'where': (2, 4, 3, 1)}
    """

    shape: dict[str, tuple[int, ...]]
    inputs_per_variable: dict[str, int]
    outputs_per_variable: dict[str, int]

    def __init__(self, fields: dict[str, FieldShape], extra_inputs: ExtraInputs | None = None) -> None:
        super().__init__(extra_inputs)
        _check_fields(fields)
        self.fields = {name: fields[name] for name in sorted(fields)}
        self.shape = {name: field.shape for name, field in self.fields.items()}
        self.inputs_per_variable = {name: field.inputs_per_variable for name, field in self.fields.items()}
        self.outputs_per_variable = {name: field.outputs_per_variable for name, field in self.fields.items()}
        self.variable_features = {
            name: VariableFeatures(field, self.extra_inputs, name, scaling="variance")
            for name, field in self.fields.items()
        }

    @property
    def variables(self) -> int:
        """Number of variables of one example, all fields together."""
        return sum(field.variables for field in self.fields.values())

    @property
    def features_per_variable(self) -> dict[str, int]:
        """Length of the last axis of `features`, by field."""
        return {name: features.per_variable for name, features in self.variable_features.items()}

    @abstractmethod
    def forward(
        self,
        inputs: dict[str, Float[Tensor, "batch ..."]],
        t: Float[Tensor, " batch"],
        *,
        condition: Shaped[Tensor, "batch *size"] | None = None,
        valid: dict[str, Bool[Tensor, "batch ..."]] | None = None,
        known: dict[str, Bool[Tensor, "batch ..."]] | None = None,
        estimate: dict[str, Float[Tensor, "batch ..."]] | None = None,
    ) -> dict[str, Float[Tensor, "batch ..."]]:
        """Computes the parameters of the output distributions of all fields.

        Args:
            inputs: means or probabilities of every field.
            t: one time in [0, 1] per example, the same for all fields.
            condition: class labels `(batch,)` or vectors `(batch, size)`; None for no condition.
            valid: False for padding. Fields that it does not name are all valid.
            known: True for variables whose data are given. Fields that it does not name have none of them.
            estimate: what the network expected of the data in an earlier call, in the form of `inputs`.
                Fields that it does not name have no earlier call.

        Returns:
            `(batch, *shape, outputs_per_variable)` for every field.
        """

    def features(
        self,
        inputs: dict[str, Float[Tensor, "batch ..."]],
        *,
        valid: dict[str, Bool[Tensor, "batch ..."]] | None = None,
        known: dict[str, Bool[Tensor, "batch ..."]] | None = None,
        estimate: dict[str, Float[Tensor, "batch ..."]] | None = None,
    ) -> dict[str, Float[Tensor, "batch ..."]]:
        """Gives every variable of each field a last axis of features around zero; see `BFNNetwork.features`.

        Probabilities of K classes become (K p - 1) / sqrt(K). Fields of different kinds stand side by side
        here, and so all of them are equally loud; 2 p - 1 would silence a field of many classes, and K p - 1
        would silence the others.

        Args:
            inputs: as in `forward`, like all other arguments.
            valid: False for padding, whose features are zero.
            known: becomes one feature, if the network is built for it.
            estimate: becomes as many features as `inputs`, if the network is built for it.

        Raises:
            ValueError: when a field is missing, unknown or of a wrong shape, or the network was not built
                for what is given.
        """
        valid, known, estimate = valid or {}, known or {}, estimate or {}
        if inputs.keys() != self.fields.keys():
            raise ValueError(f"inputs must have the fields {list(self.fields)}, got {list(inputs)}")
        for argument, given in (("valid", valid), ("known", known), ("estimate", estimate)):
            if not given.keys() <= self.fields.keys():
                raise ValueError(f"{argument} may have the fields {list(self.fields)}, got {list(given)}")
        return {
            name: features(
                inputs[name], valid=valid.get(name), known=known.get(name), estimate=estimate.get(name)
            )
            for name, features in self.variable_features.items()
        }


class BFNMixedMLP(ResidualPerceptron, BFNMixedNetwork):
    """Residual perceptron over all variables of all fields at once, for tables and small structures.

    The same network as `BFNMLP`, whose inputs are the features of the fields one after another.

    Args:
        fields: shape and kind of each field, by name.
        width: size of the residual stream; the blocks are twice as wide inside.
        depth: number of blocks.
        dropout: probability of dropping a unit inside the blocks.
        extra_inputs: what the network is told beside the inputs and the time; nothing by default.

    Raises:
        ValueError: when there is no field, a name is empty or has a dot, a size is below 1 or `dropout`
            outside [0, 1).
        TypeError: when a name is no str or a field no `FieldShape`.

    Example:
        >>> import torch
        >>> fields = {"position": FieldShape((5, 3), 1, 1), "element": FieldShape((5,), 8, 8)}
        >>> net = BFNMixedMLP(fields, width=32, depth=2)
        >>> inputs = {"position": torch.randn(2, 5, 3), "element": torch.full((2, 5, 8), 1 / 8)}
        >>> outputs = net(inputs, torch.rand(2))
        >>> outputs["position"].shape, outputs["element"].shape
        (torch.Size([2, 5, 3, 1]), torch.Size([2, 5, 8]))
    """

    def __init__(
        self,
        fields: dict[str, FieldShape],
        width: int = 256,
        depth: int = 4,
        dropout: float = 0.0,
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        super().__init__(fields, extra_inputs)
        sizes = self.features_per_variable
        features = sum(field.variables * sizes[name] for name, field in self.fields.items())
        self.output_sizes = [field.variables * field.outputs_per_variable for field in self.fields.values()]
        self._make_layers(features, sum(self.output_sizes), width, depth, dropout)

    def forward(
        self,
        inputs: dict[str, Float[Tensor, "batch ..."]],
        t: Float[Tensor, " batch"],
        *,
        condition: Shaped[Tensor, "batch *size"] | None = None,
        valid: dict[str, Bool[Tensor, "batch ..."]] | None = None,
        known: dict[str, Bool[Tensor, "batch ..."]] | None = None,
        estimate: dict[str, Float[Tensor, "batch ..."]] | None = None,
    ) -> dict[str, Float[Tensor, "batch ..."]]:
        """Computes the parameters of the output distributions of all fields; see `BFNMixedNetwork`."""
        features = self.features(inputs, valid=valid, known=known, estimate=estimate)
        x = torch.cat([part.flatten(1) for part in features.values()], dim=-1)
        parts = torch.split(self._perceive(x, t, condition), self.output_sizes, dim=-1)
        return {
            name: part.reshape(-1, *field.shape, field.outputs_per_variable)
            for (name, field), part in zip(self.fields.items(), parts, strict=True)
        }


def _check_fields(fields: dict[Any, Any]) -> None:
    if not fields:
        raise ValueError("fields must name at least one field, got none")
    for name, field in fields.items():
        if not isinstance(name, str) or not isinstance(field, FieldShape):
            raise TypeError(
                f"fields must map names to FieldShape objects, got {name!r}: {type(field).__name__}"
            )
        if not name or "." in name:
            raise ValueError(f"fields must have names without dots, got {name!r}")
