"""Random draws that do not depend on how a batch is shared out over ranks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class GlobalDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes the ranks of a data-parallel run draw together what a single process would draw.

    Inside this context, each random operation of torch on a batch is done for the global batch of
    `world * batch` rows, of which the rank keeps the rows `rank::world`. That is how `ResumableLoader` shares
    out a batch. If all ranks start from the same seed, together they draw, bit for bit, what one process
    draws for the global batch.

    A draw belongs to the batch if the leading dimension of its result, or of its tensor arguments, is a
    multiple of `batch` (examples times positions, examples times heads). So choose a batch that divides no
    other leading dimension that draws. Draws of numpy and Python, draws inside compiled code, and operations
    whose number of draws depends on their arguments (gamma, Poisson) are beyond it.

    Args:
        rank: rank of this process.
        world: number of ranks.
        batch: rows of the batch on one rank.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> one, two = torch.manual_seed(0), []
        >>> whole = torch.randn(6, 5)
        >>> for rank in range(2):
        ...     _ = torch.manual_seed(0)
        ...     with GlobalDraws(rank, world=2, batch=3):
        ...         two.append(torch.randn(3, 5))
        >>> all(torch.equal(part, whole[rank::2]) for rank, part in enumerate(two))
        True
    """

    def __init__(self, rank: int, world: int, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if world < 1 or not 0 <= rank < world:
            raise ValueError(f"rank must be from 0 to world - 1, got rank={rank}, world={world}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.rank = rank
        self.world = world
        self.batch = batch

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in getattr(func, "tags", ()):
            return func(*args, **named)
        schema = func._schema  # type: ignore[attr-defined]
        names = [argument.name for argument in schema.arguments]
        wide = [self._widen(name, value) for name, value in zip(names, args, strict=False)]
        result = func(*wide, **{name: self._widen(name, value) for name, value in named.items()})
        if schema.is_mutable:
            return args[0].copy_(self._share(result))
        return tree_map_only(Tensor, self._share, result)

    def _is_batch(self, rows: int) -> bool:
        return rows > 0 and rows % self.batch == 0

    def _widen(self, name: str, value: Any) -> Any:
        """Extends sizes and tensors to the global batch; the rows of other ranks are placeholders."""
        if isinstance(value, Tensor) and value.dim() > 0 and self._is_batch(len(value)):
            rows = value.reshape(self.batch, len(value) // self.batch, *value.shape[1:])
            return rows.repeat_interleave(self.world, 0).flatten(0, 1)
        if name == "size" and len(value) > 0 and self._is_batch(value[0]):
            return [value[0] * self.world, *value[1:]]
        return value

    def _share(self, drawn: Tensor) -> Tensor:
        """Takes this rank's rows of what was drawn for the global batch."""
        size = self.batch * self.world
        if drawn.dim() == 0 or len(drawn) == 0 or len(drawn) % size != 0:
            return drawn
        rows = drawn.reshape(size, len(drawn) // size, *drawn.shape[1:])
        return rows[self.rank :: self.world].flatten(0, 1).clone()
