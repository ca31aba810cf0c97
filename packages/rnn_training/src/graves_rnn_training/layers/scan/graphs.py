"""Looking into autograd's graphs: what a step reaches besides what it was given."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


def foreign_tensors(roots: Iterable[Any], known: Iterable[Any]) -> list[Tensor]:
    """The leaf tensors that want a gradient from the graph of `roots` and are not among the known ones.

    Args:
        roots: results of a computation.
        known: tensors at which the search ends, leaves or results of other computations.
    """
    ids, ends = set(), set()
    for tensor in (leaf for leaf in known if isinstance(leaf, Tensor)):
        ids.add(id(tensor))
        ends.add(tensor.grad_fn)
    waiting = [root.grad_fn for root in roots if isinstance(root, Tensor) and root.grad_fn is not None]
    seen, foreign = {*ends, None}, []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor) and id(variable) not in ids:
            foreign.append(variable)
        waiting += [following for following, _ in node.next_functions if following is not None]
    return foreign


def check_all_known(roots: Iterable[Any], known: Iterable[Any]) -> None:
    """Refuses a step whose gradient would be lost in part.

    Raises:
        RuntimeError: when it uses tensors that want a gradient and were not given.
    """
    if foreign := foreign_tensors(roots, known):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in foreign[:4])
        raise RuntimeError(
            f"the cell uses {len(foreign)} tensors that require a gradient and that nobody named, of shapes "
            f"{shapes}: neither inputs nor state nor parameters of a module; give them as parameters=[...]"
        )


@contextmanager
def without_hooks(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Around gradients of single steps: hooks of users are for the whole gradient, and run on that later."""
    hooked = [(tensor, tensor._backward_hooks) for tensor in tensors if tensor._backward_hooks]
    for tensor, _ in hooked:
        tensor._backward_hooks = None
    try:
        yield
    finally:
        for tensor, hooks in hooked:
            tensor._backward_hooks = hooks
