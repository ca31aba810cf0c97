"""Cost of the flows' own mathematics: graves-bfn and the formulation of the authors' released code.

The network costs nothing (it always gives the same outputs), so everything measured is loss and sampler. The
sides take turns in one process for the times, which are processor times of one thread; the memory of one call
is the growth of a fresh process. The reference is written anew for this comparison; `--peer` measures the
released code itself beside it.
"""

import argparse
import ctypes
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from parts.bfn_cases import CASES, GOALS, Case, Side
from parts.bfn_ours import Ours
from parts.bfn_reference import reference
from parts.bfn_released import Released
from parts.tables import print_table, significant
from parts.timing import alternate
from torch import Tensor

AGREEMENT = {False: 1e-3, True: 0.1}
"""How far losses on the same random numbers may differ; n-step losses of the others are Monte-Carlo."""

M_MMAP_THRESHOLD = -3
"""The name of that option for mallopt."""

PAGES_OF_ITS_OWN = 2**16
"""Bytes from which memory is asked of the system each time."""

FORGET_THE_PEAK = "5"
"""What Linux wants to hear for that."""


def sides(case: Case, peer: Path | None) -> dict[str, Side]:
    """Every implementation at hand, on the same data and network outputs."""
    torch.manual_seed(0)
    x, outputs = case.data(), case.outputs()
    found = {"ours": Ours(case, x, outputs), "reference": reference(case, x, outputs)}
    return {**found, "released": Released(case, x, outputs, peer)} if peer else found


def train(side: Side) -> None:
    side.outputs.grad = None
    side.loss().backward()


def evaluated(call: Callable[[], object]) -> Callable[[], object]:
    """The call without a graph."""

    @functools.wraps(call)
    def run() -> object:
        with torch.no_grad():
            return call()

    return run


def works(case: Case) -> dict[str, Callable[[Side], object]]:
    """What is measured for a case, by name."""
    if case.messages:
        return {"loss": lambda side: evaluated(side.loss)()}
    return {
        "loss, forward and backward": train,
        "sampling step": lambda side: evaluated(side.step)(),
        "last sample": lambda side: evaluated(side.final)(),
    }


def agree(case: Case, found: dict[str, Side]) -> bool:
    """Whether all sides give the same loss on the same random numbers."""
    losses: list[Tensor] = []
    for side in found.values():
        torch.manual_seed(1)
        losses.append(side.loss().detach() / side.variables)
    return all(torch.allclose(loss, losses[0], rtol=AGREEMENT[case.messages]) for loss in losses)


def resident(name: str) -> float:
    """Memory that this process holds (VmRSS), or has held at most since `growth` looked (VmHWM), in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1e3
    raise RuntimeError(f"/proc/self/status has no {name}")


def growth(case: Case, work: str, name: str, peer: Path | None) -> float:
    """How much one call adds to the peak of this process, in MB, once everything is loaded.

    Tensors get pages of their own, which go back to the system at once, so that none hides in what is free.
    """
    library = ctypes.CDLL(None)
    library.mallopt(M_MMAP_THRESHOLD, PAGES_OF_ITS_OWN)
    call = works(case)[work]
    call(sides(replace(case, batch=1, variables=(4,)), peer)[name])
    side = sides(case, peer)[name]
    library.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text(FORGET_THE_PEAK, encoding="utf-8")
    before = resident("VmRSS")
    call(side)
    return resident("VmHWM") - before


def megabytes(case: Case, work: str, names: Iterable[str], peer: Path | None) -> dict[str, float]:
    """The memory of one call of each side, each in a process of its own that has done nothing before."""
    if not Path("/proc/self/status").exists():
        return {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "graves_bfn.flows.discretised", "graves_bfn.flows.discrete"])
    with context.Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(growth, (case, work, name, peer)) for name in names}


def ratio(other: float, ours: float) -> str:
    return f"{other / ours:.1f}x" if ours else "-"


def compare(key: str, case: Case, options: argparse.Namespace) -> list[list[str]]:
    """The rows of one case."""
    found = sides(case, options.peer)
    print(f"{case.name()}: losses {'agree' if agree(case, found) else 'DIFFER'}", file=sys.stderr)
    rows = []
    for work, call in works(case).items():
        calls = {name: functools.partial(call, side) for name, side in found.items()}
        turns = alternate(calls, options.rounds)
        times = {name: 1e3 * median(taken) for name, taken in turns.items()}
        sizes = megabytes(case, work, found, options.peer) if work.startswith("loss") else {}
        for unit, values in {"ms": times, "MB": sizes}.items():
            if values:
                goal = None if options.quick else GOALS.get((key, work.split(",")[0], unit))
                ratios = [ratio(values[name], values["ours"]) for name in list(values)[1:]]
                ratios.insert(1, f"{goal}x" if goal else "")
                rows.append([f"{case.name()}: {work}, {unit}", *map(significant, values.values()), *ratios])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches and few rounds: seconds")
    parser.add_argument("--rounds", type=int, help="how often the sides take turns (9; 2 with --quick)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--peer", type=Path, help="a checkout of the authors' code, to measure it as well")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 9)
    torch.set_num_threads(1)
    chosen = {key: replace(CASES[key], batch=1) if options.quick else CASES[key] for key in options.cases}
    names = ["reference", "released"] if options.peer else ["reference"]
    ratios = [f"{name} / ours" for name in names]
    head = ["median", "graves-bfn", *names, ratios[0], "at least", *ratios[1:]]
    print_table(head, [row for key, case in chosen.items() for row in compare(key, case, options)])


if __name__ == "__main__":
    main()
