"""How much memory backpropagation through time may use, as a user says it."""

import functools
from typing import Any, Literal, get_args

from graves_core.spec import Spec
from graves_rnn_training.layers.scan.choice import Amount, plans_within
from graves_rnn_training.layers.scan.cost import PlanCost
from graves_rnn_training.layers.scan.footprint import at_hand, least_bytes
from graves_rnn_training.layers.scan.sizes import StepBytes

BudgetStrategy = Literal["auto", "hidden", "internal", "mixed"]
"""A strategy of storing, or the best of them."""

CALL = 2
"""How many time steps the call of a segment takes the time of, roughly."""

STRIDE = 1.2
"""Ratio of the numbers of segments that are tried, one after the other."""

FEWEST = 16
"""Time steps of a segment that is chosen automatically, at least: shorter ones waste what fusing saves."""


class MemoryBudget(Spec):
    """How much memory the states of a sequence may take while it is trained on; the rest is run again.

    At most one of the amounts is given; without any, it is `forwards=2`: each step runs forward twice, as
    with ordinary checkpoints, in less memory than those need.

    Args:
        slots: stored states: as many as so many hidden states take, or internal ones under "internal".
        bytes: all that is stored or used at once, besides inputs, stacked outputs, and the gradients of
            inputs and parameters. An error says what is needed at least.
        fraction: the same, relative to full backpropagation through time. It is raised to the step at hand
            and log2(steps) hidden states, because with fewer the time explodes.
        forwards: the least memory in which each step runs forward so many times on average.
        strategy: what is stored: "hidden" states, "internal" ones (all that autograd keeps of a step, which
            saves running it again), or "mixed", the best of both at each place. "auto" is "mixed" but for
            segments, whose internal states are so large that one of the others is as good.
        segment: how many time steps are one step of the plan. "auto" is 1 for cells, and for `nn.LSTM` and
            its kin, which are fast on many steps at once, what fits the budget best.

    Raises:
        ValueError: when there is more than one amount, or one is out of its range.

    Example:
        >>> budget = MemoryBudget(slots=50, strategy="internal")
        >>> budget.plan(1000, StepBytes(hidden=65_536, internal=229_376)).forwards
        1950
        >>> MemoryBudget(slots=3, fraction=0.1)
        Traceback (most recent call last):
        ValueError: only one of slots, bytes, fraction and forwards can be given, not fraction=0.1, slots=3

    Source: Gruslys et al. 2016.
    """

    def __init__(
        self,
        slots: int | None = None,
        bytes: int | None = None,
        fraction: float | None = None,
        forwards: float | None = None,
        strategy: BudgetStrategy = "auto",
        segment: int | Literal["auto"] = "auto",
    ) -> None:
        amounts = {"slots": slots, "bytes": bytes, "fraction": fraction, "forwards": forwards}
        given = {name: value for name, value in amounts.items() if value is not None}
        if len(given) > 1:
            text = ", ".join(f"{name}={given[name]}" for name in sorted(given))
            raise ValueError(f"only one of slots, bytes, fraction and forwards can be given, not {text}")
        for name, value in given.items():
            if value <= 0 or (name != "fraction" and value < 1):
                least = "more than 0" if name == "fraction" else "at least 1"
                raise ValueError(f"{name} must be {least}, not {value}")
        if strategy not in get_args(BudgetStrategy):
            raise ValueError(f"strategy must be one of {get_args(BudgetStrategy)}, not {strategy!r}")
        if segment != "auto" and not (isinstance(segment, int) and segment >= 1):
            raise ValueError(f"segment must be at least 1 or 'auto', not {segment!r}")
        self.slots = slots
        self.bytes = bytes
        self.fraction = fraction
        self.forwards = forwards if given else 2.0
        self.strategy = strategy
        self.segment = segment

    @property
    def needs_sizes(self) -> bool:
        """Whether the sizes of states matter: if not, nothing needs to be measured."""
        return self.slots is None or self.strategy not in ("hidden", "internal")

    def plan(self, length: int, sizes: StepBytes | None, fused: bool = False) -> PlanCost:
        """The best plan within the budget.

        Args:
            length: number of time steps.
            sizes: bytes of the states of one time step; None if they do not matter.
            fused: whether a segment costs less time than its steps one by one.

        Raises:
            ValueError: when no plan keeps to the budget.
        """
        key = self.slots, self.bytes, self.fraction, self.forwards, self.strategy, self.segment
        return _planned(key, length, sizes, fused)

    def choose(self, length: int, sizes: StepBytes | None, fused: bool) -> PlanCost:
        """What `plan` remembers; arguments as there."""
        counts = [(k, -(-length // k), sizes and sizes.times(k)) for k in self._segments(length, fused)]
        total = self._total(*counts[0][1:])
        costs = [
            PlanCost(plan, length, segment, sized)
            for segment, steps, sized in counts
            for plan in plans_within(self.strategy, self._amount(steps, total), steps, sized, coarse=fused)
        ]
        if costs:
            return min(costs, key=self._worth)
        smallest = counts[0][2]
        if total is None or smallest is None:
            raise ValueError(f"forwards={self.forwards} needs another strategy than {self.strategy!r}")
        raise ValueError(f"bytes must be at least {least_bytes(smallest)}, which one step needs, not {total}")

    def _segments(self, length: int, fused: bool) -> list[int]:
        """The lengths of segments to choose from, in rising order."""
        if self.segment != "auto":
            return [min(int(self.segment), length)]
        if not fused:
            return [1]
        if self.slots is not None:
            return [-(-length // self.slots)]
        least = 1 if self.forwards is None else min(FEWEST, length)
        counts = {round(STRIDE**power) for power in range(200)}
        lengths = {max(least, -(-length // count)) for count in counts if count <= length}
        return sorted(lengths | {least})

    def _total(self, steps: int, sizes: StepBytes | None) -> int | None:
        """All bytes, if they are what is given: with a fraction, enough for the shortest segments."""
        if sizes is None or self.fraction is None:
            return self.bytes
        least = at_hand(sizes) + sizes.hidden * (1 + steps.bit_length())
        return max(least, int(self.fraction * steps * sizes.internal))

    def _amount(self, steps: int, total: int | None) -> Amount:
        """What the budget allows for so many steps."""
        if self.forwards is not None:
            return Amount(forwards=self.forwards * steps)
        return Amount(slots=self.slots, size=total)

    def _worth(self, cost: PlanCost) -> tuple[float, float]:
        """What should be small: memory where the time is given, else time; short segments take more of it."""
        time, memory = cost.time_ratio * (1 + CALL / cost.segment), cost.peak_bytes or 0
        return (memory, time) if self.forwards is not None else (time, memory)


@functools.lru_cache(maxsize=1024)
def _planned(key: tuple[Any, ...], length: int, sizes: StepBytes | None, fused: bool) -> PlanCost:
    return MemoryBudget(*key).choose(length, sizes, fused)
