"""Ways to generate data from any flow: the paper's, and solvers that need fewer network calls."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from graves_bfn.flows.base import Estimate, Flow, GenerationStep, Network
from graves_core.spec import Spec


class Sampler(Spec, ABC):
    """Generates with a flow and a network, showing every step.

    Example:
        >>> from graves_bfn import DiscreteFlow
        >>> network = lambda theta, t: torch.zeros(4, 6, 3)
        >>> steps = list(SDESolver().generate(DiscreteFlow(3, 1.0), network, (4, 6), num_steps=2))
        >>> [round(step.time, 4) for step in steps]
        [0.001, 0.5005, 1.0]
    """

    @abstractmethod
    def generate(
        self,
        flow: Flow,
        network: Network,
        shape: tuple[int, ...],
        num_steps: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[GenerationStep]:
        """Steps from nearly no information to the last output, whose mode is the sample.

        Args:
            flow: the data type.
            network: maps network inputs and times to outputs.
            shape: the shape of the data to make, batch first.
            num_steps: how many steps; the network is called once more.
            generator: the source of the noise.
            device: where to work.
        """


class MessageSampler(Sampler):
    """The paper's sampler: the receiver sends itself noisy messages about what it draws.

    Source: Graves et al. 2023, algorithms 3, 6 and 9.

    Example:
        >>> MessageSampler().spec["class_path"]
        'graves_bfn.MessageSampler'
    """

    def __init__(self) -> None:
        pass

    def generate(
        self,
        flow: Flow,
        network: Network,
        shape: tuple[int, ...],
        num_steps: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[GenerationStep]:
        """See `Flow.generate`."""
        return flow.generate(network, shape, num_steps, generator=generator, device=device)


class _Solver(Sampler):
    """Follows the beliefs on a uniform grid of times from `start` to 1."""

    stochastic: bool

    def __init__(self, order: Literal[1, 2] = 2, start: float = 1e-3) -> None:
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, not {order}")
        if not 0 < start < 1:
            raise ValueError(f"start must lie in (0, 1), not {start}")
        self.order = order
        self.start = start

    def generate(
        self,
        flow: Flow,
        network: Network,
        shape: tuple[int, ...],
        num_steps: int,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[GenerationStep]:
        """See `Sampler`.

        Args:
            flow: the data type.
            network: maps network inputs and times to outputs.
            shape: the shape of the data to make, batch first.
            num_steps: how many steps; the network is called once more.
            noise: normal noise of the start and of every step that wants some, with an axis in front.
            generator: the source of the noise that is not given.
            device: where to work.

        Raises:
            ValueError: when `num_steps` is not positive.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, not {num_steps}")
        times = [self.start + (1 - self.start) * i / num_steps for i in range(num_steps)] + [1.0]
        noise_shape = flow.message_noise_shape(shape)

        def draw(i: int) -> Tensor:
            if noise is not None:
                return noise[i]
            return torch.randn(noise_shape, generator=generator, device=device)

        params, before = flow.uninformed(draw(0), times[0]), None
        clock = torch.empty(shape[0], device=device)
        for i, (now, following) in enumerate(pairwise(times), 1):
            output = flow.predict(network, params, clock.fill_(now))
            yield GenerationStep(now, params, output)
            estimate = Estimate(now, output.mean)
            params = flow.solve(params, estimate, before, following, draw(i) if self.stochastic else None)
            before = estimate if self.order == 2 else None
        yield GenerationStep(1.0, params, flow.predict(network, params, clock.fill_(1.0)))


class SDESolver(_Solver):
    """Solves the stochastic equation of the beliefs; second order needs far fewer steps than messages do.

    Of first order and for continuous data it is the paper's sampler.

    Args:
        order: 1 or 2.
        start: the time to start at; 0.01 suits images, 0.001 text.

    Raises:
        ValueError: when an argument is out of range.

    Source: Xue et al. 2024, SDE-BFN-Solver.

    Example:
        >>> SDESolver(order=1).order
        1
    """

    stochastic = True

    def __init__(self, order: Literal[1, 2] = 2, start: float = 1e-3) -> None:
        super().__init__(order, start)


class ODESolver(_Solver):
    """Solves the ordinary equation with the same marginals: the start decides the sample.

    Args:
        order: 1 or 2.
        start: the time to start at; 0.01 suits images, 0.001 text.

    Raises:
        ValueError: when an argument is out of range.

    Source: Xue et al. 2024, BFN-Solver.

    Example:
        >>> ODESolver(order=2, start=0.01).start
        0.01
    """

    stochastic = False

    def __init__(self, order: Literal[1, 2] = 2, start: float = 1e-3) -> None:
        super().__init__(order, start)
