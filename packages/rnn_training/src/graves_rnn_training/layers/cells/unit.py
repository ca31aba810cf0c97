"""Recurrent cells whose parameters each touch one unit in one step, dense or sparse."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from graves_rnn_training.equations.units import Columns, Linearised, Units, UnitStructure, pre_activations
from graves_rnn_training.influence.dense import dynamics, full_dynamics, full_immediate, immediate, sources
from graves_rnn_training.influence.patterns import dynamics_pattern, full_pattern, reached, slot_classes
from graves_rnn_training.layers.cache import Cache
from graves_rnn_training.layers.cells.base import LinearMaps, OnlineCell
from graves_rnn_training.layers.cells.masks import Kept, checked_mask, kept_entries, pruned_mask, random_mask
from graves_rnn_training.layers.cells.matrices import Matrices, lasts, state_of

Weight = Literal["weight_ih", "weight_hh"]
Cell = TypeVar("Cell", bound="UnitCell")
WEIGHTS: tuple[Weight, Weight] = ("weight_ih", "weight_hh")


class Whole(NamedTuple):
    """The parameters of a cell, the weights as whole matrices.

    Args:
        weight_ih: `(rows, input)`, blocks of gates one under the other.
        weight_hh: `(rows, units)`.
        bias_ih: `(rows,)`.
        bias_hh: `(rows,)`.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


