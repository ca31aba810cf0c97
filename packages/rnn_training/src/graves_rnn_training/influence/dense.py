"""Influence as full matrices, of every parameter on every number of the state."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graves_rnn_training.equations.units import Columns, Linearised, UnitStructure


def sources(
    inputs: Float[Tensor, "batch features"], hidden: Float[Tensor, "batch units"]
) -> Float[Tensor, "batch sources"]:
    """What parameters multiply: inputs, outputs of the step before, 1."""
    return torch.cat([inputs, hidden, hidden.new_ones(len(hidden), 1)], 1)


def dynamics(
    step: Linearised, weight: Float[Tensor, "rows units"], structure: UnitStructure
) -> Float[Tensor, "batch state units"]:
    """D for the outputs of the step before: how each number of the state depends on them.

    Args:
        step: with its derivatives.
        weight: the recurrent weights, blocks of gates one under the other.
        structure: of the cell.
    """
    factors = step.factors[:, list(structure.hidden_slots)]
    by_output = torch.einsum("pgib,gij->bpij", factors, weight.view(structure.gates, -1, weight.shape[1]))
    by_output.diagonal(dim1=2, dim2=3).add_(step.carry[:, 0].permute(2, 0, 1))
    return by_output.flatten(1, 2)


def immediate(
    step: Linearised, columns: Columns, source: Float[Tensor, "batch sources"]
) -> Float[Tensor, "batch parts parameters"]:
    """What I holds in the unit of each parameter; all else in I is zero.

    Args:
        step: with its derivatives.
        columns: of the parameters.
        source: as `sources` makes it.
    """
    return (step.factors[:, columns.slot, columns.unit] * source.T[columns.source]).permute(2, 0, 1)


def full_dynamics(
    by_output: Float[Tensor, "batch state units"], step: Linearised
) -> Float[Tensor, "batch state state"]:
    """D, with the columns of parts other than the output.

    Args:
        by_output: its first columns.
        step: with its derivatives.
    """
    others = [
        torch.diag_embed(step.carry[:, part].permute(2, 0, 1)).flatten(1, 2)
        for part in range(1, len(step.carry))
    ]
    return torch.cat([by_output, *others], 2)


def full_immediate(
    by_unit: Float[Tensor, "batch parts parameters"], unit: Int[Tensor, " parameters"], units: int
) -> Float[Tensor, "batch state parameters"]:
    """I as a matrix.

    Args:
        by_unit: what it holds in the unit of each parameter.
        unit: of each parameter.
        units: how many there are.
    """
    batch, parts, parameters = by_unit.shape
    matrix = by_unit.new_zeros(batch, parts, units, parameters)
    index = unit.expand(batch, parts, 1, parameters)
    return matrix.scatter_(2, index, by_unit[:, :, None]).flatten(1, 2)


def dense_step(
    influence: Float[Tensor, "batch state parameters"],
    step: Linearised,
    by_output: Float[Tensor, "batch state units"],
    by_unit: Float[Tensor, "batch parts parameters"],
    unit: Int[Tensor, " parameters"],
) -> Float[Tensor, "batch state parameters"]:
    """J' = D J + I, without I as a matrix.

    Args:
        influence: J.
        step: with its derivatives.
        by_output: D for the outputs of the step before.
        by_unit: what I holds in the unit of each parameter.
        unit: of each parameter.

    Source: Williams and Zipser 1989.
    """
    batch, parts, units = len(influence), len(step.carry), by_output.shape[2]
    new = torch.bmm(by_output, influence[:, :units])
    blocks = new.view(batch, parts, units, -1)
    for part in range(1, parts):
        remembered = influence[:, part * units : (part + 1) * units, None].transpose(1, 2)
        blocks.addcmul_(step.carry[:, part].permute(2, 0, 1)[..., None], remembered)
    blocks.scatter_add_(2, unit.expand(batch, parts, 1, -1), by_unit[:, :, None])
    return new
