"""The gated recurrent unit that resets before the matrix product, where reset gates touch many units."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear


class ResetBefore(NamedTuple):
    """The parameters, with rows for r, z and n one under the other.

    Args:
        weight_ih: W_ir, W_iz, W_in.
        weight_hh: W_hr, W_hz, W_hn.
        bias_ih: b_ir, b_iz, b_in.
        bias_hh: b_hr, b_hz, b_hn.
    """

    weight_ih: Float[Tensor, "rows input"]
    weight_hh: Float[Tensor, "rows units"]
    bias_ih: Float[Tensor, " rows"]
    bias_hh: Float[Tensor, " rows"]


class Gates(NamedTuple):
    """What a step computes.

    Args:
        reset: r.
        update: z.
        candidate: c.
    """

    reset: Float[Tensor, "batch units"]
    update: Float[Tensor, "batch units"]
    candidate: Float[Tensor, "batch units"]


class Factors(NamedTuple):
    """Derivatives of the new state by the pre-activations of the gates and of the candidate.

    Args:
        reset: of every unit by the reset gate of every unit.
        update: of a unit by its own update gate.
        new: of a unit by its own candidate.
    """

    reset: Float[Tensor, "batch units units"]
    update: Float[Tensor, "batch units"]
    new: Float[Tensor, "batch units"]


def gates(
    inputs: Float[Tensor, "batch input"], hidden: Float[Tensor, "batch units"], weights: ResetBefore
) -> Gates:
    """r and z as sigmoids, and c = tanh(W_in x + b_in + b_hn + W_hn (r h)).

    Args:
        inputs: x.
        hidden: h.
        weights: of the cell.

    Source: Cho et al. 2014.
    """
    by_reset, by_update, by_new = weights.weight_hh.chunk(3)
    given = linear(inputs, weights.weight_ih, weights.bias_ih + weights.bias_hh)
    given_reset, given_update, given_new = given.chunk(3, 1)
    reset = (given_reset + linear(hidden, by_reset)).sigmoid()
    update = (given_update + linear(hidden, by_update)).sigmoid()
    return Gates(reset, update, (given_new + linear(reset * hidden, by_new)).tanh())


def new_state(hidden: Float[Tensor, "batch units"], gates: Gates) -> Float[Tensor, "batch units"]:
    """h' = (1 - z) c + z h.

    Args:
        hidden: h.
        gates: of the step.
    """
    return gates.update * hidden + (1 - gates.update) * gates.candidate


def factors(hidden: Float[Tensor, "batch units"], gates: Gates, weights: ResetBefore) -> Factors:
    """The derivatives by the pre-activations; those by the reset gates are g_n W_hn diag(h r (1 - r)).

    Args:
        hidden: h.
        gates: of the step.
        weights: of the cell.
    """
    reset, update, candidate = gates
    new = (1 - update) * (1 - candidate**2)
    through = hidden * reset * (1 - reset)
    by_reset = new[:, :, None] * weights.weight_hh.chunk(3)[2] * through[:, None]
    return Factors(by_reset, (hidden - candidate) * update * (1 - update), new)


def dynamics(found: Factors, gates: Gates, weights: ResetBefore) -> Float[Tensor, "batch units units"]:
    """D = diag(z) + g_z W_hz + g_n W_hn diag(r) + (derivative by the reset gates) W_hr.

    Args:
        found: of the step.
        gates: of the step.
        weights: of the cell.
    """
    by_reset, by_update, by_new = weights.weight_hh.chunk(3)
    own = found.update[:, :, None] * by_update + found.new[:, :, None] * by_new * gates.reset[:, None]
    return torch.diag_embed(gates.update) + own + found.reset @ by_reset


def immediate(
    found: Factors, inputs: Tensor, hidden: Tensor, reset_hidden: Tensor
) -> dict[str, Float[Tensor, "batch units parameters"]]:
    """I, by parameter.

    Args:
        found: of the step.
        inputs: x.
        hidden: h.
        reset_hidden: r h, which W_hn multiplies.
    """
    blocks = (found.reset, torch.diag_embed(found.update), torch.diag_embed(found.new))
    bias = torch.cat(blocks, 2)
    return {
        "weight_ih": _columns(blocks, (inputs, inputs, inputs)),
        "weight_hh": _columns(blocks, (hidden, hidden, reset_hidden)),
        "bias_ih": bias,
        "bias_hh": bias,
    }


def _columns(blocks: tuple[Tensor, ...], sources: tuple[Tensor, ...]) -> Tensor:
    """Every derivative by a row of weights times what the row multiplies."""
    pairs = zip(blocks, sources, strict=True)
    return torch.cat([(block[..., None] * source[:, None, None]).flatten(2) for block, source in pairs], 2)
