"""What all samplers share: the loop over times, and batches of any size."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from graves_bfn.flows.arrays import Shape, batch_of, concatenated, first, mapped, real_dtype, rows, with_batch
from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.flows.losses import Network, Params
from graves_bfn.flows.times import TimeGrid, UniformGrid
from graves_bfn.guidance.control import Control, share
from graves_core.spec import Spec


@dataclass(frozen=True)
class Draws:
    """Where a generation gets its random numbers from.

    Args:
        flow: the data type.
        shape: the shape of the data to make, batch first.
        noise: normal noise, an entry per use in the first axis; fresh numbers when not given.
        output_noise: numbers to draw data with, an entry per step; fresh numbers when not given.
        generator: the source of fresh numbers.
        device: where to make them.
    """

    flow: Flow
    shape: Shape
    noise: Any = None
    output_noise: Any = None
    generator: torch.Generator | None = None
    device: torch.device | str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """That of the given noise, float32 at least; beliefs and times follow it."""
        return real_dtype() if self.noise is None else real_dtype(first(self.noise).dtype)

    def message(self, i: int) -> Any:
        """Normal noise number i for one message."""
        if self.noise is not None:
            return rows(self.noise, i)
        return self.flow.message_noise(self.shape, generator=self.generator, device=self.device)

    def output(self, i: int) -> Any:
        """Numbers number i to draw data from the output distribution with."""
        if self.output_noise is not None:
            return rows(self.output_noise, i)
        return self.flow.output_noise(self.shape, generator=self.generator, device=self.device)


class Sampler(Spec, ABC):
    """Generates with a flow and a network, showing every step.

    The loop is the same for all: the network is shown the beliefs, a subclass moves the beliefs to the next
    time, controls correct both. A subclass defines `advance`, and `begin` where it does not start with the
    prior.

    Args:
        grid: where between the start and 1 the steps lie; equal steps by default.
        temperature: p^(1/temperature) takes the place of the output distribution: below 1 the samples are
            more alike and more probable, above 1 more diverse.

    Raises:
        ValueError: when `temperature` is not positive.

    Example:
        >>> from graves_bfn import DiscreteFlow, SDESolver
        >>> network = lambda theta, t: torch.zeros(4, 6, 3)
        >>> steps = list(SDESolver().generate(DiscreteFlow(3, 1.0), network, (4, 6), num_steps=2))
        >>> [round(step.time, 4) for step in steps]
        [0.001, 0.5005, 1.0]
    """

    start: float = 0.0

    def __init__(self, grid: TimeGrid | None = None, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.grid = UniformGrid() if grid is None else grid
        self.temperature = temperature

    def begin(self, draws: Draws) -> Params:
        """The beliefs at the start; the prior."""
        prior = draws.flow.prior(draws.shape, device=draws.device)
        return mapped(lambda values: values.to(draws.dtype), prior)

    @abstractmethod
    def advance(
        self, draws: Draws, step: GenerationStep, memory: Any, t: float, i: int
    ) -> tuple[Params, Any]:
        """Moves the beliefs of a step to time t.

        Args:
            draws: the flow and the random numbers.
            step: time, beliefs and output of this moment.
            memory: what this method returned for the step before; None at first.
            t: the time to go to.
            i: the number of the step, from 0.

        Returns:
            The beliefs at time t, and what to remember for the next step.
        """

    def times(self, num_steps: int) -> list[float]:
        """The times of the steps, from the start to 1.

        Raises:
            ValueError: when `num_steps` is not positive, or not a number of steps that the grid has.
        """
        return [self.start + (1 - self.start) * f for f in self.grid.fractions(num_steps)[:-1]] + [1.0]

    @torch.no_grad()
    def generate(
        self,
        flow: Flow,
        network: Network,
        shape: Shape,
        num_steps: int,
        *,
        controls: Sequence[Control] = (),
        self_conditioning: bool = False,
        noise: Any = None,
        output_noise: Any = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Iterator[GenerationStep]:
        """Steps from nearly no information to the last output, whose mode is the sample.

        Args:
            flow: the data type.
            network: maps network inputs and times to outputs.
            shape: the shape of the data to make, batch first.
            num_steps: how many steps; the network is called once more.
            controls: what steers the generation, in this order.
            self_conditioning: show the network what it expected in the step before (`estimate=`).
            noise: normal noise of the messages, with an axis in front for the steps; samplers that start
                after time 0 take their start from its first entry.
            output_noise: numbers to draw data with, as `Flow.output_noise` makes them, with an axis in front.
            generator: the source of what is not given.
            device: where to work.

        Raises:
            ValueError: when `num_steps` is not positive, or not a number of steps that the grid has.
        """
        draws = Draws(flow, shape, noise, output_noise, generator, device)
        times = self.times(num_steps)
        for control in controls:
            control.begun()
        params, memory, estimate = self.begin(draws), None, None
        for i, (now, following) in enumerate(pairwise(times)):
            output = self._output(draws, network, params, now, estimate, controls)
            step = GenerationStep(now, params, output)
            yield step
            estimate = flow.estimate_inputs(output) if self_conditioning else None
            params, memory = self.advance(draws, step, memory, following, i)
            for control in controls:
                params = control.moved(flow, step, params, following)
                order = control.survivors(flow, step, following, generator)
                if order is not None:
                    params, memory, estimate = rows((params, memory, estimate), order)
        output = self._output(draws, network, params, 1.0, estimate, controls)
        yield GenerationStep(1.0, params, output)

    def _output(
        self,
        draws: Draws,
        network: Network,
        params: Params,
        time: float,
        estimate: Any,
        controls: Sequence[Control],
    ) -> Any:
        """What the network makes of the beliefs, with all corrections."""
        flow = draws.flow
        for control in controls:
            params = control.shown(flow, params)
        t = torch.full((batch_of(draws.shape),), time, dtype=draws.dtype, device=draws.device)
        output = flow.predict(network, params, t, estimate)
        if self.temperature != 1:
            output = output.tempered(self.temperature)
        for control in controls:
            output = control.expected(flow, output)
        return output

    def sample(
        self,
        flow: Flow,
        network: Network,
        shape: Shape,
        num_steps: int,
        *,
        controls: Sequence[Control] = (),
        self_conditioning: bool = False,
        batch_size: int | None = None,
        progress: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Draws data of any size, batch by batch.

        Args:
            flow: the data type.
            network: maps network inputs and times to outputs; a `ConditionedNetwork` and the like give every
                batch its share of what they hold.
            shape: the shape of the data to make, batch first.
            num_steps: how many steps.
            controls: as in `generate`; every batch gets its share.
            self_conditioning: as in `generate`.
            batch_size: how many to draw at a time; all at once by default.
            progress: show a progress bar over steps.
            generator: the source of the noise.
            device: where to work.

        Returns:
            The modes of the last outputs, `shape`.

        Raises:
            ValueError: when `batch_size` is not positive, or `num_steps` as in `generate`.
        """
        count = batch_of(shape)
        size = count if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size must be at least 1, not {size}")
        starts = range(0, count, size)
        parts = []
        with _bar(len(starts) * (num_steps + 1), progress) as bar:
            for begin in starts:
                part = slice(begin, min(begin + size, count))
                steps = self.generate(
                    flow,
                    share(network, part),
                    with_batch(shape, part.stop - part.start),
                    num_steps,
                    controls=[share(control, part) for control in controls],
                    self_conditioning=self_conditioning,
                    generator=generator,
                    device=device,
                )
                (last,) = deque(_counting(steps, bar), maxlen=1)
                parts.append(last.output.mode)
        return concatenated(parts)


def _bar(total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, disable=not shown, desc="sampling", unit="step")


def _counting(steps: Iterator[GenerationStep], bar: Any) -> Iterator[GenerationStep]:
    for step in steps:
        bar.update()
        yield step
