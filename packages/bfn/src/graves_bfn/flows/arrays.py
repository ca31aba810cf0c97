"""Small things that all flows do with tensors, and with dicts of them."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Data: TypeAlias = Tensor | dict[str, Tensor]
"""Data of a flow, `(batch, *variables)`; of a `MixedFlow` a dict of such tensors."""

Shape: TypeAlias = tuple[int, ...] | dict[str, tuple[int, ...]]
"""The shape of data, batch first; of a `MixedFlow` a dict of shapes."""

Real = TypeVar("Real", float, Tensor)
Tree = TypeVar("Tree")


@overload
def over_variables(values: Tensor, ndim: int) -> Tensor: ...


@overload
def over_variables(values: float | Tensor, ndim: int) -> float | Tensor: ...


def over_variables(values: float | Tensor, ndim: int) -> float | Tensor:
    """Brings values per example, `(batch,)` or `(batch, last axis)`, to `ndim` axes, for broadcasting."""
    if not isinstance(values, Tensor):
        return values
    batch, *last = values.shape
    return values.view(batch, *[1] * (ndim - 1 - len(last)), *last)


@overload
def over_classes(values: Tensor, ndim: int) -> Tensor: ...


@overload
def over_classes(values: float | Tensor, ndim: int) -> float | Tensor: ...


def over_classes(values: float | Tensor, ndim: int) -> float | Tensor:
    """The same with one more axis at the end, for the classes; `ndim` counts it."""
    values = over_variables(values, ndim - 1)
    return values.unsqueeze(-1) if isinstance(values, Tensor) else values


def beside(values: float | Tensor, like: Tensor) -> float | Tensor:
    """Coefficients that were computed as numbers or in float64 on the host, for use with a tensor."""
    return values.to(like, non_blocking=True) if isinstance(values, Tensor) else values


def real_dtype(like: torch.dtype = torch.float32) -> torch.dtype:
    """That of times, noise and beliefs: float32, or wider where the default or the data are."""
    return torch.promote_types(torch.promote_types(torch.get_default_dtype(), torch.float32), like)


def full_precision(outputs: Tensor) -> Tensor:
    """Network outputs as float32 at least: under autocast they come in half precision."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def normal_noise(
    shape: tuple[int, ...] | torch.Size,
    noise: Tensor | None,
    generator: torch.Generator | None,
    device: torch.device,
) -> Tensor:
    """The given noise after a check of its shape, or fresh standard normal numbers.

    Raises:
        ValueError: when the given noise has another shape.
    """
    if noise is None:
        return torch.randn(shape, generator=generator, device=device, dtype=real_dtype())
    if noise.shape != torch.Size(shape):
        raise ValueError(f"noise must have shape {tuple(shape)}, not {tuple(noise.shape)}")
    return noise


def scaled_noise(
    shape: tuple[int, ...] | torch.Size,
    scale: Tensor,
    noise: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """A new tensor of normal noise times its standard deviation; the noise as in `normal_noise`."""
    if noise is None:
        return torch.randn(shape, generator=generator, device=scale.device, dtype=scale.dtype).mul_(scale)
    return normal_noise(shape, noise, generator, scale.device) * scale


def first(data: Data) -> Tensor:
    """A tensor of the data, for their batch size and device."""
    return next(iter(data.values())) if isinstance(data, dict) else data


def batch_of(shape: Shape) -> int:
    """How many examples data of this shape are."""
    return (next(iter(shape.values())) if isinstance(shape, dict) else shape)[0]


def with_batch(shape: Shape, count: int) -> Shape:
    """The shape with another number of examples."""
    if isinstance(shape, dict):
        return {name: (count, *sizes[1:]) for name, sizes in shape.items()}
    return (count, *shape[1:])


def mapped(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """A function of everything in a tree of tensors: dicts, tuples and named tuples; the rest stays."""
    result: Any = tree
    if isinstance(tree, Tensor):
        result = function(tree)
    elif isinstance(tree, dict):
        result = {name: mapped(function, value) for name, value in tree.items()}
    elif isinstance(tree, tuple):
        values = [mapped(function, value) for value in tree]
        result = type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    return result  # type: ignore[no-any-return]


def rows(tree: Tree, index: Tensor | slice | int) -> Tree:
    """Some examples of everything in a tree of tensors, see `mapped`."""
    return mapped(lambda values: values[index], tree)


def padded(values: Any, x: Any, valid: Any) -> Any:
    """Values, but x where `valid` is False; of data in fields some masks may be missing."""
    if isinstance(values, dict):
        return {name: padded(value, x[name], (valid or {}).get(name)) for name, value in values.items()}
    return values if valid is None else torch.where(valid, values, x.to(values))


def concatenated(parts: list[Data]) -> Data:
    """Several batches of data as one."""
    if isinstance(parts[0], dict):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}  # type: ignore[index]
    return torch.cat(parts)  # type: ignore[arg-type]


def counted(valid: Any, known: Any) -> Any:
    """Where the loss is counted: where data are valid and not known; None for everywhere."""
    if isinstance(valid, dict) or isinstance(known, dict):
        names = {**(valid or {}), **(known or {})}
        return {name: counted((valid or {}).get(name), (known or {}).get(name)) for name in names}
    if known is None:
        return valid
    return ~known if valid is None else valid & ~known


def per_example(
    values: Float[Tensor, "batch *variables"], where: Bool[Tensor, "batch *variables"] | None
) -> Float[Tensor, " batch"]:
    """Values summed over the variables of each example, or over those that count."""
    if where is not None:
        values = values.masked_fill(~where, 0.0)
    return values.unsqueeze(-1).flatten(1).sum(1)


def first_derivatives_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For backward passes that hold values from the forward pass, as if those depended on nothing.

    PyTorch's own `once_differentiable` stays silent where the incoming gradient is a constant.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("second derivatives (create_graph=True) are not available")
        return backward(ctx, *grads)

    return checked


class _SquaredNorm(torch.autograd.Function):
    """In one pass forward and one back, where PyTorch's own functions take two to four."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
        return norm.square()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        result: Tensor = values * (2 * grads[0]).unsqueeze(-1)
        return result


def squared_norm(values: Float[Tensor, "*shape last"]) -> Float[Tensor, "*shape"]:
    """The sum of squares over the last axis."""
    result: Tensor = _SquaredNorm.apply(values)  # type: ignore[no-untyped-call]
    return result


def weighted_sum(
    weight: float | Tensor,
    values: Float[Tensor, "batch *variables"],
    where: Bool[Tensor, "batch *variables"] | None,
) -> Float[Tensor, " batch"]:
    """Values times a weight per example, or per example and variable, summed over the variables."""
    if isinstance(weight, Tensor) and weight.ndim > 1:
        return per_example(over_variables(weight, values.ndim) * values, where)
    return weight * per_example(values, where)
