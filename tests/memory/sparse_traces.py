"""A user's own cell on a sparse memory, beside one whose memory is a new tensor at every step."""

import torch
from torch import Tensor

from graves_memory.layers.sparse.memory import SparseMemory
from graves_memory.layers.sparse.state import MemoryState

KIND = torch.float64


class Given:
    """Random inputs of a trace: rows collide, heads read the same rows, and rows are used again."""

    def __init__(self, steps: int = 8, batch: int = 2, rows: int = 5, width: int = 3, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.batch, self.width, self.heads = batch, width, 2
        self.rows = torch.randint(rows, (steps, batch, 2, 3), generator=draw)
        self.erase = torch.stack([torch.randperm(rows, generator=draw)[:2] for _ in range(steps * batch)])
        self.erase = self.erase.view(steps, batch, 2)
        self.weights = torch.rand(steps, batch, 2, 3, generator=draw, dtype=KIND, requires_grad=True)
        self.words = torch.randn(steps, batch, 2, width, generator=draw, dtype=KIND, requires_grad=True)
        self.reads = torch.randint(rows, (steps, batch, 2, 4), generator=draw)
        self.goals = torch.randn(steps, batch, 2, 4, width, generator=draw, dtype=KIND)
        self.start = torch.randn(width, generator=draw, dtype=KIND, requires_grad=True)

    def leaves(self) -> list[Tensor]:
        return [self.weights, self.words, self.start]

    def gradients(self, loss: Tensor) -> list[Tensor]:
        found = torch.autograd.grad(loss, self.leaves(), allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(self.leaves(), found, strict=True)]


def opened(memory: SparseMemory, given: Given, trained: bool = False) -> MemoryState:
    """An episode all of whose rows may be named."""
    state = memory.begin(given.batch, given.words, given.start if trained else None)
    state.lease.tape.use(memory.rows)
    return state


def sparse_step(state: MemoryState, given: Given, step: int) -> tuple[Tensor, MemoryState]:
    state = state.write(given.rows[step], given.weights[step], given.words[step], given.erase[step])
    return state.read(given.reads[step])


def dense_step(memory: Tensor, given: Given, step: int) -> tuple[Tensor, Tensor]:
    sequences = torch.arange(given.batch)[:, None]
    kept = torch.ones_like(memory)
    kept[sequences, given.erase[step]] = 0
    places = torch.nn.functional.one_hot(given.rows[step], memory.shape[1]).to(memory.dtype)
    added = torch.einsum("bhk,bhw,bhkn->bnw", given.weights[step], given.words[step], places)
    memory = memory * kept + added
    return memory[sequences[..., None], given.reads[step]], memory


def dense_start(given: Given, rows: int, trained: bool = False) -> Tensor:
    start = given.start if trained else torch.zeros_like(given.start)
    return start.expand(given.batch, rows, -1)


def loss_of(words: Tensor, given: Given, step: int) -> Tensor:
    return (words * given.goals[step]).sum() + words.square().sum() / 10


def content(state: MemoryState) -> Tensor:
    """What the memory holds at the moment."""
    tape = state.lease.tape
    return tape.table.clone()
