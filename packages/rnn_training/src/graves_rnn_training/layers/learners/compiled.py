"""Functions of tensors, compiled for the shapes that they are called with."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from graves_rnn_training.layers.cache import Cache

OPTIONS = {"assert_indirect_indexing": False}
"""Indices are made here and lie within bounds."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, compiled by the default backend of `torch.compile` at its first call.

    A call costs half of what it costs with `torch.compile`, which compares all arguments with those that it
    has compiled for, and compiles one function for a few shapes only. Here the first tensor alone is looked
    at, and the shapes of all others must follow from it.

    Args:
        function: of contiguous tensors and tuples of tensors, which it may change in place; returns tensors
            in tuples, lists or dicts. Called without a graph.
    """
    return _Compiled(function)


class _Made(NamedTuple):
    """What was compiled, and how its results are put together again."""

    run: Callable[..., Any]
    places: list[tuple[bool, int]]
    put_together: Callable[[list[Tensor]], Any]


class _Compiled:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._made = Cache()

    def __call__(self, *args: Any) -> Any:
        tensors: list[Tensor] = []
        for arg in args:
            tensors.extend(arg if isinstance(arg, tuple) else (arg,))
        first = tensors[0]
        key = (first.shape, first.dtype, first.device)
        made: _Made | None = self._made.get(key)
        if made is None:
            made = self._made[key] = _compile(self._function, args, tensors)
        found = made.run(*tensors)
        results = [tensors[index] if given else found[index] for given, index in made.places]
        return made.put_together(results)


def _compile(function: Callable[..., Any], args: tuple[Any, ...], tensors: list[Tensor]) -> _Made:
    """Traces the function without running it, and compiles what it does."""
    from torch._inductor import compile

    found: list[tuple[Any, list[tuple[bool, int]]]] = []

    def flat(*given: Tensor) -> list[Tensor]:
        result = function(*_filled(args, iter(given)))
        new: list[Tensor] = []
        places = [_place(tensor, given, new) for tensor in _tensors(result)]
        found.append((result, places))
        return new

    with torch.no_grad():
        graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        run = compile(graph, list(tensors), options=OPTIONS)
    result, places = found[-1]
    return _Made(run, places, _packing(result))


def _packing(result: Any) -> Callable[[list[Tensor]], Any]:
    """Makes of a list of tensors what the function returns; flat results at little cost."""
    if isinstance(result, dict) and not any(
        isinstance(item, (tuple, list, dict)) for item in result.values()
    ):
        names = list(result)
        return lambda tensors: dict(zip(names, tensors, strict=True))
    if type(result) is tuple and not any(map(_is_nested, result)):
        return tuple
    template = _filled(result, itertools.repeat(None))
    return lambda tensors: _filled(template, iter(tensors))


def _is_nested(item: Any) -> bool:
    return isinstance(item, (tuple, list, dict))


def _place(tensor: Tensor, given: tuple[Tensor, ...], new: list[Tensor]) -> tuple[bool, int]:
    """Where a result is found: which argument it is, or which of the new tensors."""
    for index, argument in enumerate(given):
        if tensor is argument:
            return True, index
    new.append(tensor)
    return False, len(new) - 1


def _tensors(nested: Any) -> Iterator[Any]:
    """The leaves of tuples, lists and dicts."""
    if isinstance(nested, (tuple, list)):
        for item in nested:
            yield from _tensors(item)
    elif isinstance(nested, dict):
        for item in nested.values():
            yield from _tensors(item)
    else:
        yield nested


def _filled(template: Any, leaves: Iterator[Any]) -> Any:
    """The same nest with other leaves."""
    if isinstance(template, tuple):
        items = [_filled(item, leaves) for item in template]
        return type(template)(*items) if hasattr(template, "_fields") else tuple(items)
    if isinstance(template, list):
        return [_filled(item, leaves) for item in template]
    if isinstance(template, dict):
        return {name: _filled(item, leaves) for name, item in template.items()}
    return next(leaves)
