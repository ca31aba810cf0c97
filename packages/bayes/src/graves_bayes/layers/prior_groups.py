"""The priors of groups of parameters, each of them fixed or fitted to its group."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_bayes.variational.complexity import Prior
from graves_bayes.variational.posteriors import Posterior
from graves_bayes.variational.priors import joined, laplace_prior

SMALLEST_SCALE = 1e-8


class PriorGroups(nn.Module):
    """One prior for all parameters, or one for each layer.

    Args:
        names: names of the parameters; what stands before the last dot is the layer.
        groups: `"global"` or `"layer"`.
        prior: the family.
        prior_mean: centre of all priors; None for the best one of each group.
        prior_scale: standard deviation or b of all priors; None for the best one of each group.

    Example:
        >>> PriorGroups(["0.weight", "0.bias", "1.weight"], "layer", "gaussian", None, 1.0).labels
        ['0', '1']
    """

    prior_mean: Tensor
    prior_scale: Tensor

    def __init__(
        self,
        names: Sequence[str],
        groups: str,
        prior: Prior,
        prior_mean: float | None,
        prior_scale: float | None,
    ) -> None:
        super().__init__()
        owners = [name.rpartition(".")[0] if groups == "layer" else "" for name in names]
        self.labels = list(dict.fromkeys(owners))
        self._group_of = [self.labels.index(owner) for owner in owners]
        self._prior: Prior = prior
        self._fits_mean = prior_mean is None
        self._fits_scale = prior_scale is None
        count = len(self.labels)
        self.register_buffer("prior_mean", torch.full((count,), prior_mean or 0.0))
        self.register_buffer("prior_scale", torch.full((count,), prior_scale or 1.0))

    def of(self, index: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Centre and scale of the prior of a parameter.

        Args:
            index: which parameter.
        """
        group = self._group_of[index]
        return self.prior_mean[group], self.prior_scale[group]

    def fit_(
        self,
        posterior: Posterior,
        means: Sequence[Tensor],
        log_scales: Sequence[Tensor],
        mask: Sequence[Tensor] | None,
    ) -> None:
        """Fits what is not fixed.

        Args:
            posterior: family of the posterior.
            means: of each parameter.
            log_scales: ln of the scales of each parameter.
            mask: 1 for weights that count and 0 for those that do not; None for all.
        """
        if self._prior == "uniform" or not (self._fits_mean or self._fits_scale):
            return
        for group in range(len(self.labels)):
            members = [index for index, owner in enumerate(self._group_of) if owner == group]
            mean, log_scale = _kept(means, members, mask), _kept(log_scales, members, mask)
            given = None if self._fits_mean else self.prior_mean[group]
            if self._prior == "gaussian":
                centre, scale = _gaussian(posterior, mean, log_scale, given)
            else:
                centre, scale = laplace_prior(posterior, joined(mean), joined(log_scale), given)
            if self._fits_mean:
                self.prior_mean[group] = centre
            if self._fits_scale:
                self.prior_scale[group] = scale.clamp(min=SMALLEST_SCALE)


def _kept(values: Sequence[Tensor], members: Sequence[int], mask: Sequence[Tensor] | None) -> list[Tensor]:
    """The members' weights that count."""
    if mask is None:
        return [values[index] for index in members]
    return [values[index][mask[index].bool()] for index in members]


def _gaussian(
    posterior: Posterior, means: list[Tensor], log_scales: list[Tensor], centre: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The best Gaussian prior of several tensors, as `gaussian_prior` of all in one vector, without one."""
    count = sum(mean.numel() for mean in means)
    if centre is None:
        centre = torch.stack([mean.sum() for mean in means]).sum() / count
    spread = [torch.linalg.vector_norm(mean - centre).square() for mean in means]
    if posterior == "delta":
        return centre, (torch.stack(spread).sum() / count).sqrt()
    norms = torch.stack(torch._foreach_norm(torch._foreach_exp(log_scales)))
    factor = math.sqrt(2) if posterior == "laplace" else 1.0
    return centre, ((torch.stack(spread).sum() + (factor * norms).square().sum()) / count).sqrt()
