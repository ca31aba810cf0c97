"""Exact Bayes for a memory: what is known of M once codes z_t = M^T w_t + noise have been seen.

Source: Wu et al. 2018, "The Kanerva Machine". The variance of the noise is sigma^2 in each of the C numbers
of a code. Batch and online updates give the same memory; the batch needs one Cholesky factor of T x T.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.kanerva.matrix_normal import MatrixNormal
from graves_memory.kanerva.precision import full_precision, log_determinant, safe_cholesky, symmetric

Noise = float | Float[Tensor, ""]
Addresses = Float[Tensor, "*#batch items rows"]
Codes = Float[Tensor, "*#batch items code"]


class _Whitened(NamedTuple):
    """L of Sigma_z = L L^T, and L^-1 applied to Sigma_c = W U and to Delta = Z - W R."""

    factor: Tensor
    cross: Tensor
    error: Tensor


def _whiten(memory: MatrixNormal, addresses: Tensor, codes: Tensor, noise: Noise) -> _Whitened:
    cross = addresses @ memory.covariance
    error = codes - addresses @ memory.mean
    covariance = cross @ addresses.mT
    unit = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    factor = safe_cholesky(covariance + noise * unit)
    both = torch.cat([cross, error.expand(*cross.shape[:-1], -1)], -1)
    solved = torch.linalg.solve_triangular(factor, both, upper=False)
    return _Whitened(factor, *solved.split([memory.rows, memory.code_size], -1))


@full_precision
def update_batch(memory: MatrixNormal, addresses: Addresses, codes: Codes, noise: Noise) -> MatrixNormal:
    """The posterior memory after all items of an episode at once.

    R + Sigma_c^T Sigma_z^-1 Delta and U - Sigma_c^T Sigma_z^-1 Sigma_c, with Sigma_c = W U,
    Sigma_z = W U W^T + sigma^2 I and Delta = Z - W R. The order of the items does not matter.

    Args:
        memory: the prior; leading axes broadcast, so one prior serves a batch of episodes.
        addresses: W, `(*batch, items, rows)`.
        codes: Z, `(*batch, items, code)`.
        noise: sigma^2.

    Example:
        >>> prior = MatrixNormal(torch.zeros(4, 2), torch.eye(4))
        >>> codes = torch.ones(1, 2)
        >>> update_batch(prior, torch.tensor([[1.0, 0, 0, 0]]), codes, noise=1.0).mean[0]
        tensor([0.5000, 0.5000])
    """
    _, cross, error = _whiten(memory, addresses, codes, noise)
    return MatrixNormal(
        memory.mean + cross.mT @ error,
        symmetric(memory.covariance - cross.mT @ cross),
    )


@full_precision
def update_one(
    memory: MatrixNormal,
    address: Float[Tensor, "*#batch rows"],
    code: Float[Tensor, "*#batch code"],
    noise: Noise,
) -> MatrixNormal:
    """The posterior memory after one item: an update of rank one.

    Args:
        memory: the prior.
        address: w.
        code: z.
        noise: sigma^2.
    """
    cross = (memory.covariance @ address.unsqueeze(-1)).squeeze(-1)
    variance = (address * cross).sum(-1, keepdim=True).clamp(min=0) + noise
    error = code - (address.unsqueeze(-2) @ memory.mean).squeeze(-2)
    scaled = cross * variance.rsqrt()  # its products with itself are exactly symmetric
    return MatrixNormal(
        memory.mean + (cross / variance).unsqueeze(-1) * error.unsqueeze(-2),
        memory.covariance - scaled.unsqueeze(-1) * scaled.unsqueeze(-2),
    )


def update_online(memory: MatrixNormal, addresses: Addresses, codes: Codes, noise: Noise) -> MatrixNormal:
    """The same as `update_batch`, item by item, for items that come one at a time.

    Args:
        memory: the prior.
        addresses: W.
        codes: Z.
        noise: sigma^2.
    """
    for address, code in zip(addresses.unbind(-2), codes.unbind(-2), strict=True):
        memory = update_one(memory, address, code, noise)
    return memory


@full_precision
def kl_write(
    memory: MatrixNormal, addresses: Addresses, codes: Codes, noise: Noise
) -> Float[Tensor, "*batch"]:
    """KL(memory after the write || memory before it) in nats, from the T x T factor of the write alone.

    For one item it is 1/2 [-C beta - C ln(1 - beta) + beta |delta|^2 / sigma_z] with beta = w^T U w /
    sigma_z. The sum over single writes is not the divergence of the episode; this is.

    Args:
        memory: the memory before the write.
        addresses: W.
        codes: Z.
        noise: sigma^2.
    """
    factor, cross, error = _whiten(memory, addresses, codes, noise)
    items = addresses.shape[-2]
    gained = torch.linalg.solve_triangular(factor, addresses, upper=False)
    spread = -(gained * cross).sum((-2, -1))
    volume = (
        log_determinant(factor)
        - items * torch.as_tensor(noise, dtype=factor.dtype, device=factor.device).log()
    )
    shift = ((gained.mT @ error) * (cross.mT @ error)).sum((-2, -1))
    divergence: Tensor = (memory.code_size * (spread + volume) + shift) / 2
    return divergence


@full_precision
def read_codes(
    matrix: Float[Tensor, "*#batch rows code"], addresses: Addresses
) -> Float[Tensor, "*batch items code"]:
    """What stands at addresses, w^T M, of a mean or a draw of the memory.

    Args:
        matrix: M.
        addresses: W.
    """
    return addresses @ matrix


@full_precision
def predict(
    memory: MatrixNormal, addresses: Addresses, noise: Noise
) -> tuple[Float[Tensor, "*batch items code"], Float[Tensor, "*batch items 1"]]:
    """What will be read, M integrated out: N(w^T R, w^T U w + sigma^2).

    Args:
        memory: the memory.
        addresses: W.
        noise: sigma^2.

    Returns:
        Means, and variances that are the same for all numbers of a code.
    """
    spread = ((addresses @ memory.covariance) * addresses).sum(-1, keepdim=True)
    return addresses @ memory.mean, spread.clamp(min=0) + noise
