"""Whole weight matrices from the kept entries, made once and used until the weights change."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_rnn_training.layers.cache import Cache
from graves_rnn_training.layers.cells.masks import Kept
from graves_rnn_training.layers.versions import versions_of


class _Whole(torch.autograd.Function):
    """Saves no tensor for backward, so that graphs that go backward one by one can share the result."""

    @staticmethod
    def forward(weight: Tensor, kept: Kept) -> Tensor:
        return _refilled(weight.new_zeros(kept.gates * kept.units, kept.columns), weight, kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Kept], output: Tensor) -> None:
        ctx.kept = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.kept.values(gradient), None


class Matrices:
    """Remembers the whole matrix of each weight until an optimizer or an in-place operation changes it.

    Then the matrix is filled anew in the same memory: clone what should last. To graphs this is a change in
    place of what they need, as that of the weight is. Changes through `weight.data`, which torch does not
    count, are not seen until the next that it counts. Copies and pickles are empty.

    Example:
        >>> from graves_rnn_training.layers.cells.masks import kept_entries
        >>> kept = kept_entries(torch.tensor([[True, False], [False, True]]), gates=1)
        >>> weight, matrices = nn.Parameter(torch.ones(2)), Matrices()
        >>> matrices.whole("weight", weight, kept) is matrices.whole("weight", weight, kept)
        True
        >>> _ = weight.detach().mul_(6.0)
        >>> matrices.whole("weight", weight, kept).tolist()
        [[6.0, 0.0], [0.0, 6.0]]
    """

    def __init__(self) -> None:
        self._made = Cache()

    def whole(self, name: str, weight: Float[Tensor, " kept"], kept: Kept) -> Float[Tensor, "rows columns"]:
        """The matrix, zero where nothing is kept; gradients flow to the weight where they are enabled.

        Args:
            name: of the weight.
            weight: the kept entries.
            kept: where they stand.
        """
        if kept.flat is None or not _counts_changes(weight):
            return kept.matrix(weight)
        graph = torch.is_grad_enabled() and weight.requires_grad
        key = (name, graph, torch.is_inference_mode_enabled())
        stamp = state_of([weight])
        made: _Made | None = self._made.get(key)
        if made is not None and made.stamp == stamp and made.kept is kept:
            return made.matrix
        if not lasts(weight):
            return kept.matrix(weight)
        if made is not None and made.kept is kept and made.weight is weight and _alike(made.matrix, weight):
            with torch.no_grad():
                _refilled(made.matrix.detach(), weight, kept)
            matrix = made.matrix
        else:
            matrix = _Whole.apply(weight, kept)  # type: ignore[no-untyped-call]
        self._made[key] = _Made(stamp, weight, kept, matrix)
        return matrix


def state_of(weights: Sequence[Tensor]) -> tuple[Any, ...]:
    """What is another when the values of weights are, and never the same where changes are not counted.

    Args:
        weights: of a cell.
    """
    if not all(map(_counts_changes, weights)):
        return (object(),)
    values = [(id(weight), weight.data_ptr(), weight.dtype) for weight in weights]
    return torch.is_inference_mode_enabled(), *versions_of(weights), *values


class _Made(NamedTuple):
    stamp: tuple[Any, ...]
    weight: Tensor
    kept: Kept
    matrix: Tensor


def _refilled(matrix: Tensor, weight: Tensor, kept: Kept) -> Tensor:
    """The matrix with these entries, in the same memory, as fresh memory costs more than all the rest."""
    assert kept.flat is not None
    matrix.view(-1).scatter_(0, kept.flat, weight)
    return matrix


def _alike(matrix: Tensor, weight: Tensor) -> bool:
    return matrix.dtype == weight.dtype and matrix.device == weight.device


def _counts_changes(weight: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    return isinstance(weight, nn.Parameter) and not weight.is_inference()


def lasts(weight: Tensor) -> bool:
    """Whether what is computed here may be kept, unlike what transforms of `torch.func` make.

    Args:
        weight: that it is computed from.
    """
    try:
        weight.new_empty(1).data_ptr()
    except RuntimeError:
        return False
    return True
