"""Backpropagation through time in little memory, beside a loop and beside `torch.utils.checkpoint`.

An LSTM cell with 256 units reads 1,000 steps of a batch of 32, with a loss at every step. All sides compute
the same gradient and take turns in one process; times are processor times of one thread, memory is the peak
of torch's allocator, gradients of the parameters included. Goals stand in brackets.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.rnn_memory_setting import Setting
from parts.tables import print_table, significant
from parts.timing import seconds

from graves_core.testing import peak_bytes
from graves_rnn_training import MemoryBudget

FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.075, 0.045, 0.035, 0.02, 0.012, 0.01, 0.008)
"""Budgets for states, as shares of those of the loop; gradients of the parameters come on top."""

CHUNKS = (5, 10, 16, 25, 32, 50, 100, 200, 333)
GOALS = ((0.05, 1.35), (0.025, 2.2))
"""In at most so much of the loop's memory at most so much of its time."""

SEGMENT_SHARES = (0.14, 0.07)
"""Budgets of segments, as shares of the loop's memory."""

LONG = {
    "LSTM cell": {"batch": 16, "inputs": 16, "hidden": 128},
    "nn.LSTM": {"batch": 16, "inputs": 32, "hidden": 256},
}
"""Sizes of the networks that read the longest sequence."""

FIXED = MemoryBudget(bytes=15_000_000)
"""What they may use."""

SPARE = 31 * 2**20
"""Bytes; see `settle`."""

Point = tuple[float, float]
"""Memory and time, as shares of those of the loop."""


def settle() -> None:
    """Brings the C library into the state of a long run, where small blocks stay with the process.

    Until a large block has been freed once, glibc gives every block of some hundred kilobytes back to the
    system, and page faults at random places cost a fifth of the time.
    """
    torch.empty(SPARE, dtype=torch.uint8)


