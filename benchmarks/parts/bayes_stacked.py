"""Many independent DQN agents at once: their networks are stacked, so that one operation serves all."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from graves_bayes import DeepSeaBatch
from graves_bayes.noise.draws import signed_sqrt

Exploration = Literal["noisy", "noisy_episode", "eps_short", "eps_long", "greedy"]
HIDDEN, GAMMA, BATCH, RATE, COPY_EVERY, CAPACITY, SIGMA0 = 50, 0.99, 32, 1e-3, 100, 100_000, 0.5
SOLVED_AFTER = 100
OPTIMAL = 0.99 - 1e-6


class Layer(NamedTuple):
    """The parameters of a layer of every agent; sigmas are None where there is no noise."""

    weight: Tensor  # agents, outputs, inputs
    bias: Tensor  # agents, 1, outputs
    weight_sigma: Tensor | None
    bias_sigma: Tensor | None


class StackedNetworks:
    """Perceptrons of the same shape, one for each agent, with factorised noise in all layers or none.

    Args:
        agents: how many.
        sizes: of the inputs, the hidden layers and the outputs.
        noisy: whether weights have noise.
        draw: source of the initial weights.
    """

    def __init__(self, agents: int, sizes: list[int], noisy: bool, draw: torch.Generator) -> None:
        self.layers = []
        for inputs, outputs in pairwise(sizes):
            bound = 1 / math.sqrt(inputs)
            weight = (2 * torch.rand(agents, outputs, inputs, generator=draw) - 1) * bound
            bias = (2 * torch.rand(agents, 1, outputs, generator=draw) - 1) * bound
            sigmas = [torch.full_like(mean, SIGMA0 * bound) if noisy else None for mean in (weight, bias)]
            self.layers.append(Layer(weight, bias, *sigmas))

    def parameters(self) -> Iterator[Tensor]:
        """All of them."""
        return (part for layer in self.layers for part in layer if part is not None)

    def weights(self, draw: torch.Generator | None) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases with new noise in each agent; the means if there is no source of noise."""
        return [self._sampled(layer, draw) for layer in self.layers]

    def copy_from(self, other: "StackedNetworks") -> None:
        """Takes over the parameters of other networks."""
        with torch.no_grad():
            for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
                mine.copy_(theirs)

    @staticmethod
    def _sampled(layer: Layer, draw: torch.Generator | None) -> tuple[Tensor, Tensor]:
        if draw is None or layer.weight_sigma is None or layer.bias_sigma is None:
            return layer.weight, layer.bias
        agents, outputs, inputs = layer.weight.shape
        noise = signed_sqrt(torch.randn(agents, inputs + outputs, generator=draw))
        of_inputs, of_outputs = noise[:, None, :inputs], noise[:, inputs:, None]
        weight = torch.addcmul(layer.weight, layer.weight_sigma, of_outputs * of_inputs)
        return weight, torch.addcmul(layer.bias, layer.bias_sigma, noise[:, None, inputs:])


def values(weights: list[tuple[Tensor, Tensor]], cells: Tensor) -> Tensor:
    """Q of all actions, `(agents, batch, actions)`, in cells `(agents, batch)`, where inputs are one."""
    weight, bias = weights[0]
    index = cells[:, :, None].expand(-1, -1, weight.shape[1])
    padded = torch.nn.functional.pad(weight.transpose(1, 2), (0, 0, 0, 1))  # the cell after the end: no input
    hidden = padded.gather(1, index) + bias
    for weight, bias in weights[1:]:
        hidden = torch.baddbmm(bias, torch.relu(hidden), weight.transpose(1, 2))
    return hidden


