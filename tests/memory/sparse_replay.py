"""The sparse access memory with a dense memory of its own at every step, by autograd."""

from typing import NamedTuple

import torch
from torch import Tensor

from graves_memory.equations.addressing import oneplus
from graves_memory.equations.sparse import cosine_of_words, read_few, read_weights, write_weights
from graves_memory.layers.network import Record
from graves_memory.layers.sam import SAM


class Dense(NamedTuple):
    """Everything that a step hands to the next one."""

    hidden: Tensor
    cell: Tensor
    words: Tensor
    reads: Tensor
    rows: Tensor
    memory: Tensor


def dense_start(net: SAM, batch: int, start: Tensor | None = None) -> Dense:
    like = net.output.weight
    kept = batch, net.heads, net.reads
    row = like.new_zeros(net.width) if start is None else start
    return Dense(
        like.new_zeros(batch, net.hidden_size),
        like.new_zeros(batch, net.hidden_size),
        like.new_zeros(batch, net.heads, net.width),
        like.new_zeros(kept),
        torch.zeros(kept, dtype=torch.int64),
        row.expand(batch, net.memory.rows, -1),
    )


def dense_step(net: SAM, inputs: Tensor, state: Dense, steps: dict[str, Tensor]) -> tuple[Tensor, Dense]:
    """A step that takes from the record only which rows are erased and read."""
    given = torch.cat([inputs, state.words.flatten(1)], 1)
    hidden, cell = net.controller(given, (state.hidden, state.cell))
    cell = cell if net.clip is None else cell.clamp(-net.clip, net.clip)
    interface = net.interface(hidden)
    interface = interface if net.clip is None else interface.clamp(-net.clip, net.clip)
    parts = interface.unflatten(1, (net.heads, -1))
    queries, words, gates, strengths = parts.split(
        [net.width, net.width, 2, parts.shape[2] - 2 * net.width - 2], 2
    )
    weights = write_weights(state.reads, *gates.sigmoid().unbind(2))
    oldest = steps["write_rows"][..., -1]
    memory = state.memory.clone()
    sequences = torch.arange(len(memory))[:, None]
    kept = torch.ones_like(memory)
    kept[sequences, oldest] = 0
    memory = memory * kept
    places = torch.cat([state.rows, oldest[..., None]], 2)
    added = torch.zeros(*places.shape, memory.shape[1], dtype=memory.dtype).scatter(3, places[..., None], 1)
    memory = memory + torch.einsum("bhk,bhw,bhkn->bnw", weights, words, added)
    rows = steps["read_rows"]
    found = memory[sequences[..., None], rows]
    beta = oneplus(strengths).squeeze(2) if strengths.numel() else torch.ones_like(gates[..., 0])
    reads = read_weights(found, queries, beta)
    read = read_few(reads, found)
    return torch.cat([hidden, read.flatten(1)], 1), Dense(hidden, cell, read, reads, rows, memory)


def dense_replay(net: SAM, inputs: Tensor, record: Record, state: Dense) -> tuple[Tensor, Dense]:
    """The outputs of all steps, `(time, batch, output)`, and the state after them."""
    features = []
    for given, steps in zip(inputs, record.steps, strict=True):
        feature, state = dense_step(net, given, state, steps)
        features.append(feature)
    return net.output(torch.stack(features)), state


def similarities(memory: Tensor, queries: Tensor) -> Tensor:
    """Of each query `(batch, heads, width)` and each row `(batch, rows, width)`, one by one."""
    return cosine_of_words(memory[:, None].expand(-1, queries.shape[1], -1, -1), queries)


def gradients(net: SAM, loss: Tensor, *others: Tensor) -> list[Tensor]:
    """By all parameters and some other tensors; they are left without gradients."""
    net.zero_grad()
    loss.backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
    found += [tensor.grad.clone() for tensor in others]
    for tensor in others:
        tensor.grad = None
    return found


def largest_difference(found: list[Tensor], expected: list[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))


def small_sam(**changes) -> SAM:
    """Few rows, so that they collide and are used again; double precision."""
    torch.manual_seed(changes.pop("seed", 0))
    sizes = {"hidden_size": 7, "rows": 12, "width": 6, "heads": 2, "reads": 3, **changes}
    net = SAM(3, 4, **sizes).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.0)
    return net
