"""Random numbers and averages of the ranks of a data-parallel run."""

from hashlib import blake2b

import torch
from torch import Tensor


class RankStreams:
    """Random streams of one place in a run on this rank, one for each device.

    Args:
        parts: numbers that tell the place from others, such as a seed and how often it has been drawn.

    Example:
        >>> cpu = torch.device("cpu")
        >>> first, again = (torch.rand(2, generator=RankStreams((0, 7)).of(cpu)) for _ in range(2))
        >>> torch.equal(first, again)
        True
    """

    def __init__(self, parts: tuple[int, ...]) -> None:
        place = repr((*parts, rank())).encode()
        self._seed = int.from_bytes(blake2b(place, digest_size=8).digest(), "big") >> 1
        self._made: dict[torch.device, torch.Generator] = {}

    def of(self, device: torch.device) -> torch.Generator:
        """The stream of a device.

        Args:
            device: where numbers are drawn.
        """
        if device not in self._made:
            self._made[device] = torch.Generator(device).manual_seed(self._seed)
        return self._made[device]


def rank() -> int:
    """The number of this process in `torch.distributed`; 0 without it."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def average_over_ranks_(tensors: list[Tensor]) -> None:
    """Replaces tensors by their means over all ranks of `torch.distributed`, if there are several.

    Args:
        tensors: of the same shapes on all ranks.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or not tensors:
        return
    sent = [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]
    for work in sent:
        work.wait()
    torch._foreach_div_(tensors, distributed.get_world_size())
