"""Networks without the weights that their posterior holds to be noise."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from graves_bayes.layers.posterior import WeightPosterior


@torch.no_grad()
def prune_(posterior: WeightPosterior, threshold: float, include: str | Sequence[str] = "*") -> None:
    """Fixes the weights at 0 whose absolute mean is less than lambda standard deviations, for good.

    They are no longer sampled, have no gradient, and count neither in the prior nor in the complexity.
    Weights that were pruned before stay so.

    Args:
        posterior: over the network's weights.
        threshold: lambda; 0 removes nothing.
        include: patterns of names of the parameters that may be pruned, with wildcards.

    Raises:
        ValueError: when the threshold is negative, or removes all weights.

    Source: Graves 2011, on pruning.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> net.weight.data = torch.tensor([[0.3, -0.05]])
        >>> posterior = WeightPosterior(dict(net.named_parameters()), sigma=0.1)
        >>> prune_(posterior, threshold=1.0)
        >>> net.weight.tolist()[0][1], posterior.weights
        (-0.0, 1)
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, not {threshold}")
    mask = pruned_mask(posterior, threshold, include)
    if not any(bool(part.any()) for part in mask.values()):
        raise ValueError(f"threshold={threshold} leaves no weight")
    posterior.set_mask(mask)
    posterior.refit_prior_()


def pruned_mask(
    posterior: WeightPosterior, threshold: float, include: str | Sequence[str] = "*"
) -> dict[str, Bool[Tensor, "..."]]:
    """Which weights would stay, by the name of their parameter.

    Args:
        posterior: over the network's weights.
        threshold: lambda.
        include: patterns of names of the parameters that may be pruned.
    """
    patterns = [include] if isinstance(include, str) else list(include)
    before = current_mask(posterior)
    for name, ratio in posterior.signal_to_noise().items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            before[name] = before[name] & (ratio >= threshold)
    return before


def current_mask(posterior: WeightPosterior) -> dict[str, Bool[Tensor, "..."]]:
    """Which weights are left, by the name of their parameter.

    Args:
        posterior: over the network's weights.
    """
    parts = posterior.mask or [torch.ones_like(mean) for mean in posterior.mean]
    return {name: part.bool() for name, part in zip(posterior.names, parts, strict=True)}


def fraction_left(posterior: WeightPosterior) -> Float[Tensor, ""]:
    """The share of the posterior's weights that are left.

    Args:
        posterior: over the network's weights.
    """
    return torch.cat([part.flatten() for part in current_mask(posterior).values()]).float().mean()


@torch.no_grad()
def export_pruned(module: nn.Module, posterior: WeightPosterior, threshold: float = 0.0) -> dict[str, Tensor]:
    """The state of a plain network: the means, with 0 where weights are pruned.

    Args:
        module: the network, which stays as it is.
        posterior: over its weights.
        threshold: lambda of further weights to leave out.

    Raises:
        ValueError: when the threshold is negative.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> posterior = WeightPosterior({"weight": net.weight}, sigma=0.1)
        >>> plain = nn.Linear(2, 1)
        >>> plain.load_state_dict(export_pruned(net, posterior, threshold=2.0))
        <All keys matched successfully>
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, not {threshold}")
    left = current_mask(posterior) if threshold == 0 else pruned_mask(posterior, threshold)
    parts = zip(posterior.parameters_of_network, posterior.mean, left.values(), strict=True)
    kept = {id(parameter): torch.where(mask, mean, 0.0).to(mean) for parameter, mean, mask in parts}
    state = module.state_dict(keep_vars=True)
    return {name: kept.get(id(value), value).detach().clone() for name, value in state.items()}
