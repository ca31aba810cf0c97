"""Temporal links stated with whole matrices, in numpy, and random writes and reads to try them with."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from graves_memory.layers.sparse.links import LinkState, SparseLinks


@dataclass
class Chain:
    """N, P and p of one head of one sequence, cut to the largest entries at every step."""

    rows: int
    links: int
    before: np.ndarray = field(init=False)
    after: np.ndarray = field(init=False)
    last: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.before, self.after = np.zeros((2, self.rows, self.rows))
        self.last = np.zeros(self.rows)

    def cut(self, values: np.ndarray) -> np.ndarray:
        kept = np.zeros_like(values)
        for row in np.argsort(-values)[: self.links]:
            kept[row] = values[row]
        return kept

    def write(self, w: np.ndarray) -> None:
        """The printed equations, entry by entry."""
        before, after = self.before.copy(), self.after.copy()
        for i in range(self.rows):
            for j in range(self.rows):
                before[i, j] = (1 - w[i]) * self.before[i, j] + w[i] * self.last[j] * (i != j)
                after[i, j] = (1 - w[j]) * self.after[i, j] + w[j] * self.last[i] * (i != j)
        self.before = np.stack([self.cut(row) for row in before])
        self.after = np.stack([self.cut(row) for row in after])
        self.last = self.cut((1 - w.sum()) * self.last + w)

    def follow(self, r: np.ndarray) -> np.ndarray:
        """Backward and forward weights: links of the rows that were read, cut and at most one in all."""
        found = [self.cut(r @ links) for links in (self.before, self.after)]
        return np.stack([weights / max(1, weights.sum()) for weights in found])


def trace(
    steps: int, shape: tuple[int, int, int], rows: int, seed: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Rows with weights of writes and reads; rows repeat, some weights are zero, some writes are whole."""
    draw = torch.Generator().manual_seed(seed)

    def weights(total: float) -> Tensor:
        found = torch.rand(shape, generator=draw, dtype=torch.float64)
        found *= torch.rand(shape, generator=draw) < 0.7
        return total * found / found.sum(-1, keepdim=True).clamp_min(1e-3)

    made = []
    for step in range(steps):
        written = weights(0.3 + 0.7 * (step % 3) / 2)
        if step % 4 == 0:
            written = torch.zeros_like(written)
            written[..., step % shape[2]] = 1
        named = torch.randint(rows, shape, generator=draw)
        made.append((named, written, weights(1.0)))
    return made


def dense(rows: int, names: Tensor, weights: Tensor) -> np.ndarray:
    """A vector over all rows, of weights of some."""
    found = np.zeros(rows)
    np.add.at(found, names.numpy(), weights.numpy())
    return found


def matrices(links: SparseLinks, state: LinkState) -> np.ndarray:
    """P and N of all heads, `(batch, heads, 2, rows, rows)`, and the weights of what does not exist."""
    rows, batch, heads = links.rows, len(state.rows), links.heads
    found = np.zeros((batch, heads, 2, rows, rows))
    for b in range(batch):
        for h in range(heads):
            start = state.starts[b, h]
            at = start + torch.arange(rows)[None]
            for half, (to, weights) in enumerate((links.table.after(at), links.table.before(at))):
                for row in range(rows):
                    kept = weights[0, row] > 0
                    found[b, h, half, row] = dense(rows, to[0, row][kept] - start, weights[0, row][kept])
    return found
