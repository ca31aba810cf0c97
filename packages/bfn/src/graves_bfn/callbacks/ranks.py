"""Work that the ranks of a data-parallel run share, with the same result on any number of them."""

from math import ceil
from typing import Any

import torch

from graves_bfn.callbacks.examples import Examples
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.flows.arrays import Data, Tree, concatenated, mapped, rows
from graves_bfn.samplers.base import Sampler
from graves_core.batches import mix_seed


def gathered(model: FlowModel, examples: Examples) -> Examples:
    """The examples of all ranks, on the host, in the order in which one rank would have seen them.

    Ranks take turns at the rows of a data set, so the rows that they hold are put together alternately. All
    ranks must call it, with at least one example each.
    """
    if model.module.trainer.world_size == 1:
        return examples.to("cpu")
    numbers = _from_all(model, torch.tensor(examples.number))
    longest = int(numbers.max())
    index = torch.arange(longest)
    turns = _from_all(model, rows(examples.to("cpu"), index.clamp(max=examples.number - 1)))
    present = (index[:, None] < numbers).flatten()
    return mapped(lambda values: values.transpose(0, 1).flatten(0, 1)[present], turns)


def drawn(
    model: FlowModel,
    like: Examples,
    num_steps: int | None,
    sampler: Sampler | None,
    batch_size: int | None,
    seed: int,
) -> Data:
    """Draws as many data as there are examples, on the host, shared out over the ranks in batches.

    Every batch has a seed of its own, so that the data do not depend on the number of ranks. All ranks must
    call it with the same examples; they call the network equally often, and so it may be sharded.
    """
    world, rank = model.module.trainer.world_size, model.module.global_rank
    batches = ceil(like.number / (batch_size or like.number))
    size = ceil(like.number / batches)
    parts = []
    for first in range(0, batches, world):
        batch = (first + rank) % batches
        part = like.cycled(size, batch * size).to(model.module.device)
        x = model.draw(part, num_steps, sampler, model.generator(mix_seed(seed, batch)))
        parts.append(mapped(lambda values: values.flatten(0, 1), _from_all(model, x)))
    return rows(concatenated(parts), slice(like.number))


def _from_all(model: FlowModel, tree: Tree) -> Tree:
    """Tensors of the same shape from all ranks, on the host, with an axis for the ranks in front."""
    module = model.module
    if module.trainer.world_size == 1:
        return mapped(lambda values: values.cpu()[None], tree)
    everywhere: Any = module.all_gather
    return mapped(lambda values: everywhere(values.to(module.device)).cpu(), tree)
