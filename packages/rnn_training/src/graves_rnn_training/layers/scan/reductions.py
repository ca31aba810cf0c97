"""What becomes of the outputs of the steps: stacked, added up, or forgotten, one after the other."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from graves_rnn_training.layers.scan.trees import Structure, flatten, may_need_grad, unflatten

Reduction = Literal["stack", "sum", "mean", "last", "none"]
"""How the outputs of all steps become one: along a new axis, added, averaged, the last, or not at all."""


class Outputs:
    """Collects the outputs of steps as they come, and shares the gradients out to them again.

    Args:
        reductions: one for all outputs, or a tree of them that begins like the outputs.
        length: number of time steps.
        segmented: whether outputs come with a time axis of their own, several steps at once.

    Raises:
        ValueError: when a reduction is unknown.
    """

    def __init__(self, reductions: Any, length: int, segmented: bool) -> None:
        for reduction in tree_flatten(reductions)[0]:
            if reduction not in get_args(Reduction):
                raise ValueError(f"outputs must be one of {get_args(Reduction)}, got {reduction!r}")
        self.given = reductions
        self.length = length
        self.segmented = segmented
        self.kinds: list[str] = []
        self.totals: list[Any] = []
        self.structure: Structure | None = None

    def add(self, start: int, stop: int, outputs: Any) -> None:
        """Takes the outputs of the steps from `start` up to `stop`."""
        leaves, structure = flatten(outputs)
        if self.structure is None:
            self.structure = structure
            self.kinds = _spread(self.given, outputs)
            self.totals = [None] * len(leaves)
        elif structure != self.structure:
            raise ValueError(
                f"the outputs of step {start} are nested as {structure}, unlike {self.structure}"
            )
        for index, (kind, leaf) in enumerate(zip(self.kinds, leaves, strict=True)):
            if isinstance(leaf, Tensor):
                self.totals[index] = self._joined(kind, self.totals[index], leaf.detach(), start, stop)
            elif kind == "last":
                self.totals[index] = leaf

    def results(self) -> Any:
        """The reduced outputs, nested as those of a step."""
        totals, self.totals = self.totals, []
        leaves = [
            total / self.length if kind == "mean" and total is not None else total
            for kind, total in zip(self.kinds, totals, strict=True)
        ]
        assert self.structure is not None
        return unflatten(leaves, self.structure)

    def shares(self, gradients: list[Any]) -> list[Any]:
        """Gradients of the results as those of sums: what does not depend on the step is done once."""
        return [
            gradient / self.length if kind == "mean" and gradient is not None else gradient
            for kind, gradient in zip(self.kinds, gradients, strict=True)
        ]

    def share(self, index: int, gradient: Tensor, start: int, stop: int) -> Tensor | None:
        """The part of the gradient of an output that the steps from `start` up to `stop` get."""
        kind = self.kinds[index]
        if kind == "stack":
            return gradient[start:stop] if self.segmented else gradient[start]
        return gradient if kind != "last" or stop == self.length else None

    def _joined(self, kind: str, total: Any, leaf: Tensor, start: int, stop: int) -> Any:
        if kind == "stack":
            if total is None:
                shape = leaf.shape[1:] if self.segmented else leaf.shape
                total = leaf.new_empty((self.length, *shape))
            total[start:stop] = leaf
            return total
        if kind in ("sum", "mean"):
            return _summand(leaf, copy=True) if total is None else total.add_(leaf)
        return leaf if kind == "last" and stop == self.length else total


def within_segment(reductions: Any, outputs: list[Any]) -> Any:
    """Reduces the outputs of the steps of one segment, with a graph."""
    trees = [flatten(output) for output in outputs]
    kinds = _spread(reductions, outputs[0])
    columns = zip(*(leaves for leaves, _ in trees), strict=True)
    leaves = [_reduced(kind, column) for kind, column in zip(kinds, columns, strict=True)]
    return unflatten(leaves, trees[0][1])


def along_time(reductions: Any, outputs: Any) -> Any:
    """Reduces the outputs of one segment, whose first axis is the time, with a graph."""
    leaves, structure = flatten(outputs)
    kinds = _spread(reductions, outputs)
    return unflatten([_reduced_tensor(*pair) for pair in zip(kinds, leaves, strict=True)], structure)


def _reduced_tensor(kind: str, leaf: Any) -> Any:
    if kind == "stack" or not isinstance(leaf, Tensor):
        return leaf
    if kind == "last":
        return leaf[-1]
    return leaf.sum(0) if kind != "none" else None


def _reduced(kind: str, column: tuple[Any, ...]) -> Any:
    if not isinstance(column[0], Tensor) or kind == "last":
        return column[-1]
    if kind == "stack":
        return torch.stack(column)
    return sum(column[1:], start=_summand(column[0])) if kind != "none" else None


def _summand(leaf: Tensor, copy: bool = False) -> Tensor:
    """A number to add to: whole ones as int64, as in `torch.sum`."""
    return leaf.to(leaf.dtype if may_need_grad(leaf) else torch.int64, copy=copy)


def _spread(reductions: Any, outputs: Any) -> list[str]:
    """One reduction for each leaf of the outputs."""
    if isinstance(reductions, str):
        return [reductions] * len(flatten(outputs)[0])
    if isinstance(reductions, dict) and isinstance(outputs, dict) and reductions.keys() == outputs.keys():
        return [kind for key in outputs for kind in _spread(reductions[key], outputs[key])]
    if (
        isinstance(reductions, (list, tuple))
        and isinstance(outputs, (list, tuple))
        and len(reductions) == len(outputs)
    ):
        return [kind for pair in zip(reductions, outputs, strict=True) for kind in _spread(*pair)]
    shape = tree_map(lambda _: "...", outputs)
    raise ValueError(f"outputs={reductions!r} does not fit what a step gives, nested as {shape}")
