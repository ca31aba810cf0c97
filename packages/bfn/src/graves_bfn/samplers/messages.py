"""The paper's sampler."""

from typing import Any

from graves_bfn.flows.base import GenerationStep
from graves_bfn.flows.losses import Params
from graves_bfn.flows.times import TimeGrid
from graves_bfn.samplers.base import Draws, Sampler


class MessageSampler(Sampler):
    """The paper's sampler: the receiver sends itself noisy messages about what it draws.

    Args:
        grid: when the messages end; evenly spaced by default.
        temperature: p^(1/temperature) takes the place of the output distribution.

    Raises:
        ValueError: when `temperature` is not positive.

    Source: Graves et al. 2023, algorithms 3, 6 and 9.

    Example:
        >>> MessageSampler().spec["class_path"]
        'graves_bfn.MessageSampler'
    """

    def __init__(self, grid: TimeGrid | None = None, temperature: float = 1.0) -> None:
        super().__init__(grid, temperature)

    def advance(
        self, draws: Draws, step: GenerationStep, memory: Any, t: float, i: int
    ) -> tuple[Params, None]:
        """x' ~ p_O, y ~ p_S(y | x'; alpha), Bayes' rule."""
        flow = draws.flow
        x = step.output.sample(draws.output(i))
        return flow.receive(step.params, x, step.time, t, draws.message(i)), None
