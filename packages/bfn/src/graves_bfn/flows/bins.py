"""A normal distribution cut into K equal bins on [-1, 1], without ever holding K numbers per variable.

Bin k = 0..K-1 has centre -1 + (2k + 1)/K and width h = 2/K. The two outermost bins take all the mass beyond
-1 and 1. Edges between bins are b_j = -1 + j h, j = 1..K-1, and z_j = (b_j - mean)/std.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

REACH = 5.6
"""Beyond so many standard deviations the normal distribution function is 0 or 1 in float32."""

FEW_BINS = 16
"""Below this the closed form of the sum over edges is too coarse, and the sum itself is short."""


def bin_index(x: Float[Tensor, "*shape"], num_bins: int) -> Int[Tensor, "*shape"]:
    """The bin that x falls into; what lies outside [-1, 1] belongs to the outermost bins."""
    return ((x + 1) / 2 * num_bins).floor().long().clamp_(0, num_bins - 1)


def bin_centre(
    index: Int[Tensor, "*shape"], num_bins: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*shape"]:
    """The centre of a bin: -1 + (2k + 1)/K."""
    return (2 * index + 1).to(dtype) / num_bins - 1


def quantise(x: Float[Tensor, "*shape"], num_bins: int) -> Float[Tensor, "*shape"]:
    """The centre of the bin that x falls into."""
    return bin_centre(bin_index(x, num_bins), num_bins, x.dtype)


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def log_normal_interval(
    low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """ln(Phi(high) - Phi(low)) for low < high, exact in both tails.

    The interval is mirrored into the lower tail, where the distribution function keeps its digits.
    """
    upper = low > 0
    a = torch.where(upper, -high, low)
    b = torch.where(upper, -low, high)
    log_b = torch.special.log_ndtr(b)
    gap = (torch.special.log_ndtr(a) - log_b).clamp(max=-1e-7)
    return log_b + torch.log(-torch.expm1(gap))


def log_bin_probability(
    x: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    std: Float[Tensor, "*shape"],
    num_bins: int,
) -> Float[Tensor, "*shape"]:
    """ln p of the bin that x falls into."""
    index = bin_index(x, num_bins)
    edge = index.to(mean.dtype) * (2 / num_bins) - 1
    left, right = (edge - mean) / std, (edge + 2 / num_bins - mean) / std
    inner = log_normal_interval(left, right)
    outer = torch.where(index == 0, torch.special.log_ndtr(right), torch.special.log_ndtr(-left))
    return torch.where((index == 0) | (index == num_bins - 1), outer, inner)


def log_bin_probabilities(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], num_bins: int
) -> Float[Tensor, "*shape bins"]:
    """ln p of every bin: K numbers per variable, for where there is no way around them."""
    edges = torch.arange(1, num_bins, device=mean.device, dtype=mean.dtype) * (2 / num_bins) - 1
    z = (edges - mean.unsqueeze(-1)) / std.unsqueeze(-1)
    inner = log_normal_interval(z[..., :-1], z[..., 1:])
    first, last = torch.special.log_ndtr(z[..., :1]), torch.special.log_ndtr(-z[..., -1:])
    return torch.cat([first, inner, last], -1)


def mode_bin(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], num_bins: int
) -> Int[Tensor, "*shape"]:
    """The most probable bin: the one that holds the mean, or one of the two outermost."""
    inside = bin_index(mean, num_bins)
    candidates = torch.stack([inside, torch.zeros_like(inside), torch.full_like(inside, num_bins - 1)])
    centres = bin_centre(candidates, num_bins, mean.dtype)
    scores = log_bin_probability(centres, mean.expand_as(centres), std.expand_as(centres), num_bins)
    return candidates.gather(0, scores.argmax(0, keepdim=True)).squeeze(0)


def expected_centre(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], num_bins: int
) -> Float[Tensor, "*shape"]:
    """The mean of the bin centres, sum_k p_k c_k, in memory that does not grow with the number of bins.

    Summation by parts turns it into 1 - 1/K - h sum_j Phi(z_j). With few bins that sum is taken as it is.
    With many, a narrow normal (std below a bin's width) needs only the 13 edges within its reach, and a
    wide one has a closed form (Euler and Maclaurin).
    """
    if num_bins < FEW_BINS:
        start, count = torch.ones_like(mean), num_bins - 1
        total = _EdgeSum.apply(mean, std, start, count, num_bins)
    else:
        total = _many_bins(mean, std, num_bins)
    return 1 - 1 / num_bins - 2 / num_bins * total


def _many_bins(mean: Tensor, std: Tensor, num_bins: int) -> Tensor:
    width = 2 / num_bins
    narrow = std < width
    narrow_std = std.clamp(max=width)
    with torch.no_grad():
        start = ((mean + 1 - REACH * narrow_std) / width).floor_().clamp_(min=0, max=num_bins - 1).add_(1)
    window = _EdgeSum.apply(mean, narrow_std, start, 2 * math.ceil(REACH) + 1, num_bins)
    return torch.where(narrow, window, _closed_edge_sum(mean, std.clamp(min=width), num_bins))


class _EdgeSum(torch.autograd.Function):
    """sum_j Phi(z_j) over `count` edges from `start`, with 1 for each edge above them.

    The derivatives, sums of the normal density, are taken in the same pass, so that memory holds two
    tensors per variable whatever the number of edges.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, std: Tensor, start: Tensor, count: int, num_bins: int
    ) -> Tensor:
        width = 2 / num_bins
        total = (num_bins - start - count).clamp_(min=0)
        density, slope = torch.zeros_like(mean), torch.zeros_like(mean)
        for j in range(count):
            edge = start + j
            valid = edge < num_bins
            z = torch.where(valid, (edge * width - 1 - mean) / std, -torch.inf)
            phi = _normal_density(z)
            total += torch.special.ndtr(z)
            density += phi
            slope += phi * z.nan_to_num(neginf=0.0)
        ctx.save_for_backward(density / std, slope / std)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        density, slope = ctx.saved_tensors
        (grad,) = grads
        return -grad * density, -grad * slope, None, None, None


def _closed_edge_sum(mean: Tensor, std: Tensor, num_bins: int) -> Tensor:
    """sum_j Phi(z_j) over all edges by Euler-Maclaurin, for std of at least a bin's width."""
    s = std / (2 / num_bins)
    u = (mean + 1) / (2 / num_bins)
    r2 = s.reciprocal().square()
    first, last = -u / s, (num_bins - u) / s
    ends = torch.special.ndtr(first) + torch.special.ndtr(last)
    return s * (_antiderivative(last, r2) - _antiderivative(first, r2)) - 0.5 * ends


def _antiderivative(z: Tensor, r2: Tensor) -> Tensor:
    # the integral of Phi and the first four correction terms, all of which carry the density as a factor;
    # beyond 12 the density is 0, and the bound keeps the polynomials finite
    bounded = z.clamp(-12, 12)
    q = bounded.square()
    series = 1 / 12 - r2 / 720 * (q - 1) + r2**2 / 30240 * (q**2 - 6 * q + 3)
    series = series - r2**3 / 1209600 * (q**3 - 15 * q**2 + 45 * q - 15)
    return z * torch.special.ndtr(z) + _normal_density(bounded) * (1 + r2 * series)
