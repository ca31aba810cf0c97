"""Samplers that solve the equation which the beliefs follow; they need fewer network calls."""

from typing import Literal

from graves_bfn.flows.base import Estimate, GenerationStep
from graves_bfn.flows.losses import Params
from graves_bfn.flows.times import TimeGrid
from graves_bfn.samplers.base import Draws, Sampler


class _Solver(Sampler):
    """Follows the beliefs over the times of a grid from `start` to 1."""

    stochastic: bool

    def __init__(self, order: Literal[1, 2], start: float, grid: TimeGrid | None, temperature: float) -> None:
        super().__init__(grid, temperature)
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, not {order}")
        self.order = order
        self.start = start

    def begin(self, draws: Draws) -> Params:
        """Beliefs after messages about nothing."""
        return draws.flow.beliefs_about(None, self.start, draws.message(0))

    def advance(
        self, draws: Draws, step: GenerationStep, memory: Estimate | None, t: float, i: int
    ) -> tuple[Params, Estimate | None]:
        """One step of the equation, with the estimates of this step and of the one before."""
        estimate = Estimate(step.time, step.output.mean)
        noise = draws.message(i + 1) if self.stochastic else None
        params = draws.flow.solve(step.params, estimate, memory, t, noise)
        return params, estimate if self.order == 2 else None


class SDESolver(_Solver):
    """Solves the stochastic equation of the beliefs; second order needs far fewer steps than messages do.

    Of first order, from `start=0` and for continuous data, it is the paper's sampler.

    Args:
        order: 1 or 2.
        start: the time to start at, in [0, 1); 0.01 suits images, 0.001 text.
        grid: where between `start` and 1 the steps lie; equal steps by default.
        temperature: p^(1/temperature) takes the place of the output distribution.

    Raises:
        ValueError: when an argument is out of range.

    Source: Xue et al. 2024, SDE-BFN-Solver.

    Example:
        >>> SDESolver(order=1).order
        1
    """

    stochastic = True

    def __init__(
        self,
        order: Literal[1, 2] = 2,
        start: float = 1e-3,
        grid: TimeGrid | None = None,
        temperature: float = 1.0,
    ) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start must lie in [0, 1), not {start}")
        super().__init__(order, start, grid, temperature)


class ODESolver(_Solver):
    """Solves the ordinary equation with the same marginals: the start decides the sample.

    Args:
        order: 1 or 2.
        start: the time to start at, in (0, 1); 0.01 suits images, 0.001 text.
        grid: where between `start` and 1 the steps lie; equal steps by default.
        temperature: p^(1/temperature) takes the place of the output distribution.

    Raises:
        ValueError: when an argument is out of range.

    Source: Xue et al. 2024, BFN-Solver.

    Example:
        >>> ODESolver(order=2, start=0.01).start
        0.01
    """

    stochastic = False

    def __init__(
        self,
        order: Literal[1, 2] = 2,
        start: float = 1e-3,
        grid: TimeGrid | None = None,
        temperature: float = 1.0,
    ) -> None:
        if not 0 < start < 1:
            raise ValueError(f"start must lie in (0, 1), not {start}")
        super().__init__(order, start, grid, temperature)
