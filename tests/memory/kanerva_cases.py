"""Small memories with all correlations, and independent statements about them in numpy."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graves_memory.kanerva.matrix_normal import MatrixNormal


class Case(NamedTuple):
    """A prior, and what is written into it."""

    memory: MatrixNormal
    addresses: Tensor
    codes: Tensor
    noise: float


def covariances(batch: tuple[int, ...], size: int) -> Tensor:
    """Random ones with all correlations."""
    root = torch.randn(*batch, size, size + 2, dtype=torch.float64)
    return root @ root.mT / size + 0.1 * torch.eye(size, dtype=torch.float64)


def case(
    seed: int, batch: tuple[int, ...] = (), rows: int = 4, size: int = 3, items: int = 6, noise: float = 0.7
) -> Case:
    """Random numbers in float64; more items than rows by default."""
    torch.manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64)

    memory = MatrixNormal(draw(rows, size), covariances(batch, rows))
    return Case(memory, draw(items, rows), draw(items, size), noise)


def vectorised(memory: MatrixNormal) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the columns of M on top of each other: I_C kron U."""
    mean, covariance = memory.mean.numpy(), memory.covariance.numpy()
    return mean.T.ravel(), np.kron(np.eye(mean.shape[1]), covariance)


def conditioned(given: Case) -> tuple[np.ndarray, np.ndarray]:
    """The normal distribution of vec(M) given all codes, by the rule for jointly normal vectors."""
    mean, covariance = vectorised(given.memory)
    size = given.codes.shape[1]
    seen = np.kron(np.eye(size), given.addresses.numpy())
    codes = given.codes.numpy().T.ravel()
    joint = seen @ covariance @ seen.T + given.noise * np.eye(len(codes))
    gain = covariance @ seen.T @ np.linalg.inv(joint)
    return mean + gain @ (codes - seen @ mean), covariance - gain @ seen @ covariance


def kl_normal(new: tuple[np.ndarray, np.ndarray], old: tuple[np.ndarray, np.ndarray]) -> float:
    """KL between normal distributions of vectors, with inverses and determinants."""
    inverse = np.linalg.inv(old[1])
    shift = old[0] - new[0]
    volume = np.linalg.slogdet(old[1])[1] - np.linalg.slogdet(new[1])[1]
    return 0.5 * (np.trace(inverse @ new[1]) - len(shift) + volume + shift @ inverse @ shift)
