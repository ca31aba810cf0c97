"""Scores of an evaluation, by groups: the level of a task, the sight of a character, the number of a task."""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_memory.module.answers import Kind, Scores

GROUPS = {"level": 0, "sight": 1, "task": 0}
"""Keys of a batch by which scores are told apart, whole numbers `(batch,)` or `(batch, time)`, and what is
added in the names: a character that has been shown twice before is seen for the third time."""
SHOWN = {"sight": {"accuracy"}, "task": {"error"}}
"""Which measures of a group are logged, where not all are."""
FAILED = 0.05
"""A bAbI task counts as failed when more of its answers are wrong. Source: Weston et al. 2015."""

Reduce = Callable[[Tensor, str], Tensor]


class Tally:
    """Sums of scores, in total and by the groups that batches name; each rank adds its own.

    Example:
        >>> tally = Tally()
        >>> ones = torch.ones(2, 3)
        >>> tally.add(Scores(ones, ones, ones), torch.ones(2), {"level": torch.tensor([4, 5])})
        >>> values = tally.values("bits", lambda table, how: table)
        >>> [name for name in values if name.startswith("wrong_bits")]
        ['wrong_bits', 'wrong_bits_level_4', 'wrong_bits_level_5']
    """

    def __init__(self) -> None:
        self._tables: dict[str, Tensor] = {}

    def add(self, scores: Scores, begun: Float[Tensor, " batch"], batch: Mapping[str, Tensor]) -> None:
        """Adds the scores of a batch.

        Args:
            scores: of its steps.
            begun: 1 for each sequence that begins in this batch, 0 for those that go on.
            batch: names the groups.
        """
        begins = torch.zeros_like(scores.due)
        begins[:, 0] = begun
        parts = torch.stack([*(part.detach() for part in scores), begins], -1)
        self._add("", torch.zeros_like(scores.due, dtype=torch.long), parts)
        for name in GROUPS:
            if name in batch:
                groups = batch[name].long()
                self._add(name, groups.view(len(groups), -1).expand(scores.due.shape), parts)

    def values(self, kind: Kind, reduce: Reduce) -> dict[str, float]:
        """The measures over all ranks, by name; a group is named like `accuracy_sight_2`.

        Args:
            kind: what the answers were.
            reduce: makes one tensor of those of all ranks, by `"max"` or `"sum"`.
        """
        found: dict[str, float] = {}
        for name, table in self._tables.items():
            rows = {group: row for group, row in enumerate(_reduced(table, reduce).tolist()) if row[2]}
            for group, row in rows.items():
                ending = f"_{name}_{group + GROUPS[name]}" if name else ""
                shown = {key: v for key, v in measures(kind, *row).items() if key in SHOWN.get(name, {key})}
                found |= {measure + ending: value for measure, value in shown.items()}
            if name == "task":
                errors = [wrong / due for _, wrong, due, _ in rows.values()]
                found["mean_task_error"] = sum(errors) / max(len(errors), 1)
                found["failed_tasks"] = float(sum(error > FAILED for error in errors))
        return found

    def _add(
        self, name: str, groups: Int[Tensor, "batch time"], parts: Float[Tensor, "batch time 4"]
    ) -> None:
        """Adds the steps whose group is not negative."""
        counted = groups >= 0
        table = parts.new_zeros(int(groups.max().clamp(min=0)) + 1, 4)
        table.index_add_(0, groups[counted], parts[counted])
        before = self._tables.get(name, table[:0])
        size = max(len(table), len(before))
        self._tables[name] = _lengthened(before, size) + _lengthened(table, size)


def measures(kind: Kind, nats: float, wrong: float, due: float, begun: float) -> dict[str, float]:
    """Means of scores: per answer, and for bits also per sequence.

    Args:
        kind: what the answers were.
        nats: sum of -log p(answer).
        wrong: number of wrong answers.
        due: number of answers, at least 1.
        begun: number of sequences; 0 when none is whole.
    """
    found = {"loss": nats / due, "accuracy": 1 - wrong / due, "error": wrong / due}
    if kind == "bits" and begun:
        found |= {"bits_per_sequence": nats / math.log(2) / begun, "wrong_bits": wrong / begun}
    return found


def _lengthened(table: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(table, (0, 0, 0, size - len(table)))


def _reduced(table: Tensor, reduce: Reduce) -> Tensor:
    """The sum of the tables of all ranks, which may know different groups."""
    size = reduce(torch.tensor(len(table), device=table.device), "max")
    return reduce(_lengthened(table, int(size)), "sum")
