"""How much memory a call needs at once, as torch's allocator on the CPU reports it."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

LARGE = 31 * 2**20
"""Bytes of the largest block whose return makes the C library keep smaller ones."""


def peak_megabytes(call: Callable[[], object]) -> float:
    """The most that is allocated at a time since the call begins, in MB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results = profiler.profiler.kineto_results
    events = sorted((event.start_ns(), event.nbytes()) for event in results.events() if is_memory(event))
    held = peak = 0
    for _, size in events:
        held += size
        peak = max(peak, held)
    return peak / 1e6


def is_memory(event: object) -> bool:
    return event.name() == "[memory]"


def settle() -> None:
    """Brings the C library into the state that it reaches in any long run: small blocks stay with the process.

    Until a large block has been freed once, glibc gives every block of some hundred kilobytes back to the
    system, and page faults make whoever allocates weight gradients slower by a fifth.
    """
    torch.empty(LARGE, dtype=torch.uint8)
