"""The dense networks with a memory, stated once more: numpy, float64, one sequence, loops over rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]
EPSILON = 1e-6


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def cosine(a: Array, b: Array) -> float:
    return float(a @ b) / math.sqrt((a @ a + EPSILON) * (b @ b + EPSILON))


def by_content(memory: Array, key: Array, strength: float, mask: Array | None = None) -> Array:
    mask = np.ones(len(key)) if mask is None else mask
    return softmax(np.array([strength * cosine(row * mask, key * mask) for row in memory]))


def sharpened(weights: Array, power: float) -> Array:
    raised = np.array([(weight + EPSILON) ** power for weight in weights])
    return raised / raised.sum()


def allocated(usage: Array) -> Array:
    usage = EPSILON + (1 - EPSILON) * usage
    found, before = np.zeros(len(usage)), 1.0
    for row in sorted(range(len(usage)), key=lambda i: (usage[i], i)):
        found[row] = (1 - usage[row]) * before
        before *= usage[row]
    return found


def new_links(links: Array, writes: Array, precedence: Array) -> Array:
    new = np.zeros_like(links)
    for i in range(len(writes)):
        for j in range(len(writes)):
            if i != j:
                new[i, j] = (1 - writes[i] - writes[j]) * links[i, j] + writes[i] * precedence[j]
    return new


def shifted(weights: Array, shift: Array) -> Array:
    rows = len(weights)
    new = np.zeros(rows)
    for i in range(rows):
        for j, share in zip((-1, 0, 1), shift, strict=True):
            new[i] += weights[(i - j) % rows] * share
    return new


class Cursor:
    """Takes numbers off a vector, one part after the other."""

    def __init__(self, numbers: Array) -> None:
        self.numbers, self.at = numbers, 0

    def take(self, *shape: int) -> Array:
        count = math.prod(shape)
        self.at += count
        return self.numbers[self.at - count : self.at].reshape(shape)

    def one(self) -> float:
        return float(self.take(1)[0])


@dataclass
class Controller:
    """The LSTM, the interface and the output layer of a network."""

    net: nn.Module
    hidden: Array = field(init=False)
    cell: Array = field(init=False)
    words: Array = field(init=False)

    def __post_init__(self) -> None:
        self.hidden = np.zeros(self.net.hidden_size)
        self.cell = np.zeros(self.net.hidden_size)
        self.words = np.zeros((self.net.heads, self.net.width))

    def weight(self, name: str) -> Array:
        return self.net.get_parameter(name).detach().double().numpy()

    def limited(self, x: Array) -> Array:
        return x if self.net.clip is None else np.clip(x, -self.net.clip, self.net.clip)

    def __call__(self, inputs: Array) -> Cursor:
        given = np.concatenate([inputs, self.words.flatten()])
        gates = self.weight("controller.weight_ih") @ given + self.weight("controller.bias_ih")
        gates = gates + self.weight("controller.weight_hh") @ self.hidden + self.weight("controller.bias_hh")
        into, forget, new, out = gates.reshape(4, -1)
        cell = sigmoid(forget) * self.cell + sigmoid(into) * np.tanh(new)
        self.hidden = sigmoid(out) * np.tanh(cell)
        self.cell = self.limited(cell)
        interface = self.weight("interface.weight") @ self.hidden + self.weight("interface.bias")
        return Cursor(self.limited(interface))

    def output(self) -> Array:
        features = np.concatenate([self.hidden, self.words.flatten()])
        return self.weight("output.weight") @ features + self.weight("output.bias")


def ntm(net: nn.Module) -> Callable[[Array], tuple[Array, dict[str, Array]]]:
    """A function of the inputs of a step, which returns the output and the state."""
    controller, heads, rows, width = Controller(net), net.heads, net.rows, net.width
    memory = np.zeros((rows, width))
    weights = np.zeros((2 * heads, rows))
    weights[:, 0] = 1

    def step(inputs: Array) -> tuple[Array, dict[str, Array]]:
        nonlocal memory, weights
        said = controller(inputs)
        new = np.zeros_like(weights)
        for head in range(2 * heads):
            key, strength, gate = said.take(width), softplus(said.one()), float(sigmoid(said.take(1))[0])
            shift, power = softmax(said.take(3)), 1 + softplus(said.one())
            near = gate * by_content(memory, key, strength) + (1 - gate) * weights[head]
            new[head] = sharpened(shifted(near, shift), power)
        weights = new
        erase, add = sigmoid(said.take(heads, width)), said.take(heads, width)
        controller.words = np.stack([weights[head] @ memory for head in range(heads)])
        for head in range(heads):
            writes = weights[heads + head]
            memory = memory * (1 - np.outer(writes, erase[head])) + np.outer(writes, add[head])
        return controller.output(), {"memory": memory, "weights": weights, "words": controller.words}

    return step


def dam(net: nn.Module) -> Callable[[Array], tuple[Array, dict[str, Array]]]:
    """A function of the inputs of a step, which returns the output and the state."""
    controller, heads, rows, width = Controller(net), net.heads, net.rows, net.width
    memory, reads, usage = np.zeros((rows, width)), np.zeros((heads, rows)), np.zeros(rows)

    def step(inputs: Array) -> tuple[Array, dict[str, Array]]:
        nonlocal memory, reads, usage
        said = controller(inputs)
        oldest = sorted(range(rows), key=lambda i: (usage[i], i))[:heads]
        writes, queries, strengths, new = np.zeros((heads, rows)), [], [], memory.copy()
        new[oldest] = 0
        for head in range(heads):
            query, word = said.take(width), said.take(width)
            alpha, gamma = sigmoid(said.take(2))
            beta = 1 + softplus(said.one()) if net.strengths else 1.0
            writes[head] = alpha * gamma * reads[head]
            writes[head, oldest[head]] += alpha * (1 - gamma)
            new += np.outer(writes[head], word)
            queries.append(query)
            strengths.append(beta)
        memory = new
        reads = np.stack([by_content(memory, q, s) for q, s in zip(queries, strengths, strict=True)])
        controller.words = reads @ memory
        usage = net.discount * usage + writes.sum(0) + reads.sum(0)
        return controller.output(), {"memory": memory, "read_weights": reads, "usage": usage}

    return step


@dataclass
class Steering:
    """What one step of a DNC does."""

    keys: Array
    strengths: list[float]
    write_keys: Array
    write_strengths: list[float]
    erase: Array
    words: Array
    free: Array
    allocation: Array
    gates: Array
    modes: Array
    masks: Array | None
    powers: Array | None

    @classmethod
    def read(cls, net: nn.Module, said: Cursor) -> "Steering":
        heads, writers, width = net.heads, net.write_heads, net.width
        least = 1.0 if net.variant == "paper" else 0.0
        return cls(
            said.take(heads, width),
            [least + softplus(said.one()) for _ in range(heads)],
            said.take(writers, width),
            [least + softplus(said.one()) for _ in range(writers)],
            sigmoid(said.take(writers, width)),
            said.take(writers, width),
            sigmoid(said.take(heads)),
            sigmoid(said.take(writers)),
            sigmoid(said.take(writers)),
            np.stack([softmax(mode) for mode in said.take(heads, 1 + 2 * writers)]),
            sigmoid(said.take(heads + writers, width)) if net.sizes.masked_keys else None,
            1 + np.log1p(np.exp(said.take(2, writers, heads))) if net.sizes.sharpen_links else None,
        )

    def mask(self, head: int) -> Array | None:
        return None if self.masks is None else self.masks[head]


class DNCSteps:
    """A function of the inputs of a step, which returns the output and the state."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.controller = net, Controller(net)
        self.heads, self.rows, self.writers = net.heads, net.rows, net.write_heads
        self.memory, self.usage = np.zeros((net.rows, net.width)), np.zeros(net.rows)
        self.links = np.zeros((self.writers, net.rows, net.rows))
        self.precedence, self.writes = np.zeros((2, self.writers, net.rows))
        self.reads = np.zeros((net.heads, net.rows))

    def __call__(self, inputs: Array) -> tuple[Array, dict[str, Array]]:
        do = Steering.read(self.net, self.controller(inputs))
        kept = self.use(do)
        self.writes = self.places_to_write(do)
        self.write(do, kept if self.net.erase_freed else np.ones(self.rows))
        self.link()
        self.reads = np.stack([self.place_to_read(do, head) for head in range(self.heads)])
        self.controller.words = self.reads @ self.memory
        output = self.controller.output()
        output = self.controller.limited(output) if self.net.variant == "released" else output
        names = ("memory", "usage", "links", "precedence")
        state = {name: getattr(self, name) for name in names}
        return output, {**state, "write_weights": self.writes, "read_weights": self.reads}

    def use(self, do: Steering) -> Array:
        kept, unwritten = np.ones(self.rows), np.ones(self.rows)
        for head in range(self.heads):
            kept *= 1 - do.free[head] * self.reads[head]
        for head in range(self.writers):
            unwritten *= 1 - self.writes[head]
        wrote = 1 - unwritten
        self.usage = (self.usage + wrote - self.usage * wrote) * kept
        return kept

    def places_to_write(self, do: Steering) -> Array:
        simulated, new = self.usage, []
        for head in range(self.writers):
            free, share, gate = allocated(simulated), do.allocation[head], do.gates[head]
            simulated = simulated + (1 - simulated) * gate * share * free
            mask = do.mask(self.heads + head)
            content = by_content(self.memory, do.write_keys[head], do.write_strengths[head], mask)
            new.append(gate * (share * free + (1 - share) * content))
        return np.stack(new)

    def write(self, do: Steering, kept: Array) -> None:
        self.memory = self.memory * kept[:, None]
        for head in range(self.writers):
            self.memory = self.memory * (1 - np.outer(self.writes[head], do.erase[head]))
        for head in range(self.writers):
            self.memory = self.memory + np.outer(self.writes[head], do.words[head])

    def link(self) -> None:
        old = zip(self.links, self.writes, self.precedence, strict=True)
        self.links = np.stack([new_links(*each) for each in old])
        pairs = zip(self.writes, self.precedence, strict=True)
        self.precedence = np.stack([(1 - w.sum()) * p + w for w, p in pairs])

    def place_to_read(self, do: Steering, head: int) -> Array:
        on = [links @ self.reads[head] for links in self.links]
        back = [links.T @ self.reads[head] for links in self.links]
        if do.powers is not None:
            on = [sharpened(w, p) for w, p in zip(on, do.powers[0, :, head], strict=True)]
            back = [sharpened(w, p) for w, p in zip(back, do.powers[1, :, head], strict=True)]
        content = [by_content(self.memory, do.keys[head], do.strengths[head], do.mask(head))]
        ways = back + content + on if self.net.variant == "paper" else back + on + content
        return sum(mode * way for mode, way in zip(do.modes[head], ways, strict=True))


def spread(net: nn.Module, scale: float = 1.5) -> nn.Module:
    """The network with parameters so large that gates, strengths and modes differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in net.parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(scale * noise / max(value.shape[-1], 1) ** 0.5)
    return net
