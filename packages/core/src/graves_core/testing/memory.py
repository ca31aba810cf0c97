"""How much memory a call needs at once."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that torch's allocator on the CPU gave out at a time since the call began.

    What existed before does not count. The profiler keeps an event of each allocation, and does not give all
    of its own memory back: let long calls run in a process of their own.

    Args:
        call: what is measured.

    Example:
        >>> import torch
        >>> peak_bytes(lambda: torch.ones(1000).exp().sum()) // 4000
        2
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results = profiler.profiler.kineto_results
    assert results is not None
    events = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for _, size in sorted(events):
        held += size
        peak = max(peak, held)
    return peak
