"""Functions whose backward pass is written by hand, beside autograd of the equations."""

import pytest
import torch
from torch import Tensor, nn

from graves_memory.equations.sparse import read_few, read_weights, write_weights
from graves_memory.layers.sparse.content import content_gradients, read_content
from graves_memory.layers.sparse.control import FOLD, Gathered, ShareWeights, Weights, control
from graves_memory.layers.sparse.gated import gated_gradients, write_gated
from graves_memory.layers.sparse.memory import SparseMemory
from graves_memory.layers.sparse.tape import Tape

KIND = torch.float64
EXACT = {"rtol": 0, "atol": 1e-10}
BATCH, HEADS, READS, WIDTH = 2, 3, 4, 5


def drawn(*shape: int, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(shape, dtype=KIND)).requires_grad_()


def filled(rows: int = 7) -> Tape:
    """A tape with random rows, one of which is 0."""
    memory = SparseMemory(rows, WIDTH)
    tape = memory.begin(BATCH, torch.zeros((), dtype=KIND)).lease.tape
    tape.use(rows)
    tape.memory.normal_()
    tape.memory[2] = 0
    tape.changed(torch.arange(BATCH * rows))
    return tape


@pytest.mark.parametrize("strong", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_reading_by_content_has_the_derivatives_of_its_equations(strong, weighted):
    torch.manual_seed(0)
    tape = filled()
    rows = torch.randint(7, (BATCH, HEADS, READS))
    rows[0, 0] = torch.tensor([2, 2, 1, 2])
    queries = drawn(BATCH, HEADS, WIDTH)
    strengths = torch.rand(BATCH, HEADS, 1, dtype=KIND).add(1).requires_grad_() if strong else None
    words = tape.memory[tape.flat(rows)].view(BATCH, HEADS, READS, WIDTH).requires_grad_()
    beta = torch.ones(BATCH, HEADS, dtype=KIND) if strengths is None else strengths.squeeze(2)
    weights = read_weights(words, queries, beta)
    read = read_few(weights, words)
    of_read, of_weights = torch.randn_like(read), torch.randn_like(weights)
    leaves = [queries, words] + ([strengths] if strong else [])
    loss = (of_read * read).sum() + ((of_weights * weights).sum() if weighted else 0)
    expected = torch.autograd.grad(loss, leaves)
    with torch.no_grad():
        content = read_content(tape, tape.flat(rows), queries, strengths)
        found = content_gradients(content, queries, strengths, of_read, of_weights if weighted else None)
    torch.testing.assert_close(content.read, read, **EXACT)
    torch.testing.assert_close(content.weights, weights, **EXACT)
    torch.testing.assert_close(found[0], expected[0], **EXACT)
    torch.testing.assert_close(found[2].view_as(words), expected[1], **EXACT)
    assert (found[1] is None) == (not strong)
    if strong:
        torch.testing.assert_close(found[1], expected[2], **EXACT)


def test_a_gated_write_has_the_derivatives_of_its_equations():
    torch.manual_seed(1)
    tape = filled()
    rows = torch.randint(7, (BATCH, HEADS, READS))
    reads, words = torch.rand(BATCH, HEADS, READS, dtype=KIND).requires_grad_(), drawn(BATCH, HEADS, WIDTH)
    logits = drawn(BATCH, HEADS, 2)
    before = tape.table.clone()
    with torch.no_grad():
        gates = logits.sigmoid()
        both = gates[..., :1], gates[..., 1:]
        written = write_gated(tape, 0, rows, reads, words, both, logged=True)
        after, of_memory = tape.table.clone(), torch.randn_like(before)
        tape.gradient.copy_(of_memory.view_as(tape.gradient))
        found = gated_gradients(tape, written, reads, words, both)
    memory = before.clone().requires_grad_()
    oldest = written.rows[..., -1]
    kept = torch.ones_like(memory).scatter(1, oldest[..., None].expand(-1, -1, WIDTH), 0)
    weights = write_weights(reads, *logits.sigmoid().unbind(2))
    places = nn.functional.one_hot(torch.cat([rows, oldest[..., None]], 2), 7).to(KIND)
    expected = memory * kept + torch.einsum("bhk,bhw,bhkn->bnw", weights, words, places)
    torch.testing.assert_close(after, expected, **EXACT)
    torch.testing.assert_close(written.weights, weights, **EXACT)
    gradients = torch.autograd.grad((expected * of_memory).sum(), [reads, words, logits, memory])
    for gradient, right in zip([*found, tape.gradient.view_as(memory)], gradients, strict=True):
        torch.testing.assert_close(gradient, right, **EXACT)


class Controllers:
    """The same LSTM with an interface, by hand and of torch."""

    def __init__(self, steps: int, clip: float | None) -> None:
        torch.manual_seed(2)
        self.steps, self.clip = steps, clip
        self.cell, self.interface = nn.LSTMCell(3 + 4, 6).double(), nn.Linear(6, 5).double()
        self.x, self.read = drawn(steps, BATCH, 3), drawn(steps, BATCH, 4)
        self.hidden, self.memory = drawn(BATCH, 6), drawn(BATCH, 6, scale=3)
        self.leaves = [self.x, self.read, self.hidden, self.memory]
        self.leaves += [*self.cell.parameters(), *self.interface.parameters()]

    def by_hand(self) -> list[Tensor]:
        cell = self.cell
        recurrent = torch.cat([cell.weight_ih[:, 3:], cell.weight_hh], 1)
        weights = Weights(recurrent, self.interface.weight, self.interface.bias)
        gathered = Gathered(Weights(*(weight.detach() for weight in weights)))
        token = ShareWeights.apply(*weights, gathered)
        projected = nn.functional.linear(self.x, cell.weight_ih[:, :3], cell.bias_ih + cell.bias_hh)
        hidden, memory, results = self.hidden, self.memory, []
        for now, read in zip(projected, self.read, strict=True):
            hidden, memory, interface = control(token, now, read, hidden, memory, gathered, self.clip)
            results += [hidden, memory, interface]
        return results

    def of_torch(self) -> list[Tensor]:
        limit = torch.inf if self.clip is None else self.clip
        hidden, memory, results = self.hidden, self.memory, []
        for now, read in zip(self.x, self.read, strict=True):
            hidden, memory = self.cell(torch.cat([now, read], 1), (hidden, memory))
            memory = memory.clamp(-limit, limit)
            results += [hidden, memory, self.interface(hidden).clamp(-limit, limit)]
        return results


@pytest.mark.parametrize("steps", [1, 5, FOLD + 3])
@pytest.mark.parametrize("clip", [None, 0.2, 20.0])
@pytest.mark.parametrize("only", [None, 0, 1, 2])
def test_the_controller_has_the_derivatives_of_an_lstm_cell(steps, clip, only):
    both = Controllers(steps, clip)
    found, expected = both.by_hand(), both.of_torch()
    goals = [torch.randn_like(result) for result in expected]
    gradients = []
    for results in (found, expected):
        pairs = [
            (goal * result).sum()
            for number, (goal, result) in enumerate(zip(goals, results, strict=True))
            if only is None or number % 3 == only
        ]
        loss = torch.stack(pairs).sum()
        gradients.append(torch.autograd.grad(loss, both.leaves, allow_unused=True))
    for result, right in zip(found, expected, strict=True):
        torch.testing.assert_close(result, right, **EXACT)
    for gradient, right in zip(*gradients, strict=True):
        right = torch.zeros_like(gradient) if right is None else right
        torch.testing.assert_close(gradient, right, **EXACT)


def test_the_controller_without_gradients_says_the_same():
    both = Controllers(4, 20.0)
    with torch.no_grad():
        for result, right in zip(both.by_hand(), both.of_torch(), strict=True):
            torch.testing.assert_close(result, right, **EXACT)
