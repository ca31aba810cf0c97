"""What was computed from parameters, and whether they may have changed since."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

Made = TypeVar("Made")
_steps = [0]


def _count(*_: Any) -> None:
    """Fused optimizers change weights without raising the version that torch keeps of them."""
    _steps[0] += 1


register_optimizer_step_post_hook(_count)


class Kept(Generic[Made]):
    """Something that was computed from parameters.

    It is taken for old after any optimizer's step, and after any change of one of the parameters, but for
    writing in place through `.data`, which torch does not count.

    Args:
        made: what was computed.
        parameters: what it was computed from; None stands for none.

    Example:
        >>> import torch
        >>> weight = torch.ones(2)
        >>> kept = Kept(weight.sum(), [weight])
        >>> kept.is_fresh([weight]), kept.is_fresh([weight.mul_(2)])
        (True, False)
    """

    def __init__(self, made: Made, parameters: Iterable[Tensor | None]) -> None:
        parts = list(parameters)
        self.made = made
        # as long as their memory is held, nothing else can have the same address
        self._memory = [part.detach() for part in parts if part is not None]
        self._stamp = _stamp(parts)

    def is_fresh(self, parameters: Iterable[Tensor | None]) -> bool:
        """Whether the same would be computed again.

        Args:
            parameters: those of before, as they are now.
        """
        return _stamp(parameters) == self._stamp


def _stamp(parameters: Iterable[Tensor | None]) -> list[int]:
    stamp = [_steps[0]]
    for part in parameters:
        if part is not None:
            stamp += (part.data_ptr(), 0 if part.is_inference() else part._version)
    return stamp
