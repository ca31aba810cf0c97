"""Linear algebra that keeps its digits: float32 at least, and factors of nearly singular matrices."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def at_least_float32(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision becomes float32, all else stays as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Makes a function of tensors compute in float32 at least, also under autocast.

    Args:
        function: any function with at least one tensor among its arguments.

    Example:
        >>> root = full_precision(torch.linalg.cholesky)
        >>> root(torch.eye(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    @functools.wraps(function)
    def computed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        given, named = tree_map_only(Tensor, at_least_float32, (args, kwargs))
        device = next(leaf.device.type for leaf in tree_leaves((given, named)) if isinstance(leaf, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*given, **named)

    return computed


def symmetric(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The mean of a matrix and its transpose."""
    return (matrix + matrix.mT) / 2


def safe_cholesky(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The lower Cholesky factor of a positive matrix that may have lost some eigenvalues to rounding.

    The diagonal is raised by what rounding may have taken from it, sqrt(n) times the precision of its mean.
    Where a matrix is not positive even so, the factor is NaN: there is no wait for the device, and no wrong
    number.
    """
    size = matrix.shape[-1]
    with torch.no_grad():
        jitter = matrix.diagonal(dim1=-2, dim2=-1).mean(-1) * (size**0.5 * torch.finfo(matrix.dtype).eps)
    raised = symmetric(matrix) + jitter[..., None, None] * torch.eye(
        size, dtype=matrix.dtype, device=matrix.device
    )
    factor, failed = torch.linalg.cholesky_ex(raised)
    return torch.where(failed[..., None, None] > 0, torch.nan, factor)


def log_determinant(factor: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    """ln |L L^T| of a Cholesky factor L."""
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