class UnitCell(OnlineCell):
    """Base of `VanillaCell`, `GRUCell` and `LSTMCell`.

    The parameters have torch's names and order of gates, but of a sparse matrix only the kept entries, in
    row-major order, are parameters: `weight_hh` is a vector. Which entries are kept is part of the
    `state_dict` (`weight_hh_mask`), and a cell that was pruned or made with other masks can be loaded.

    Sparsity is random and fixed when the cell is made. Sharing it over the gates is our addition to the
    paper: it makes the influence of `SnAp` of order 2 about 2.6 times smaller, and its work 3 to 6 times.

    Args:
        input_size: features of an input.
        hidden_size: units.
        sparsity: share of the recurrent weights that are not kept.
        input_sparsity: share of the input weights that are not kept.
        shared_gate_mask: keep the same entries in all gates.
        fixed_fan_in: keep equally many entries in every row, as is fastest.
        mask_seed: of the random choice of what is kept.

    Raises:
        ValueError: when a size is below 1 or a sparsity is outside [0, 1).

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> cell = GRUCell(input_size=3, hidden_size=8, sparsity=0.75)
        >>> cell.weight_hh.shape, cell.matrix("weight_hh").shape
        (torch.Size([48]), torch.Size([24, 8]))
        >>> cell.prune(0.5)
        >>> cell.weight_hh.shape
        torch.Size([24])
    """

    structure: ClassVar[UnitStructure]
    torch_class: ClassVar[type[nn.RNNCellBase]]
    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias_ih: nn.Parameter
    bias_hh: nn.Parameter
    weight_ih_mask: Tensor
    weight_hh_mask: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        sparsity: float = 0.0,
        input_sparsity: float = 0.0,
        shared_gate_mask: bool = True,
        fixed_fan_in: bool = True,
        mask_seed: int = 0,
    ) -> None:
        super().__init__(input_size, hidden_size, self.structure.parts * hidden_size)
        for name, share in (("sparsity", sparsity), ("input_sparsity", input_sparsity)):
            if not 0.0 <= share < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {share}")
        generator = torch.Generator().manual_seed(mask_seed)
        shares = {"weight_hh": (hidden_size, sparsity), "weight_ih": (input_size, input_sparsity)}
        masks = {
            name: random_mask(
                (self.structure.gates, hidden_size, columns),
                share,
                shared=shared_gate_mask,
                fixed_fan_in=fixed_fan_in,
                generator=generator,
            )
            for name, (columns, share) in shares.items()
        }
        self._matrices = Matrices()
        self._remembered = Cache()
        self._kept = {name: kept_entries(masks[name], self.structure.gates) for name in WEIGHTS}
        rows = self.structure.gates * hidden_size
        sizes: dict[str, int] = {name: self._kept[name].number for name in WEIGHTS}
        for name, size in {**sizes, "bias_ih": rows, "bias_hh": rows}.items():
            weight = torch.empty(size).uniform_(-(hidden_size**-0.5), hidden_size**-0.5)
            self.register_parameter(name, nn.Parameter(weight))
        for name in WEIGHTS:
            self.register_buffer(f"{name}_mask", masks[name])

    @staticmethod
    @abstractmethod
    def new_state(pre: Units, state: Units) -> Units:
        """The equations of the cell: parts of the state from pre-activations and parts before."""

    @staticmethod
    @abstractmethod
    def linearised(pre: Units, state: Units) -> Linearised:
        """The same with derivatives, of tensors `(units, batch)`."""

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """The new state, by differentiable operations."""
        given = nn.functional.linear(inputs, self.matrix("weight_ih"), self.bias_ih)
        kept = nn.functional.linear(self.output(state), self.matrix("weight_hh"), self.bias_hh)
        shape = (len(inputs), self.structure.gates, self.hidden_size)
        blocks = given.view(shape).transpose(0, 1), kept.view(shape).transpose(0, 1)
        pre = pre_activations(self.structure, *blocks)
        return torch.cat(self.new_state(pre, state.tensor_split(self.structure.parts, 1)), 1)

    @classmethod
    def linearised_step(
        cls,
        inputs: Float[Tensor, "input batch"],
        state: Float[Tensor, "state batch"],
        weights: Whole,
    ) -> Linearised:
        """The step with its derivatives as a function of tensors alone, features first.

        Args:
            inputs: of the step.
            state: before it.
            weights: what `whole_weights` returns.
        """
        units = weights.weight_hh.shape[1]
        before = state.view(cls.structure.parts, units, -1)
        shape = (cls.structure.gates, units, -1)
        given = (weights.weight_ih @ inputs).view(shape) + weights.bias_ih.view(shape)
        kept = (weights.weight_hh @ before[0]).view(shape) + weights.bias_hh.view(shape)
        pre = pre_activations(cls.structure, given, kept)
        return cls.linearised(pre, before.unbind(0))

    @torch.no_grad()
    def linearise(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> Linearised:
        """The step with its derivatives, without a graph.

        Args:
            inputs: as in `forward`.
            state: as in `forward`.
        """
        return self.linearised_step(inputs.T, state.T.contiguous(), self.whole_weights())

    def linear_maps(
        self, inputs: Float[Tensor, "batch input"], state: Float[Tensor, "batch state"]
    ) -> LinearMaps:
        """The new state, and D and I as full matrices."""
        step = self.linearise(inputs, state)
        with torch.no_grad():
            by_output = dynamics(step, self.matrix("weight_hh"), self.structure)
            columns = self.columns()
            by_unit = immediate(step, columns, sources(inputs, self.output(state)))
            matrix = full_immediate(by_unit, columns.unit, self.hidden_size)
            return LinearMaps(step.state.flatten(0, 1).T, full_dynamics(by_output, step), matrix)

    def patterns(self) -> tuple[Bool[Tensor, "state state"], Bool[Tensor, "state parameters"]]:
        """Where D and I can be other than zero, from masks and equations."""
        pattern = dynamics_pattern(self.structure, self.weight_hh_mask)
        columns = self.columns()
        rows = reached(pattern, self.structure, order=1)
        return pattern, full_pattern(rows, slot_classes(self.structure), columns.slot, columns.unit)

    def columns(self) -> Columns:
        """The slot, unit and source of each parameter, in the order of `learned`."""
        learned = tuple(name for name, _ in self.learned())
        key = (learned, *(id(self.kept(name)) for name in WEIGHTS), self.bias_ih.device)
        if self._remembered.get("key") != key:
            none = torch.zeros(0, dtype=torch.long, device=self.bias_ih.device)
            found = [Columns(none, none, none), *(self.columns_of(name) for name in learned)]
            self._remembered["key"] = key
            self._remembered["columns"] = Columns(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        made: Columns = self._remembered["columns"]
        return made

    def columns_of(self, name: str) -> Columns:
        """The slot, unit and source of each entry of one parameter.

        Args:
            name: of the parameter.
        """
        from_inputs, device = name.endswith("_ih"), self.bias_ih.device
        slots = self.structure.input_slots if from_inputs else self.structure.hidden_slots
        if name in WEIGHTS:
            kept = self.kept(name)
            rows, source = kept.rows(device), kept.sources(device)
            source = source if from_inputs else source + self.input_size
        else:
            rows = torch.arange(self.structure.gates * self.hidden_size, device=device)
            source = torch.full_like(rows, self.input_size + self.hidden_size)
        slot = torch.tensor(slots, device=device)[rows // self.hidden_size]
        return Columns(slot, rows % self.hidden_size, source)

    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters, in the order of `columns`; found without a walk, as every step asks for them."""
        weights = self._parameters.items()
        return [(name, value) for name, value in weights if value is not None and value.requires_grad]

    def kept(self, name: Weight) -> Kept:
        """Which entries of a weight matrix are parameters.

        Args:
            name: of the weight.
        """
        kept, device = self._kept[name], self.bias_ih.device
        if kept.flat is not None and kept.flat.device != device:
            kept = self._kept[name] = kept._replace(flat=kept.flat.to(device))
        return kept

    def matrix(self, name: Weight) -> Float[Tensor, "rows columns"]:
        """A weight as a whole matrix, zero where nothing is kept; filled anew when the weight has changed.

        Args:
            name: of the weight.
        """
        weight = self.weight_ih if name == "weight_ih" else self.weight_hh
        return self._matrices.whole(name, weight, self.kept(name))

    def whole_weights(self) -> Whole:
        """All parameters, weights as whole matrices, for use without a graph; remembered like these."""
        stamp = state_of([self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh])
        found: tuple[Any, Whole] | None = self._remembered.get("whole")
        if found is not None and found[0] == stamp:
            return found[1]
        with torch.no_grad():
            weights = self.matrix("weight_ih"), self.matrix("weight_hh")
        whole = Whole(*weights, self.bias_ih.detach(), self.bias_hh.detach())
        if lasts(self.weight_ih):
            self._remembered["whole"] = (stamp, whole)
        return whole

    @torch.no_grad()
    def set_masks(
        self,
        weight_hh: Bool[Tensor, "rows units"] | None = None,
        weight_ih: Bool[Tensor, "rows input"] | None = None,
    ) -> None:
        """Chooses anew which entries are parameters; those that stay keep their values, new ones are zero.

        The parameters stay the same objects but change their size: make a new optimizer and start learners
        from a new state.

        Args:
            weight_hh: True for the recurrent weights to keep, in torch's order of gates; None for no change.
            weight_ih: the same for the input weights.

        Raises:
            TypeError: when a mask does not hold booleans.
            ValueError: when a mask has a wrong shape or keeps nothing.
        """
        given: dict[Weight, Tensor | None] = {"weight_hh": weight_hh, "weight_ih": weight_ih}
        named = [(name, given[name]) for name in WEIGHTS if given[name] is not None]
        masks = {name: checked_mask(name, mask, self._shape(name)) for name, mask in named}
        for name, mask in masks.items():
            matrix = self.matrix(name)
            self._restructure(name, mask.to(matrix.device), matrix[mask.to(matrix.device)])

    def prune(self, fraction: float, names: Sequence[Weight] = ("weight_hh",)) -> None:
        """Drops the smallest of the kept weights; see `set_masks`.

        Args:
            fraction: share of the kept entries of each matrix to drop, in [0, 1).
            names: of the matrices.

        Raises:
            ValueError: when `fraction` is out of range.
        """
        if not 0.0 <= fraction < 1.0:
            raise ValueError(f"fraction must lie in [0, 1), got {fraction}")
        masks = {
            name: pruned_mask(self.get_buffer(f"{name}_mask"), self.matrix(name).detach().abs(), fraction)
            for name in names
        }
        self.set_masks(masks.get("weight_hh"), masks.get("weight_ih"))

    @classmethod
    def from_torch(
        cls: type[Cell],
        module: nn.RNNCellBase,
        masks: Mapping[Weight, Bool[Tensor, "rows columns"]] | None = None,
    ) -> Cell:
        """A cell with the weights of one of torch's, on the same device and in the same dtype.

        Args:
            module: a cell of torch with biases.
            masks: which entries of `weight_hh` and `weight_ih` are kept; all where nothing is given.

        Raises:
            TypeError: when the module is not the counterpart of this class.
            ValueError: when it has no biases or another nonlinearity than tanh.
        """
        if not isinstance(module, cls.torch_class):
            wanted = f"torch.nn.{cls.torch_class.__name__}"
            raise TypeError(f"{cls.__name__}.from_torch needs a {wanted}, got {type(module).__name__}")
        if not module.bias:
            raise ValueError(f"module must have bias=True to become a {cls.__name__}")
        if getattr(module, "nonlinearity", "tanh") != "tanh":
            raise ValueError(f"module must have nonlinearity='tanh', got {module.nonlinearity!r}")
        cell = cls(module.input_size, module.hidden_size).to(module.weight_hh)
        with torch.no_grad():
            for name, parameter in cell.learned():
                parameter.copy_(getattr(module, name).flatten())
        if masks:
            cell.set_masks(masks.get("weight_hh"), masks.get("weight_ih"))
        return cell

    def _shape(self, name: Weight) -> tuple[int, int]:
        rows, columns = self.get_buffer(f"{name}_mask").shape
        return rows, columns

    def _restructure(self, name: Weight, mask: Tensor, values: Tensor) -> None:
        """Takes over what is kept, and the values of that."""
        self.get_buffer(f"{name}_mask").copy_(mask)
        self._kept[name] = kept_entries(mask, self.structure.gates)
        self._remembered.clear()
        weight = self.get_parameter(name)
        weight.data = values.to(weight, copy=True)
        weight.grad = None

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:
        """Takes over masks first, and with them the sizes of the weights; refuses weights that do not fit."""
        try:
            found = [self._found(state_dict, prefix, name) for name in WEIGHTS]
        except (TypeError, ValueError) as error:
            others[-1].append(str(error))
            return
        for name, mask, values in (entry for entry in found if entry is not None):
            self._restructure(name, mask, values)
        super()._load_from_state_dict(state_dict, prefix, *others)

    def _found(
        self, state_dict: Mapping[str, Any], prefix: str, name: Weight
    ) -> tuple[Weight, Tensor, Tensor] | None:
        """The mask in a state_dict, with its weights, if it is another one than ours."""
        ours = self.get_buffer(f"{name}_mask")
        mask, values = state_dict.get(f"{prefix}{name}_mask"), state_dict.get(prefix + name)
        if mask is None or values is None:
            return None
        checked_mask(prefix + name, mask, self._shape(name))
        if values.shape != (mask.sum(),):
            raise ValueError(
                f"{prefix}{name} has the shape {tuple(values.shape)}, but its mask keeps {mask.sum()} entries"
            )
        return None if mask.to(ours.device).equal(ours) else (name, mask.to(ours.device), values)