class Fleet:
    """The agents, their seas, replay memories and optimizer.

    Args:
        size: of the seas.
        seeds: of the agents; each has a map, weights and noise of its own.
        how: how they explore.
        episodes: of the whole run, which schedules refer to.
    """

    def __init__(self, size: int, seeds: list[int], how: Exploration, episodes: int) -> None:
        self.draw = torch.Generator().manual_seed(seeds[0])
        self.seas, self.how, self.steps_in_all = DeepSeaBatch(size, seeds), how, size * episodes
        noisy, sizes = how.startswith("noisy"), [size * size, HIDDEN, HIDDEN, 2]
        self.online = StackedNetworks(len(seeds), sizes, noisy, self.draw)
        self.target = StackedNetworks(len(seeds), sizes, noisy, self.draw)
        self.target.copy_from(self.online)
        learned = [part.requires_grad_() for part in self.online.parameters()]
        self.optimizer = torch.optim.Adam(learned, lr=RATE, foreach=True)
        rows = min(CAPACITY, self.steps_in_all)
        self.cells = torch.zeros(2, len(seeds), rows, dtype=torch.int64)  # before and after
        self.actions = torch.zeros(len(seeds), rows, dtype=torch.int64)
        self.rewards = torch.zeros(len(seeds), rows)
        self.ends = torch.zeros(len(seeds), rows, dtype=torch.bool)
        self.steps = 0
        self.streak = torch.zeros(len(seeds), dtype=torch.int64)
        self.solved = torch.full((len(seeds),), -1)
        self.seen = torch.full((len(seeds),), -1)

    def epsilon(self) -> float:
        """How often a random action is taken now."""
        if self.how == "eps_short":
            return max(0.1, 1 - 0.9 * self.steps / (0.1 * self.steps_in_all))
        if self.how == "eps_long":
            return max(0.01, 1 - 0.99 * self.steps / (0.5 * self.steps_in_all))
        return 0.0

    def episode(self, number: int) -> None:
        """Plays and learns, then looks whether each agent, with noise off, has learned."""
        cells, done = self.seas.reset(), False
        with torch.no_grad():
            acting = self.online.weights(self.draw)
        while not done:
            if self.how != "noisy_episode":
                with torch.no_grad():
                    acting = self.online.weights(self.draw)
            actions = self.act(acting, cells)
            after, rewards, done = self.seas.step(actions)
            self.keep(cells, actions, rewards, after, done)
            self.seen[(rewards > 0.5) & (self.seen < 0)] = number
            self.learn()
            cells = after
        self.streak = torch.where(self.returns() > OPTIMAL, self.streak + 1, 0)
        self.solved[(self.streak >= SOLVED_AFTER) & (self.solved < 0)] = number - SOLVED_AFTER + 1

    def act(self, acting: list[tuple[Tensor, Tensor]], cells: Tensor) -> Tensor:
        """An action of each agent."""
        with torch.no_grad():
            best = values(acting, cells[:, None]).squeeze(1).argmax(1)
        random = torch.rand(len(best), generator=self.draw) < self.epsilon()
        return torch.where(random, torch.randint(2, (len(best),), generator=self.draw), best)

    def keep(self, cells: Tensor, actions: Tensor, rewards: Tensor, after: Tensor, done: bool) -> None:
        """Writes a step of each agent into its memory."""
        row = self.steps % self.cells.shape[2]
        self.cells[0, :, row], self.cells[1, :, row] = cells, after
        self.actions[:, row], self.rewards[:, row], self.ends[:, row] = actions, rewards.float(), done
        self.steps += 1

    def learn(self) -> None:
        """One update of all agents; online and target networks draw noise of their own."""
        if self.steps < BATCH:
            return
        if self.steps % COPY_EVERY == 0:
            self.target.copy_from(self.online)
        filled = min(self.steps, self.cells.shape[2])
        rows = torch.randint(filled, (len(self.streak), BATCH), generator=self.draw)
        with torch.no_grad():
            after = values(self.target.weights(self.draw), self.cells[1].gather(1, rows)).amax(-1)
            goal = self.rewards.gather(1, rows) + GAMMA * ~self.ends.gather(1, rows) * after
        chosen = self.actions.gather(1, rows)[..., None]
        q = values(self.online.weights(self.draw), self.cells[0].gather(1, rows)).gather(2, chosen).squeeze(2)
        self.optimizer.zero_grad()
        (goal - q).square().mean(1).sum().backward()
        self.optimizer.step()

    @torch.no_grad()
    def returns(self) -> Tensor:
        """What each agent gets for an episode of best actions without noise."""
        weights, cells, done = self.online.weights(None), self.seas.reset(), False
        total = torch.zeros(len(cells), dtype=torch.float64)
        while not done:
            cells, rewards, done = self.seas.step(values(weights, cells[:, None]).squeeze(1).argmax(1))
            total += rewards
        return total
