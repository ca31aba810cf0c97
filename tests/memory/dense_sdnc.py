"""The sparse DNC with whole matrices and a new memory at every step, for autograd in float64."""

import torch
from link_traces import Chain
from torch import Tensor
from torch.nn.functional import linear, softplus

from graves_memory.layers.sdnc import SDNC

EPSILON = 1e-6


class DenseSDNC:
    """One sequence of the network, with its parameters.

    Which rows content finds is given and checked; of equal weights, the order in which rows are given counts.
    """

    def __init__(self, net: SDNC, memory: Tensor | None = None) -> None:
        self.net, self.rows = net, net.memory.rows
        like = net.output.weight
        self.hidden, self.cell = like.new_zeros(2, net.hidden_size)
        self.words = like.new_zeros(net.heads, net.width)
        start = like.new_zeros(net.width) if net.start is None else net.start
        self.memory = start.repeat(self.rows, 1) if memory is None else memory
        self.reads = like.new_zeros(net.heads, self.rows)
        self.chains = [Chain(self.rows, net.links) for _ in range(net.heads)]
        self.order = list(range(self.rows))
        self.given: list[list[int]] = [[]] * net.heads

    def step(self, inputs: Tensor, given: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """The output, the read weights of all rows, and the rows that were overwritten.

        Args:
            inputs: of this step.
            given: the rows that each head reads, those found by content first.
        """
        steering = self.control(inputs)
        width = self.net.width
        queries, additions = steering[:, :width], steering[:, width : 2 * width]
        gates = steering[:, 2 * width : 2 * width + 2].sigmoid()
        sharp, modes = steering[:, 2 * width + 2 : -3], steering[:, -3:].softmax(1)
        beta = 1 + softplus(sharp[:, 0]) if sharp.shape[1] else torch.ones(self.net.heads)
        oldest, found = self.order[: self.net.heads], given[:, : self.net.reads]
        writes, again = self.write(oldest, additions, gates)
        content = torch.stack([self.content(*each) for each in zip(queries, beta, found, strict=True)])
        self.follow(writes, content, modes)
        self.words = self.reads @ self.memory
        self.touch(oldest, again, given.tolist())
        return self.net.output(torch.cat((self.hidden, self.words.flatten()))), self.reads, oldest

    def control(self, inputs: Tensor) -> Tensor:
        """An LSTM by hand; returns the interface of each head."""
        cell = self.net.controller
        given = torch.cat((inputs, self.words.flatten()))
        sums = linear(given, cell.weight_ih, cell.bias_ih) + linear(self.hidden, cell.weight_hh, cell.bias_hh)
        into, forget, new, out = sums.chunk(4)
        self.cell = (forget.sigmoid() * self.cell + into.sigmoid() * new.tanh()).clamp(-20, 20)
        self.hidden = out.sigmoid() * self.cell.tanh()
        return self.net.interface(self.hidden).clamp(-20, 20).view(self.net.heads, -1)

    def write(self, oldest: list[int], additions: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """w_W of all rows, and its part that goes to rows read before; changes the memory."""
        alpha, gamma = gates[:, :1], gates[:, 1:]
        fresh = torch.nn.functional.one_hot(torch.tensor(oldest), self.rows)
        again = alpha * gamma * self.reads
        writes = again + alpha * (1 - gamma) * fresh
        self.memory = self.memory * (1 - fresh.sum(0))[:, None] + writes.t() @ additions
        return writes, again

    def content(self, query: Tensor, beta: Tensor, found: Tensor) -> Tensor:
        """Weights of all rows, zero but where the cosine is largest."""
        lengths = ((self.memory**2).sum(1) + EPSILON) * ((query**2).sum() + EPSILON)
        cosines = self.memory @ query / lengths.sqrt()
        others = [row for row in range(self.rows) if row not in found.tolist()]
        assert len(set(found.tolist())) == len(found)
        assert cosines[found].min() >= cosines[others].max() - 1e-12
        weights = (beta * cosines[found]).softmax(0)
        return torch.zeros_like(cosines).index_put((found,), weights)

    def follow(self, writes: Tensor, content: Tensor, modes: Tensor) -> None:
        """Links what is written, and mixes the three ways to read."""
        before, reads = self.reads.detach().numpy(), []
        for head, chain in enumerate(self.chains):
            chain.write(writes[head].detach().numpy())
            backward, forward = torch.tensor(chain.follow(before[head]))
            reads.append(torch.stack((backward, content[head], forward)).t() @ modes[head])
        self.reads = torch.stack(reads)

    def touch(self, oldest: list[int], again: Tensor, given: list[list[int]]) -> None:
        """Rows in the order of their last access that counts: oldest rows, then writes, then reads."""
        accesses = [(1.0, row) for row in oldest]
        for weights, lists in ((again, self.given), (self.reads, given)):
            named = [
                (weights[head, row].item(), row)
                for head, rows in enumerate(lists)
                for place, row in enumerate(rows)
                if row not in rows[place + 1 :]
            ]
            accesses += sorted(named, key=lambda access: access[0])
        self.given = given
        for weight, row in accesses:
            if weight > self.net.delta:
                self.order.remove(row)
                self.order.append(row)