def apart(call: Callable[[], Any]) -> Any:
    """The result of a call in a process of its own, which takes along what the profiler does not give back.

    Processes are forked, which autograd only allows to those that have not gone backward yet.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(call()))
    process.start()
    sender.close()
    result = receiver.recv()
    process.join()
    return result


def peak_of(call: Callable[[], object]) -> float:
    """The peak of a second call in MB, because the first one measures states."""

    def second() -> float:
        call()
        return peak_bytes(call) / 1e6

    result: float = apart(second)
    return result


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, list[float]]]:
    """Peak in MB and seconds per round of each side, in turns."""
    peaks = {name: peak_of(call) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call, 1))
    return {name: (peaks[name], taken[name]) for name in calls}


def ratio_of(taken: list[float], other: list[float]) -> float:
    return median(taken) / median(other)


def curve(steps: int, rounds: int, picture: str) -> None:
    """Memory against time, ours and chunks of every size."""
    setting = Setting(steps)
    ours = {f"ours, states in {share:.1%}": MemoryBudget(fraction=share) for share in FRACTIONS}
    chunks = {f"chunks of {size}": size for size in CHUNKS if size < steps}
    calls = {"loop": setting.train(setting.full)}
    calls |= {name: setting.train(lambda s=size: setting.chunked(s)) for name, size in chunks.items()}
    for name in chunks:
        room = peak_of(calls[name]) - setting.gradient_megabytes()
        ours[f"ours, as {name}"] = MemoryBudget(bytes=int(1e6 * room))
    calls |= {name: setting.train(lambda b=budget: setting.ours(b)) for name, budget in ours.items()}
    found = measure(calls, rounds)
    peak, times = found["loop"]
    points = {name: (mb / peak, ratio_of(taken, times)) for name, (mb, taken) in found.items()}
    rows = []
    for name, (memory, ratio) in points.items():
        forwards = f"{setting.forwards(ours[name]):,}" if name in ours else ""
        rows.append([name, significant(found[name][0]), f"{memory:.1%}", f"{ratio:.2f}x", forwards])
    print(f"LSTM cell, 256 units, {steps} steps, batch 32; the loop takes {median(times):.2f} s")
    print_table(["side", "peak MB", "of the loop", "time / loop", "forward operations"], rows)
    against_goals(points)
    against_chunks(points, list(chunks))
    if picture:
        draw(points, picture)


def against_goals(points: dict[str, Point]) -> None:
    """Our fastest point within the memory of each goal."""
    rows = []
    for share, goal in GOALS:
        fits = [ratio for name, (memory, ratio) in points.items() if "ours" in name and memory <= share]
        fastest = f"{min(fits):.2f}x" if fits else "-"
        rows.append([f"{share:.1%} of the loop's memory", f"{fastest} ({goal}x)"])
    print_table(["in at most", "our time / loop (at most)"], rows)


def against_chunks(points: dict[str, Point], chunks: list[str]) -> None:
    """Each size of chunks beside ours in no more memory, and beside our least memory for no more time."""
    rows = []
    for name in chunks:
        memory, ratio = points[name]
        own_memory, own_ratio = points[f"ours, as {name}"]
        fast = [share for own, (share, time) in points.items() if "ours" in own and time <= ratio]
        less = f"{memory / min(fast):.2f}x" if fast else "-"
        times = f"{ratio:.2f}x", f"{own_ratio:.2f}x", f"{ratio / own_ratio:.2f}x"
        rows.append([name, f"{memory:.1%}", f"{own_memory:.1%}", *times, less])
    head = ["side", "its memory", "ours", "its time", "ours", "its time / ours (at least 1x)"]
    print_table([*head, "its memory / our least for no more time"], rows)


def draw(points: dict[str, Point], path: str) -> None:
    from graves_core import Curve, line_chart, save_png

    kinds = {"graves-rnn-training": "ours", "torch.utils.checkpoint, chunks": "chunks"}
    curves = {}
    for label, kind in kinds.items():
        places = sorted(
            (100 * memory, time) for name, (memory, time) in points.items() if name.startswith(kind)
        )
        curves[label] = Curve([memory for memory, _ in places], [time for _, time in places])
    x_label, y_label = "memory, % of full backpropagation", "time / full"
    save_png(line_chart(curves, x_label, y_label, log_x=True, levels={"full": 1}), Path(path))


def fused(steps: int, rounds: int) -> None:
    """Segments of a fused kernel as the step of the plan."""
    setting = Setting(steps)
    loop = setting.train(setting.full)
    room = 1e6 * peak_of(loop)
    budgets = {f"segments, {share:.0%}": MemoryBudget(bytes=int(share * room)) for share in SEGMENT_SHARES}
    budgets["segments, each run twice"] = MemoryBudget()
    calls = {"loop": loop, "nn.LSTM": setting.train(setting.fused)}
    calls |= {name: setting.train(lambda b=budget: setting.segments(b)) for name, budget in budgets.items()}
    found = measure(calls, rounds)
    peak, times = found["loop"]
    rows = [
        [name, significant(mb), f"{mb / peak:.1%}", f"{ratio_of(taken, times):.2f}x"]
        for name, (mb, taken) in found.items()
    ]
    print(f"nn.LSTM, 256 units, {steps} steps, batch 32, states in shares of the loop's memory")
    print_table(["side", "peak MB", "of the loop (15 %)", "time / loop (1x)"], rows)


def long(steps: int) -> None:
    """Sequences whose full graph would not fit."""
    rows = []
    for name, sizes in LONG.items():
        setting, brief = Setting(steps, **sizes), Setting(min(steps, 1000), **sizes)
        at_length, for_peak = (each.train(each.within(name, FIXED)) for each in (setting, brief))
        peak = peak_of(for_peak)
        full = apart(lambda s=setting: s.cost(FIXED).full_bytes)
        rows.append(
            [
                f"{name}, {sizes['hidden']} units, batch {sizes['batch']}",
                significant(full / 1e6),
                significant(peak),
                f"{apart(lambda call=at_length: seconds(call, 1)):.0f}",
            ]
        )
    print(f"{steps:,} steps in {FIXED.bytes:,} bytes; our peak is that of 1,000 steps in the same budget")
    print_table(["network", "the loop's memory, MB", "ours", "our seconds"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", default="", help="where to draw memory against time")
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settle()
    steps, rounds = (120, 1) if options.quick else (1000, options.rounds)
    apart(lambda: curve(steps, rounds, options.picture))
    apart(lambda: fused(steps, rounds))
    apart(lambda: long(1000 if options.quick else 100_000))


if __name__ == "__main__":
    main()
