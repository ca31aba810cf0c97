"""How much memory a call needs at once, as torch's allocator on the CPU reports it."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_megabytes(call: Callable[[], object]) -> float:
    """The most that was allocated at a time since the call began; what existed before does not count."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results = profiler.profiler.kineto_results
    assert results is not None
    events = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for _, size in sorted(events):
        held += size
        peak = max(peak, held)
    return peak / 1e6
