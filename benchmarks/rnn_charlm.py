"""A character model of a text, trained online by each learner and by BPTT on equally many symbols.

A sparse GRU reads 16 places of the text side by side, each a stream that goes on. Learners that accumulate
forwards make an update after every symbol; truncated BPTT makes one per window of 8 symbols; full BPTT reads
crops of 128 symbols from a state of zeros and makes one per crop, as in the paper. What counts is bits per
character on text that nobody has trained on. For each method the best learning rate of a grid is taken.
`--results FILE` keeps what is done, so that an interrupted comparison goes on.
"""

import argparse
import time
from pathlib import Path

import torch
from parts.rnn_learning import Job, Student, run_all
from parts.tables import print_table
from torch import Tensor

from graves_core.data import EnglishTextDataModule, TextFileDataModule
from graves_core.data.text import TextDataModule

METHODS = ("bptt", "truncated-8", "snap-1", "snap-2", "uoro", "frozen")
RATES = (10**-2.5, 10**-3.0, 10**-3.5)
STREAMS, CROP, SCORED = 16, 128, 4000
"""Streams of training and of the test, symbols of a crop, symbols of each stream of the test."""


def text_of(path: str) -> TextDataModule:
    """The text at a path, or the embedded one."""
    return TextFileDataModule(path) if path else EnglishTextDataModule()


def streams(tokens: Tensor, length: int) -> Tensor:
    """Places of a text that are evenly far apart, `(streams, length + 1)`."""
    starts = [(len(tokens) - length - 1) * stream // (STREAMS - 1) for stream in range(STREAMS)]
    return torch.stack([tokens[start : start + length + 1] for start in starts]).long()


def learn_text(job: Job) -> Job:
    """One run; returns the job with `bits`, on validation text, and processor seconds."""
    torch.set_num_threads(1)
    text = text_of(job["text"])
    passages = text.passages()
    symbols = len(text.symbols or "")
    student = Student(job, symbols, symbols, compiled=True)
    train = streams(passages["train"].tokens, job["tokens"] // STREAMS)
    start = time.process_time()
    state = student.learner.initial_state(STREAMS)
    for place in range(0, train.shape[1] - CROP, CROP):
        piece = train[:, place : place + CROP + 1]
        if job["method"] == "bptt":
            state = student.learner.initial_state(STREAMS)
        state = student.follow(piece[:, :-1], piece[:, 1:], state)[1]
    seconds = time.process_time() - start
    test = streams(passages["val"].tokens, SCORED)
    student.learner.eval()
    bits = student.score(test[:, :-1], test[:, 1:], student.learner.initial_state(STREAMS))[0]
    return {**job, "bits": bits, "updates": student.updates, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--text", default="", help="a file; the embedded text by default")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--sparsity", type=float, default=0.9375)
    parser.add_argument("--tokens", type=int, default=800_000, help="symbols that each run reads")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("rnn_charlm.jsonl"))
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.hidden, options.rates = 16 * 300, 16, options.rates[:1]
        options.results = Path("/dev/null")
    jobs = [
        {
            "task": "text",
            "text": options.text,
            "method": method,
            "hidden": options.hidden,
            "sparsity": options.sparsity,
            "rate": rate,
            "seed": seed,
            "tokens": options.tokens,
        }
        for seed in range(options.seeds)
        for rate in options.rates
        for method in options.methods
    ]
    runs = run_all(jobs, learn_text, options.results, options.processes)
    rows = []
    for method in options.methods:
        own = [run for run in runs if run["method"] == method]
        by_rate = {rate: [run["bits"] for run in own if run["rate"] == rate] for rate in options.rates}
        scores = {rate: sum(bits) / len(bits) for rate, bits in by_rate.items()}
        best = min(scores, key=lambda rate: scores[rate])
        seconds = sum(run["seconds"] for run in own) / len(own)
        others = " / ".join(f"{score:.2f}" for score in scores.values())
        rows.append([method, f"{scores[best]:.3f}", f"{best:.1g}", others, f"{seconds:.0f}"])
    name = Path(options.text).name or "the embedded text"
    print(f"{name}: GRU {options.hidden}, {options.sparsity:.1%} sparse, {options.tokens:,} symbols")
    print_table(["method", "bits/char", "rate", "at all rates", "processor s per run"], rows)


if __name__ == "__main__":
    main()
