"""What a step does besides computing: it draws random numbers and updates buffers. Both must happen once.

When a step is run again, it must draw the numbers that it drew first and see the buffers that it saw first.
So the states of generators and buffers are stored beside the hidden states, as copies that are shared as long
as nothing changes: cells that neither draw nor count cost nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Modules = list[nn.Module]
"""What a user's cell and readout consist of."""

Buffer = tuple[nn.Module, str]
"""Where a buffer stands: its module, and its name there."""


class Snapshot(NamedTuple):
    """The state of all generators and buffers at one time step.

    Attributes:
        generators: the state of each generator.
        buffers: a copy of each buffer, None for one that was None.
    """

    generators: list[Tensor]
    buffers: dict[Buffer, Tensor | None]


class Effects:
    """Generators and buffers of a cell: what they were, and how to put them back.

    Args:
        modules: whose buffers may change.
        tensors: whose devices have generators of their own.
        random: whether the cell may draw random numbers.
    """

    def __init__(self, modules: Modules, tensors: Iterable[Any], random: bool) -> None:
        owners = (part for module in modules for part in module.modules())
        self.buffers: list[Buffer] = [(part, name) for part in owners for name in part._buffers]
        self.devices = [device for device in devices(tensors) if device.type != "cpu"]
        self.random = random
        self.drew = self.finished = False
        self.touched: set[Buffer] = set()
        self.snapshots: list[Snapshot] = []
        self.seen: dict[Buffer, tuple[Tensor | None, int]] = {}

    @property
    def active(self) -> bool:
        """Whether there is anything that may change."""
        return self.random or bool(self.buffers)

    def capture(self) -> Snapshot | None:
        """The state now; what has not changed since the last one is shared with it."""
        if not self.active:
            return None
        last = self.snapshots[-1] if self.snapshots else None
        generators = self._states()
        if last is not None:
            drew = not all(map(torch.equal, generators, last.generators))
            generators = generators if drew else last.generators
            self.drew |= drew
        copies = self._copies(last)
        if last is not None and generators is last.generators and copies is last.buffers:
            return last
        return self._remember(Snapshot(generators, copies))

    def finish(self) -> None:
        """Ends the first run: what has not changed in it needs not be put back later."""
        self.capture()
        untouched = [buffer for buffer in self.buffers if buffer not in self.touched]
        for snapshot in self.snapshots:
            for buffer in untouched:
                snapshot.buffers.pop(buffer, None)
        self.random, self.finished = self.drew, True
        self.buffers = [buffer for buffer in self.buffers if buffer in self.touched]
        self.snapshots = []

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Around steps that are run again: generators and buffers end as they began."""
        states, buffers = self._states(), self._objects()
        try:
            yield
        finally:
            self._put(states, buffers)
            self.snapshots = []

    def restore(self, snapshot: Snapshot | None) -> None:
        """Puts a state back, within `replay`; the module's own buffers are laid aside, not overwritten."""
        if self.active and snapshot is not None:
            kept = ((buffer, snapshot.buffers[buffer]) for buffer in self.buffers)
            copies = {buffer: None if copy is None else copy.clone() for buffer, copy in kept}
            self._put(snapshot.generators, copies)
            self.snapshots = []
            self._remember(snapshot)

    def _remember(self, snapshot: Snapshot) -> Snapshot:
        self.snapshots = [snapshot] if self.finished else [*self.snapshots, snapshot]
        self.seen = {buffer: (value, _version(value)) for buffer, value in self._objects().items()}
        return snapshot

    def _states(self) -> list[Tensor]:
        if not self.random:
            return []
        others = [torch.get_device_module(device).get_rng_state(device) for device in self.devices]
        return [torch.get_rng_state(), *others]

    def _objects(self) -> dict[Buffer, Tensor | None]:
        return {(module, name): module._buffers[name] for module, name in self.buffers}

    def _copies(self, last: Snapshot | None) -> dict[Buffer, Tensor | None]:
        """A copy of each buffer, shared with the last one if nothing has changed in its module.

        Kernels of normalisation change running means without telling, but their modules count batches.
        """
        now = self._objects()
        changed = {buffer[0] for buffer, value in now.items() if last is None or self._is_new(buffer, value)}
        if last is not None:
            if not changed:
                return last.buffers
            self.touched |= {buffer for buffer in now if buffer[0] in changed}
        return {
            buffer: last.buffers[buffer]
            if last is not None and buffer[0] not in changed
            else None
            if value is None
            else value.clone()
            for buffer, value in now.items()
        }

    def _is_new(self, buffer: Buffer, value: Tensor | None) -> bool:
        seen, version = self.seen[buffer]
        return value is not seen or _version(value) != version

    def _put(self, states: list[Tensor], buffers: dict[Buffer, Tensor | None]) -> None:
        for (module, name), value in buffers.items():
            module._buffers[name] = value
        if self.random:
            torch.set_rng_state(states[0])
            for device, state in zip(self.devices, states[1:], strict=True):
                torch.get_device_module(device).set_rng_state(state, device)


def devices(tensors: Iterable[Any]) -> list[torch.device]:
    """The devices of those that are tensors, in a fixed order."""
    found = {tensor.device for tensor in tensors if isinstance(tensor, Tensor)}
    return sorted((device for device in found if device.type != "meta"), key=str)


def recorded_autocast(tensors: Iterable[Any]) -> Callable[[], ExitStack]:
    """A function that enters the autocast of now again, whatever thread calls it later."""
    cache = torch.is_autocast_cache_enabled()
    settings = [
        (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        for kind in sorted({"cpu", *(device.type for device in devices(tensors))})
    ]

    def enter() -> ExitStack:
        stack = ExitStack()
        for kind, dtype, enabled in settings:
            stack.enter_context(torch.autocast(kind, dtype, enabled, cache_enabled=cache))
        return stack

    return enter


def _version(buffer: Tensor | None) -> int:
    return -1 if buffer is None else buffer._version
