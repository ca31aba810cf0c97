"""What a budget comes to for a sequence: the plan, and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass

from graves_rnn_training.layers.scan.footprint import peak_bytes
from graves_rnn_training.layers.scan.sizes import StepBytes
from graves_rnn_training.schedules.plan import Plan


@dataclass(frozen=True)
class PlanCost:
    """A plan for one sequence, and what it costs in time and memory.

    Args:
        plan: what is stored when.
        length: number of time steps.
        segment: how many of them a step of the plan has; the last may have fewer.
        sizes: bytes of the states of one step of the plan; None when nobody has measured them.

    Example:
        >>> from graves_rnn_training.schedules.plan import make_plan
        >>> cost = PlanCost(make_plan(1000, 50, strategy="hidden"), 1000, 1, StepBytes(65_536, 229_376))
        >>> cost.forwards, cost.slots, round(cost.time_ratio, 2), f"{cost.saved:.0%}"
        (2948, 50.0, 1.65, '98%')
    """

    plan: Plan
    length: int
    segment: int
    sizes: StepBytes | None

    @property
    def slots(self) -> float:
        """How many hidden states fit in, or internal ones if only those are stored."""
        return self.plan.units / self.plan.hidden_units

    @property
    def forwards(self) -> int:
        """Forward operations of the plan, the first sweep included."""
        return self.plan.forwards

    @property
    def forward_factor(self) -> float:
        """How often each step runs forward on average; 1 when everything is stored."""
        return self.forwards / self.plan.steps

    @property
    def time_ratio(self) -> float:
        """Predicted time relative to full backpropagation, if backward takes twice as long as forward."""
        return (self.forward_factor + 2) / 3

    @property
    def peak_bytes(self) -> int | None:
        """Expected peak of all states, those of the step at hand included; None without sizes."""
        return None if self.sizes is None else peak_bytes(self.plan, self.sizes)

    @property
    def full_bytes(self) -> int | None:
        """What full backpropagation through time would store; None without sizes."""
        return None if self.sizes is None else self.plan.steps * self.sizes.internal

    @property
    def saved(self) -> float | None:
        """The share of the memory of full backpropagation that is saved; None without sizes."""
        if self.peak_bytes is None or self.full_bytes is None:
            return None
        return 1 - self.peak_bytes / self.full_bytes

    def __str__(self) -> str:
        """One line for people."""
        what = f"{self.length} steps" + (f" in segments of {self.segment}" if self.segment > 1 else "")
        text = (
            f"{what}: {self.slots:g} slots ({self.plan.strategy}), {self.forward_factor:.2f} forward passes, "
            f"about {self.time_ratio:.2f} of the time"
        )
        if self.peak_bytes is None or self.full_bytes is None:
            return text
        return f"{text}, {self.peak_bytes / 1e6:.3g} MB instead of {self.full_bytes / 1e6:.3g} MB"


Report = Callable[[PlanCost], None]
"""Told what a scan with gradients costs, before it runs."""
