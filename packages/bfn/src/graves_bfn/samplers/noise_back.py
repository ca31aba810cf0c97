"""The sampler that starts anew from its latest guess at every step."""

from typing import Any

from graves_bfn.flows.base import GenerationStep
from graves_bfn.flows.losses import Params
from graves_bfn.flows.times import TimeGrid
from graves_bfn.samplers.base import Draws, Sampler


class NoiseBackSampler(Sampler):
    """Forgets the beliefs at every step and draws new ones about what the network expects.

    It seeks modes: with a perfect network its samples are more probable and less diverse than the data,
    and the more so the more steps it takes. Use it where one good answer is wanted, not the distribution.

    Args:
        grid: where the steps lie; equal steps by default.
        temperature: p^(1/temperature) takes the place of the output distribution.
        fixed_noise: one draw of the noise for all steps, which makes the path smooth.

    Raises:
        ValueError: when `temperature` is not positive.

    Source: Qu et al. 2024, MolCRAFT; with fixed noise Atkinson et al. 2024, ProtBFN.

    Example:
        >>> NoiseBackSampler(temperature=0.5).temperature
        0.5
    """

    def __init__(
        self, grid: TimeGrid | None = None, temperature: float = 1.0, fixed_noise: bool = False
    ) -> None:
        super().__init__(grid, temperature)
        self.fixed_noise = fixed_noise

    def advance(
        self, draws: Draws, step: GenerationStep, memory: Any, t: float, i: int
    ) -> tuple[Params, Any]:
        """Beliefs at time t about the network's expectation."""
        noise = draws.message(i) if memory is None else memory
        params = draws.flow.beliefs_about(step.output.mean, t, noise)
        return params, noise if self.fixed_noise else None
