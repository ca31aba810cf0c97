"""The plain loop that checkpointed scans are compared with, and gradients of both."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.scan import checkpointed_scan

STRATEGIES = ("hidden", "internal", "mixed")

Run = Callable[[], tuple[Any, Any]]


def plain_loop(cell: Any, inputs: Any, state: Any) -> tuple[Any, Any]:
    """Stacked outputs and the final state, by full backpropagation through time."""
    outputs = []
    for time in range(len(tree_flatten(inputs)[0][0])):
        output, state = cell(tree_map(lambda leaf, time=time: leaf[time], inputs), state)
        outputs.append(output)
    return tree_map(lambda *leaves: torch.stack(leaves), *outputs), state


def scan(cell: Any, inputs: Any, state: Any, strategy: Any = "mixed", slots: int = 5, **rest: Any) -> Any:
    budget = MemoryBudget(slots=slots, strategy=strategy)
    return checkpointed_scan(cell, inputs, state, budget=budget, **rest)


def results_and_gradients(run: Run, wanted: Iterable[Tensor]) -> list[Tensor | None]:
    """Everything that a run returns, and the gradients of a weighted sum of all numbers in it."""
    found = [leaf for leaf in tree_flatten(run())[0] if isinstance(leaf, Tensor)]
    smooth = [leaf for leaf in found if leaf.requires_grad]
    loss = sum((leaf * weights(leaf)).sum() for leaf in smooth)
    assert isinstance(loss, Tensor)
    gradients = torch.autograd.grad(loss, list(wanted), allow_unused=True)
    return [leaf.detach() for leaf in found] + list(gradients)


def weights(leaf: Tensor) -> Tensor:
    """Numbers that tell all places apart."""
    return torch.arange(leaf.numel(), dtype=leaf.dtype).reshape(leaf.shape).mul(0.7).cos()


def assert_equal(found: Iterable[Any], expected: Iterable[Any]) -> None:
    """The same to the last bit."""
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)
