"""Nested inputs, states and outputs as lists of leaves, cheaply for the shapes that most cells have."""

from typing import Any

from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

LEAF = "leaf"
TUPLE = "tuple"
Structure = TreeSpec | str
"""How leaves were nested: one tensor alone, a tuple of tensors, or anything else."""


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of a tree, and what `unflatten` needs to put them together again."""
    if isinstance(tree, Tensor):
        return [tree], LEAF
    if type(tree) is tuple and all(isinstance(leaf, Tensor) for leaf in tree):
        return list(tree), TUPLE
    return tree_flatten(tree)


def unflatten(leaves: list[Any], structure: Structure) -> Any:
    """The tree that `flatten` took apart, with other leaves."""
    if structure is LEAF:
        return leaves[0]
    if structure is TUPLE:
        return tuple(leaves)
    return tree_unflatten(leaves, structure)  # type: ignore[arg-type]


def may_need_grad(leaf: Any) -> bool:
    """Whether a leaf can have a gradient: a tensor of floating-point or complex numbers."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def nbytes(leaf: Any) -> int:
    """Bytes of the values of a leaf; 0 for what is no tensor."""
    return leaf.numel() * leaf.element_size() if isinstance(leaf, Tensor) else 0


def compact(leaf: Any) -> Any:
    """A leaf that keeps no memory besides its own values: a copy where it is a view of something larger."""
    if isinstance(leaf, Tensor) and leaf.untyped_storage().nbytes() > nbytes(leaf):
        return leaf.detach().clone()
    return detached(leaf)


def detached(leaf: Any) -> Any:
    """A leaf without its graph."""
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def sequence_length(leaves: list[Any], length: int | None) -> int:
    """The number of time steps: the first axis of all inputs that are tensors, or what the caller says.

    Raises:
        ValueError: when inputs disagree with each other or with the caller, or nobody knows.
    """
    lengths = {len(leaf) if leaf.dim() else 0 for leaf in leaves if isinstance(leaf, Tensor)}
    lengths |= set() if length is None else {length}
    if len(lengths) != 1:
        known = sorted(lengths) or "no input that is a tensor; give length"
        raise ValueError(f"inputs must have the time as their first axis, with one length, but have {known}")
    (steps,) = lengths
    if steps < 1:
        raise ValueError(f"inputs must have at least 1 time step, not {steps}")
    return steps
