"""How far apart two sets of vectors are, as normal distributions fitted to them, and along which axes."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def frechet_distance(
    samples: Float[Tensor, "count dim"], real: Float[Tensor, "others dim"]
) -> Float[Tensor, ""]:
    """The squared Fréchet distance between the normal distributions fitted to two sets of vectors.

    |mean_1 - mean_2|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)) for covariances A and B, in float64. With
    A = R R' and B = S S', the trace of the last root is the sum of the singular values of R' S, which keeps
    full accuracy where covariances are singular.

    Args:
        samples: at least two vectors.
        real: at least two vectors; the order of the two sets does not matter.

    Raises:
        ValueError: when a set has fewer than two vectors or holds numbers that are not finite.

    Source: Dowson and Landau 1982.
    """
    (mean_1, root_1), (mean_2, root_2) = _fitted_normal("samples", samples), _fitted_normal("real", real)
    variances = root_1.square().sum() + root_2.square().sum()
    overlap = torch.linalg.svdvals(root_1.T @ root_2).sum()
    distance: Tensor = (mean_1 - mean_2).square().sum() + variances - 2 * overlap
    return distance.clamp(min=0)


def _fitted_normal(name: str, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and a matrix R of which R R' is the covariance."""
    mean, values, directions = _spectrum(name, vectors.double())
    return mean, directions * values.sqrt()


def _spectrum(name: str, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, and eigenvalues (ascending) and eigenvectors (columns) of the covariance.

    Eigenvalues that are lost in rounding are 0: the root of such a value would be far larger than the error.
    """
    if len(vectors) < 2:
        raise ValueError(f"{name} must hold at least 2 vectors, got {len(vectors)}")
    if not vectors.isfinite().all():
        raise ValueError(f"{name} holds numbers that are not finite")
    mean = vectors.mean(0)
    centred = vectors - mean
    values, directions = torch.linalg.eigh(centred.T @ centred / (len(vectors) - 1))
    rounding = max(vectors.shape) * torch.finfo(values.dtype).eps * values[-1]
    return mean, torch.where(values > rounding, values, 0), directions


class PrincipalAxes(NamedTuple):
    """The centre of a set of vectors and the orthonormal directions in which it varies most.

    Attributes:
        mean: the centre.
        directions: one per row, by falling variance.
    """

    mean: Float[Tensor, " dim"]
    directions: Float[Tensor, "components dim"]

    def project(self, vectors: Float[Tensor, "count dim"]) -> Float[Tensor, "count components"]:
        """Coordinates along the directions."""
        return (vectors - self.mean) @ self.directions.T

    def features(self, vectors: Float[Tensor, "count dim"]) -> Float[Tensor, "count features"]:
        """Coordinates along the directions, and the distance from the space that they span."""
        projected = self.project(vectors)
        rest = vectors - self.mean - projected @ self.directions
        return torch.cat([projected, rest.norm(dim=1, keepdim=True)], 1)


def principal_axes(real: Float[Tensor, "count dim"], components: int) -> PrincipalAxes:
    """The principal axes of real data, by which real data and samples can be projected alike.

    Args:
        real: at least two vectors; the cost grows with the cube of their dimension.
        components: how many axes.

    Raises:
        ValueError: when `real` is too small or not finite, or `components` does not lie in 1..dim.
    """
    if not 1 <= components <= real.shape[1]:
        raise ValueError(f"components must lie in 1..{real.shape[1]}, not {components}")
    mean, _, directions = _spectrum("real", real)
    return PrincipalAxes(mean, directions.T.flip(0)[:components])
