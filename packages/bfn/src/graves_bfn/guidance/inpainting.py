"""Completing data of which a part is known."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_bfn.flows.arrays import Data, Tree, first, mapped, rows
from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.flows.losses import Params
from graves_bfn.guidance.control import Control


class _Known(Control):
    """Holds the known data and corrects every output by them."""

    def __init__(self, x: Data, known: Data) -> None:
        self.x = x
        self.known = known

    def rows(self, part: slice) -> Any:
        """The same for some of the examples."""
        some = copy.copy(self)
        some.x, some.known = rows(self.x, part), rows(self.known, part)
        return some

    def expected(self, flow: Flow, output: Any) -> Any:
        """What the network says, corrected where the data are known."""
        return flow.revealed_output(output, self.x, self.known)


class ClampInpainting(_Known):
    """The network is shown certain beliefs where the data are known.

    Nearly exact, if the network was trained with known variables (`BFN(known=...)`).

    Args:
        x: data, `(batch, *variables)`; what stands where nothing is known does not matter.
        known: booleans of the same shape.

    Example:
        >>> from graves_bfn import DiscreteFlow, MessageSampler
        >>> x, known = torch.tensor([[2, 0, 0]]), torch.tensor([[True, False, False]])
        >>> network = lambda theta, t: 9 * theta[:, :1].expand_as(theta)  # copies the first class
        >>> control = ClampInpainting(x, known)
        >>> MessageSampler().sample(DiscreteFlow(3, 3.0), network, (1, 3), 9, controls=[control])
        tensor([[2, 2, 2]])
    """

    def __init__(self, x: Data, known: Data) -> None:
        super().__init__(x, known)

    def shown(self, flow: Flow, params: Params) -> Params:
        """The beliefs of somebody who has been told."""
        return flow.reveal(params, self.x, self.known)


class ReplaceInpainting(_Known):
    """Messages are about the known data where there are any; works with every network.

    Biased: what is generated early does not know what will be revealed.

    Args:
        x: data, `(batch, *variables)`; what stands where nothing is known does not matter.
        known: booleans of the same shape.

    Example:
        >>> from graves_bfn import DiscreteFlow, MessageSampler
        >>> x, known = torch.tensor([[2, 0, 0]]), torch.tensor([[True, False, False]])
        >>> network = lambda theta, t: 9 * theta[:, :1].expand_as(theta)
        >>> control = ReplaceInpainting(x, known)
        >>> MessageSampler().sample(DiscreteFlow(3, 3.0), network, (1, 3), 9, controls=[control])[0, 0]
        tensor(2)
    """

    def __init__(self, x: Data, known: Data) -> None:
        super().__init__(x, known)


class ParticleInpainting(_Known):
    """Replacement, and of several particles per example those survive that expected what they were told.

    The batch to generate has `particles` consecutive places for each row of x. A particle loses weight by
    the price of the messages about the known data, by its own expectation; where the effective number of
    particles falls below half of them, they are drawn anew by weight. More particles, less bias.

    Args:
        x: data, `(examples, *variables)`.
        known: booleans of the same shape.
        particles: how many per example, at least 2.

    Raises:
        ValueError: when there are fewer than two particles.

    Source: Atkinson et al. 2024, ProtBFN (weights); Douc and Cappé 2005 (systematic resampling).

    Example:
        >>> from graves_bfn import DiscreteFlow, MessageSampler
        >>> x, known = torch.tensor([[2, 0, 0]]), torch.tensor([[True, False, False]])
        >>> control = ParticleInpainting(x, known, particles=4)
        >>> network = lambda theta, t: 9 * theta[:, :1].expand_as(theta)
        >>> many = MessageSampler().sample(DiscreteFlow(3, 3.0), network, (4, 3), 9, controls=[control])
        >>> control.choose(many).shape
        torch.Size([1, 3])
    """

    def __init__(self, x: Data, known: Data, particles: int = 8) -> None:
        if particles < 2:
            raise ValueError(f"particles must be at least 2, not {particles}")
        self.particles = particles
        super().__init__(self.repeated(x), self.repeated(known))
        self._believed: Any = None
        self.begun()

    def begun(self) -> None:
        """All particles weigh the same."""
        known = first(self.known)
        self.log_weights = torch.zeros(len(known) // self.particles, self.particles, device=known.device)

    def repeated(self, values: Tree) -> Tree:
        """Every row for each of its particles, of a tensor or a dict of tensors."""
        return mapped(lambda rows: rows.repeat_interleave(self.particles, 0), values)

    def rows(self, part: slice) -> Any:
        """Itself.

        Raises:
            ValueError: when that is not for all particles: `choose` needs the weights of them together.
        """
        count = len(first(self.known))
        if range(count)[part] != range(count):
            raise ValueError(f"batch_size must be at least {count}, all particles, for ParticleInpainting")
        return self

    def expected(self, flow: Flow, output: Any) -> Any:
        """What the network says, corrected where the data are known; what it had said is kept to weigh it."""
        self._believed = output
        return super().expected(flow, output)

    def survivors(
        self, flow: Flow, step: GenerationStep, t: float, generator: torch.Generator | None
    ) -> Int[Tensor, " batch"]:
        """Weighs the particles by what they had expected before they were told, and draws anew if need be."""
        cost = flow.expected_cost(self.x, self._believed, step.time, t, self.known)
        log_weights = (self.log_weights - cost.reshape(self.log_weights.shape)).log_softmax(-1)
        drawn = systematic_resampling(log_weights.exp(), generator)
        effective = 1 / log_weights.exp().square().sum(-1, keepdim=True)
        anew = effective < self.particles / 2
        own = torch.arange(self.particles, device=drawn.device)
        self.log_weights = log_weights.masked_fill(anew, 0.0)
        offsets = torch.arange(len(drawn), device=drawn.device).unsqueeze(-1) * self.particles
        return (torch.where(anew, drawn, own) + offsets).flatten()

    def choose(self, samples: Data, generator: torch.Generator | None = None) -> Data:
        """One of the particles of each example, drawn by weight.

        Args:
            samples: what was generated, `(examples * particles, *variables)`.
            generator: the source of the draw.
        """
        chosen = torch.multinomial(self.log_weights.softmax(-1), 1, generator=generator).squeeze(-1)
        offsets = torch.arange(len(chosen), device=chosen.device) * self.particles
        return rows(samples, chosen + offsets)


def systematic_resampling(
    weights: Float[Tensor, "examples particles"], generator: torch.Generator | None = None
) -> Int[Tensor, "examples particles"]:
    """Indices of particles, each about as often as its weight says, by one uniform number per example.

    Args:
        weights: of each example, summing to 1.
        generator: the source of the numbers.
    """
    examples, particles = weights.shape
    u = torch.rand(examples, 1, generator=generator, device=weights.device)
    levels = (u + torch.arange(particles, device=weights.device)) / particles
    cumulative = weights.cumsum(-1)
    index = torch.searchsorted(cumulative, levels * cumulative[:, -1:], right=True)
    return index.clamp_(max=particles - 1)
