"""The memory of tensors while something runs, on any device."""

from typing import Any
from weakref import finalize

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts the bytes of all tensors that come into being in it, as long as they live.

    What kernels use within, and what compiled code allocates, is not seen.

    Example:
        >>> import torch
        >>> with Allocations() as allocations:
        ...     for _ in range(10):
        ...         total = torch.ones(100).sum()
        >>> allocations.peak
        408
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[int, int] = {}
        self.now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and notes the memory of its results, if that is new."""
        given = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor) and _address(leaf) not in given:
                self._note(leaf)
        return results

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if address not in self.held:
            self.held[address] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            finalize(storage, self._forget, address)

    def _forget(self, address: int) -> None:
        self.now -= self.held.pop(address)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
