"""Distances between what a model generates and real data, which see lost diversity as well as lost sharpness.

The likelihood of samples under a good model of the data rewards a sampler that repeats the most probable
examples. The distances here are between distributions: they grow when samples leave the data, and they grow
when samples cover only a part of them. Each is biased upwards by finite numbers of examples, so a value means
something only beside its floor, the distance of real data from other real data in the same numbers.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from graves_bfn.frechet import frechet_distance, principal_axes
from graves_bfn.ngrams import ngram_distance, symbols_in
from graves_core.spec import Spec


class SampleQuality(Spec, ABC):
    """How far samples are from real data: 0 is best, lower is better.

    Example:
        >>> import torch
        >>> class MeanGap(SampleQuality):
        ...     name = "mean_gap"
        ...     def __init__(self) -> None:
        ...         pass
        ...     def compare(self, samples, real):
        ...         return float((samples.mean() - real.mean()).abs())
        >>> MeanGap().floor(torch.tensor([1.0, 2.0, 1.0, 4.0]))
        1.0
    """

    name: str
    """What the number is called where it is logged."""

    @abstractmethod
    def compare(self, samples: Tensor, real: Tensor) -> float:
        """The distance of samples from real data, examples first in both.

        Args:
            samples: what was generated.
            real: real examples, encoded as the model's data are.
        """

    def floor(self, real: Tensor, count: int | None = None) -> float:
        """The distance of the first `count` real examples from the others: what perfect samples would score.

        Show it beside every value, from as many examples as there are samples. Comparing the samples with
        `real[count:]` too leaves no difference of numbers between the two.

        Args:
            real: real examples in random order; an order by class would raise the floor.
            count: how many take the place of the samples; half of them by default.

        Raises:
            ValueError: when `count` leaves nothing on one side.
        """
        count = len(real) // 2 if count is None else count
        if not 1 <= count < len(real):
            raise ValueError(f"count must lie in 1..{len(real) - 1} for {len(real)} examples, not {count}")
        return self.compare(real[:count], real[count:])


class FrechetQuality(SampleQuality):
    """Fréchet distance of examples as vectors, along the directions in which real data vary most.

    Catches wrong means, wrong scales (blur and lost classes shrink variances, noise swells them) and wrong
    correlations, for images of any flow (classes 0 and 1 count as numbers) and for tables. Further features
    than the projections measure how far an example lies off those directions, so that noise there is seen as
    well. Two sets with the same means and covariances are the same to it: it is no judge of fine detail.

    With d features, each set should have many times d examples. The distance between n and m examples of one
    distribution is near d (d + 5)/4 (1/n + 1/m) where the variances are 1, and scales with them.

    Args:
        components: how many directions; fewer where examples have fewer numbers, `None` for all.

    Raises:
        ValueError: when `components` is less than 1.

    Example:
        >>> import torch
        >>> real = torch.randn(1_000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> quality = FrechetQuality(components=8)
        >>> quality.compare(0.5 * real, real) > 10 * quality.floor(real)
        True
    """

    name = "frechet_distance"

    def __init__(self, components: int | None = 32) -> None:
        if components is not None and components < 1:
            raise ValueError(f"components must be at least 1 or None, not {components}")
        self.components = components

    def compare(self, samples: Tensor, real: Tensor) -> float:
        """The squared distance, in squared units of the data.

        Args:
            samples: at least two examples, `(count, *variables)`.
            real: at least two examples of the same variables.

        Raises:
            ValueError: when the variables differ, or there is nothing to compare.
        """
        if samples.shape[1:] != real.shape[1:]:
            raise ValueError(f"samples are {tuple(samples.shape[1:])} each, real {tuple(real.shape[1:])}")
        samples, real = samples.flatten(1).double(), real.flatten(1).double()
        if self.components is not None and self.components < real.shape[1]:
            axes = principal_axes(real, self.components)
            samples, real = axes.features(samples), axes.features(real)
        return float(frechet_distance(samples, real))


class NGramQuality(SampleQuality):
    """Total variation distance between the n-gram frequencies of tokens: 0 for equal ones, 1 for disjoint.

    Catches misspelling (n-grams that real text lacks) as well as repetition of frequent ones; nothing beyond
    n tokens is seen. Two sets of one distribution, with N and M independent n-grams, have a distance near the
    sum over all n-grams of sqrt(p (1 - p)(1/N + 1/M)/(2 pi)): of high orders, where most n-grams are rare,
    the floor is high and falls slowly.

    Args:
        order: n.

    Raises:
        ValueError: when `order` is less than 1.

    Example:
        >>> import torch
        >>> real = torch.tensor([[0, 1, 2, 0, 1, 2]])
        >>> NGramQuality(order=2).compare(torch.tensor([[0, 1, 0, 1, 0, 1]]), real)
        0.6
    """

    def __init__(self, order: int = 3) -> None:
        if order < 1:
            raise ValueError(f"order must be at least 1, not {order}")
        self.order = order
        self.name = f"{order}gram_distance"

    def compare(self, samples: Tensor, real: Tensor) -> float:
        """The distance, in [0, 1].

        Args:
            samples: tokens, `(count, length)`.
            real: tokens, `(count, length)`; the lengths may differ.

        Raises:
            TypeError: when tokens are no integers.
            ValueError: when there is nothing to compare.
        """
        for name, tokens in {"samples": samples, "real": real}.items():
            if tokens.is_floating_point():
                raise TypeError(f"{name} must hold integers, not {tokens.dtype}")
        return float(ngram_distance(samples, real, self.order, symbols_in(samples, real)))
