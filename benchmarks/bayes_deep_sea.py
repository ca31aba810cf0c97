"""Deep Sea: how many agents find the treasure, by NoisyNet, by epsilon-greedy, and without exploration.

Every agent has a map of its own; an agent has solved it when 100 episodes in a row with noise and epsilon off
had the best return. All agents of a row of the table are trained at once, as stacked networks. `eps_short`
goes from 1 to 0.1 in the first tenth of the steps, `eps_long` from 1 to 0.01 in the first half. The greedy
arm is the control: on the right kind of map it must find nothing.
`--results FILE` keeps what is done, so that an interrupted comparison goes on.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from parts.bayes_stacked import Fleet
from parts.rnn_learning import Job, run_all
from parts.tables import print_table
from scipy.stats import binomtest, fisher_exact

ARMS = ("noisy", "eps_long", "greedy", "eps_short", "noisy_episode")


def train(job: Job) -> Job:
    """One arm at one size; returns the job with when each agent saw the reward and solved the task."""
    torch.set_num_threads(1)
    first, count = job["first_seed"], job["seeds"]
    start = time.process_time()
    fleet = Fleet(job["size"], list(range(first, first + count)), job["how"], job["episodes"])
    for number in range(job["episodes"]):
        fleet.episode(number)
    seconds = time.process_time() - start
    return {**job, "solved": fleet.solved.tolist(), "seen": fleet.seen.tolist(), "cpu_seconds": seconds}


def row(run: Any) -> list[str]:
    """Size, arm, solved, interval, median episode, how many saw the treasure, seconds."""
    reached = [episode for episode in run["solved"] if episode >= 0]
    low, high = binomtest(len(reached), run["seeds"]).proportion_ci(method="wilson")
    return [
        run["how"],
        str(run["size"]),
        f"{len(reached)}/{run['seeds']}",
        f"{low:.0%} to {high:.0%}",
        f"{statistics.median(reached):.0f}" if reached else "",
        f"{sum(episode >= 0 for episode in run['seen'])}/{run['seeds']}",
        f"{run['cpu_seconds']:.0f}",
    ]


def solved(runs: list[Any], how: str, size: int) -> tuple[int, int] | None:
    """How many agents of an arm solved it, and how many did not."""
    found = [run for run in runs if run["how"] == how and run["size"] == size]
    if not found:
        return None
    count = sum(episode >= 0 for episode in found[0]["solved"])
    return count, found[0]["seeds"] - count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 8, 6, 12])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=40, help="agents of each arm and size")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=3000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("bayes_deep_sea.jsonl"))
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.seeds, options.episodes = [4], 4, 30
        options.results = Path("/dev/null")
    same = {"seeds": options.seeds, "first_seed": options.first_seed, "episodes": options.episodes}
    jobs = [
        {"task": "deep_sea", "how": how, "size": size, **same}
        for size in options.sizes
        for how in options.arms
    ]
    runs = run_all(jobs, train, options.results, options.processes)
    print(f"{options.seeds} maps each, {options.episodes} episodes, 95 % intervals of Wilson")
    head = ["exploration", "N", "solved", "interval", "median episode", "saw the treasure", "CPU s"]
    print_table(head, [row(run) for run in runs])
    for size in options.sizes:
        noisy = solved(runs, "noisy", size)
        for how in ("eps_long", "eps_short", "greedy"):
            other = solved(runs, how, size)
            if noisy and other:
                p = fisher_exact([noisy, other], alternative="greater").pvalue
                print(f"N = {size}: noisy above {how}, Fisher's exact test, one-sided: p = {p:.3g}")


if __name__ == "__main__":
    main()
