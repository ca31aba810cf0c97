"""How fast messages become accurate: beta(t), the accuracy of all messages up to time t together.

A schedule maps times of any shape to accuracies of the same shape. One with an accuracy of its own for every
variable adds an axis at the end, as long as the last axis of the data.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from graves_core.spec import Spec

PROBES = 65
"""How many times a schedule is looked at when a flow checks it."""


class Schedule(Spec, ABC):
    """An accuracy that starts at 0 and increases. The paths differ, the price of the data does not.

    The loss for infinitely many messages depends on beta(1) alone; the path decides how much the estimate of
    the loss varies and how good few steps are. A subclass defines `beta`; its derivative is found by
    automatic differentiation unless the subclass gives a cheaper formula. Schedules are fixed: losses give
    them no gradient.

    Example:
        >>> class Cubic(Schedule):
        ...     def __init__(self, beta_1: float) -> None:
        ...         self.beta_1 = beta_1
        ...     def beta(self, t):
        ...         return self.beta_1 * t**3
        >>> Cubic(2.0).beta_rate(torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.0000, 1.5000, 6.0000])
    """

    @abstractmethod
    def beta(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*accuracies"]:
        """The accuracy of all messages up to time t together."""

    def beta_rate(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*accuracies"]:
        """The derivative of `beta` in t."""
        rate: Tensor = torch.func.jvp(self.beta, (t,), (torch.ones_like(t),))[1]
        return rate

    def check(self) -> None:
        """Looks at the schedule on a grid of times.

        Raises:
            ValueError: when it does not start at 0, does not increase, or is not finite.
        """
        beta = self.beta(torch.linspace(0, 1, PROBES, dtype=torch.float64))
        name = type(self).__name__
        if not beta.isfinite().all():
            raise ValueError(f"schedule must be finite on [0, 1], but {name} is not")
        if beta[0].abs().max() > 1e-9 * beta[-1].abs().max():
            raise ValueError(f"schedule must start with beta(0) = 0, but {name} starts at {beta[0].tolist()}")
        if not (beta.diff(dim=0) > 0).all():
            raise ValueError(f"schedule must increase with t, but {name} does not")


class ExponentialSchedule(Schedule):
    """The paper's for normal beliefs: beta(t) = sigma_1^(-2t) - 1. Source: Graves et al. 2023, section 4.

    The entropy of the beliefs falls at a constant rate.

    Args:
        sigma_1: standard deviation of the beliefs once all messages have arrived, in (0, 1).

    Raises:
        ValueError: when `sigma_1` is out of range.

    Example:
        >>> ExponentialSchedule(0.5).beta(torch.tensor([0.0, 1.0]))
        tensor([0., 3.])
    """

    def __init__(self, sigma_1: float) -> None:
        if not 0 < sigma_1 < 1:
            raise ValueError(f"sigma_1 must lie in (0, 1), not {sigma_1}")
        self.sigma_1 = sigma_1

    def beta(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """sigma_1^(-2t) - 1."""
        return torch.expm1(-2 * math.log(self.sigma_1) * t)

    def beta_rate(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """-2 ln(sigma_1) sigma_1^(-2t)."""
        exponent = -2 * math.log(self.sigma_1)
        return exponent * torch.exp(exponent * t)


class QuadraticSchedule(Schedule):
    """The paper's for classes: beta(t) = beta(1) t^2. Source: Graves et al. 2023, section 6.

    Args:
        beta_1: beta(1), positive. The authors' settings name its square root.

    Raises:
        ValueError: when `beta_1` is not positive.

    Example:
        >>> QuadraticSchedule(3.0).beta(torch.tensor([0.5, 1.0]))
        tensor([0.7500, 3.0000])
    """

    def __init__(self, beta_1: float) -> None:
        if not 0 < beta_1 < math.inf:
            raise ValueError(f"beta_1 must be positive, not {beta_1}")
        self.beta_1 = beta_1

    def beta(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """beta(1) t^2."""
        return self.beta_1 * t.square()

    def beta_rate(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """2 beta(1) t."""
        return 2 * self.beta_1 * t


class EntropySchedule(Schedule):
    """For classes, an entropy of the beliefs that falls nearly in a straight line.

    beta(t) = -(4/K) ln(1 - t + t e) with e = exp(-K beta(1)/4). It is straight to a few per cent for up to
    ten classes; with more of them it falls late, with hundreds later than on the paper's schedule.

    Args:
        num_classes: K, at least 2.
        beta_1: beta(1), positive; 20.4054/K by default.

    Raises:
        ValueError: when an argument is out of range.

    Source: Tao and Abe 2025, ChemBFN.

    Example:
        >>> EntropySchedule(num_classes=4).beta(torch.ones(1))
        tensor([5.1013])
    """

    def __init__(self, num_classes: int, beta_1: float | None = None) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, not {num_classes}")
        if beta_1 is not None and not 0 < beta_1 < math.inf:
            raise ValueError(f"beta_1 must be positive, not {beta_1}")
        self.num_classes = num_classes
        self.beta_1 = 20.4054 / num_classes if beta_1 is None else beta_1

    @property
    def _exponent(self) -> float:
        """-ln e."""
        return self.num_classes * self.beta_1 / 4

    @property
    def _gap(self) -> float:
        """1 - e."""
        return -math.expm1(-self._exponent)

    def beta(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """-(4/K) ln(1 - t + t e), also where e is 0 in floating point."""
        gone = self._gap * t
        early = torch.log1p(-gone.clamp(max=0.5))
        late = torch.logaddexp(torch.log1p(-t), t.clamp(min=0.5).log() - self._exponent)
        return -4 / self.num_classes * torch.where(gone < 0.5, early, late)

    def beta_rate(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """(4/K)(1 - e)/(1 - t + t e); at the end no more than right before it, where floating point ends."""
        rest = 1 - t + t * math.exp(-self._exponent)
        return 4 / self.num_classes * self._gap / rest.clamp(min=torch.finfo(t.dtype).eps / 2)


class PerVariableSchedule(Schedule):
    """A schedule of its own for each entry of the data's last axis: columns of a table, channels of an image.

    Args:
        schedules: one per entry, at least one; none of them per variable itself.

    Raises:
        ValueError: when there is none, or one has an accuracy per variable already.

    Example:
        >>> both = PerVariableSchedule([QuadraticSchedule(1.0), QuadraticSchedule(4.0)])
        >>> both.beta(torch.tensor([0.5]))
        tensor([[0.2500, 1.0000]])
    """

    def __init__(self, schedules: list[Schedule]) -> None:
        if not schedules:
            raise ValueError("schedules must hold at least one schedule, not none")
        if any(isinstance(schedule, PerVariableSchedule) for schedule in schedules):
            raise ValueError("schedules must have one accuracy each, not another PerVariableSchedule")
        self.schedules = schedules

    def beta(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times variables"]:
        """All of them, in the last axis."""
        return torch.stack([schedule.beta(t) for schedule in self.schedules], -1)

    def beta_rate(self, t: Float[Tensor, "*times"]) -> Float[Tensor, "*times variables"]:
        """All of them, in the last axis."""
        return torch.stack([schedule.beta_rate(t) for schedule in self.schedules], -1)


def one_schedule(
    name: str, number: float | None, schedule: Schedule | None, paper: Callable[[float], Schedule]
) -> Schedule:
    """The paper's schedule with this number at its end, or the one that is given in its place.

    Raises:
        ValueError: when none or both are given, or the paper's schedule refuses the number.
    """
    if number is not None and schedule is None:
        return paper(number)
    if schedule is not None and number is None:
        return schedule
    given = "neither" if schedule is None else f"{name}={number} and {type(schedule).__name__}"
    raise ValueError(f"give either {name} or schedule, not {given}")
