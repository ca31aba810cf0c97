"""A normal distribution cut into K equal bins on [-1, 1], without ever holding K numbers per variable.

Bin k = 0..K-1 has centre -1 + (2k + 1)/K and width h = 2/K. The two outermost bins take all the mass beyond
-1 and 1. Edges between bins are b_j = -1 + j h, j = 1..K-1, and z_j = (b_j - mean)/std.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_bfn.flows.arrays import first_derivatives_only

REACH = 5.6
"""Beyond so many standard deviations the normal distribution function is 0 or 1 in float32."""

NEGLIGIBLE = 9.0
"""exp(-9^2) is 0 beside 1; much smaller results would underflow, which makes exp 20 to 70 times slower."""

FEW_BINS = 32
"""Up to this the closed form of the sum over edges is too coarse, and the sum itself is short."""


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


class _LogNormalCdf(torch.autograd.Function):
    """ln Phi(z) with a derivative that survives the tails.

    PyTorch's own divides density by mass as the exponential of a difference of two huge numbers, which
    overflows from some hundred standard deviations on.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        result: Tensor = torch.special.log_ndtr(z)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (z,), (grad,) = ctx.saved_tensors, grads
        slope: Tensor = math.sqrt(2 / math.pi) / torch.special.erfcx(-z / math.sqrt(2))
        return grad * slope


def log_normal_cdf(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """ln Phi(z)."""
    result: Tensor = _LogNormalCdf.apply(z)  # type: ignore[no-untyped-call]
    return result


def log_normal_interval(
    low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """ln(Phi(high) - Phi(low)) for low < high, exact in both tails.

    The interval is mirrored into the lower tail, where the distribution function keeps its digits.
    """
    upper = low > 0
    a = torch.where(upper, -high, low)
    b = torch.where(upper, -low, high)
    log_b = log_normal_cdf(b)
    gap = (log_normal_cdf(a) - log_b).clamp(-80, -1e-7)
    result: Tensor = log_b + torch.log(-torch.expm1(gap))
    return result


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
    outer = torch.where(index == 0, log_normal_cdf(right), log_normal_cdf(-left))
    return torch.where((index == 0) | (index == num_bins - 1), outer, inner)


def log_bin_probabilities(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], num_bins: int
) -> Float[Tensor, "*shape bins"]:
    """ln p of every bin: K numbers per variable, for where there is no way around them."""
    edges = torch.arange(1, num_bins, device=mean.device, dtype=mean.dtype) * (2 / num_bins) - 1
    z = (edges - mean.unsqueeze(-1)) / std.unsqueeze(-1)
    inner = log_normal_interval(z[..., :-1], z[..., 1:])
    first, last = log_normal_cdf(z[..., :1]), log_normal_cdf(-z[..., -1:])
    return torch.cat([first, inner, last], -1)


def mode_bin(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], num_bins: int
) -> Int[Tensor, "*shape"]:
    """The most probable bin: the one that holds the mean, or one of the two outermost."""
    width, inside = 2 / num_bins, bin_index(mean, num_bins)
    left = inside.to(mean.dtype) * width - 1 - mean
    here = torch.special.ndtr((left + width) / std) - torch.special.ndtr(left / std)
    first, last = torch.special.ndtr((width - 1 - mean) / std), torch.special.ndtr((mean + width - 1) / std)
    best = torch.where(first > here, 0, inside)
    return torch.where(last > torch.maximum(first, here), num_bins - 1, best)


def expected_centre(
    mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"], num_bins: int
) -> Float[Tensor, "*shape"]:
    """The mean of the bin centres, sum_k p_k c_k, in memory that does not grow with the number of bins.

    Summation by parts turns it into 1 - 1/K - h sum_j Phi(z_j). With few bins that sum is taken as it is.
    With many, a narrow normal (std below a bin's width) needs only the 13 edges within its reach, and a
    wide one has a closed form (Euler and Maclaurin).
    """
    if num_bins <= FEW_BINS:
        total = _edge_sum(mean, std, torch.ones_like(mean), num_bins - 1, num_bins)
    else:
        total = _many_bins(mean, std, num_bins)
    return 1 - 1 / num_bins - 2 / num_bins * total


def _many_bins(mean: Tensor, std: Tensor, num_bins: int) -> Tensor:
    width, count = 2 / num_bins, 2 * math.ceil(REACH) + 1
    narrow_std = std.clamp(max=width)
    with torch.no_grad():
        start = ((mean + 1 - REACH * narrow_std) / width).floor_().add_(1).clamp_(1, num_bins - count)
    window = _edge_sum(mean, narrow_std, start, count, num_bins)
    return torch.where(std < width, window, _closed_edge_sum(mean, std.clamp(min=width), num_bins))


def _edge_sum(mean: Tensor, std: Tensor, start: Tensor, count: int, num_bins: int) -> Tensor:
    total: Tensor = _EdgeSum.apply(mean, std, start, count, num_bins)  # type: ignore[no-untyped-call]
    return total


class _EdgeSum(torch.autograd.Function):
    """sum_j Phi(z_j) over `count` edges from `start`, with 1 for each edge above them.

    The derivatives, sums of the normal density, are taken in the same pass, so that memory holds two
    tensors per variable whatever the number of edges.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, std: Tensor, start: Tensor, count: int, num_bins: int) -> Tensor:
        width = 2 / num_bins
        scale = (std * math.sqrt(2)).reciprocal_()
        total, density, slope = (torch.zeros_like(mean) for _ in range(3))
        for j in range(count):
            u = torch.add(start, j).mul_(width).sub_(1).sub_(mean).mul_(scale).clamp_(-NEGLIGIBLE, NEGLIGIBLE)
            total += torch.erf(u)
            bell = u.square().neg_().exp_()
            density += bell
            slope.addcmul_(bell, u)
        unit = scale / math.sqrt(math.pi)
        ctx.save_for_backward(density.mul_(unit), slope.mul_(unit).mul_(math.sqrt(2)))
        return total.add_(count).mul_(0.5).add_(num_bins - start - count)

    @staticmethod
    @first_derivatives_only
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
    below, area_below = _end(first, r2)
    above, area_above = _end(last, r2)
    return s * (area_above - area_below) - 0.5 * (above + below)


def _end(z: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
    """Phi(z), and its integral with the first four correction terms, each with the density as a factor."""
    bounded = z.clamp(-NEGLIGIBLE, NEGLIGIBLE)
    below: Tensor = torch.special.ndtr(bounded)
    q = bounded.square()
    fourth, sixth = (q - 6) * q + 3, ((q - 15) * q + 45) * q - 15
    series = 1 / 12 - r2 * ((q - 1) / 720 - r2 * (fourth / 30240 - r2 * (sixth / 1209600)))
    return below, z * below + _normal_density(bounded) * (1 + r2 * series)
