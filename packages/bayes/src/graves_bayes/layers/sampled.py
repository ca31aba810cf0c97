"""Variational inference in a training loop of one's own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from graves_bayes.layers.posterior import Groups, WeightPosterior
from graves_bayes.variational.complexity import Prior
from graves_bayes.variational.estimators import Estimator
from graves_bayes.variational.posteriors import Posterior


def variational_parameters(
    module: nn.Module, include: str | Sequence[str] = "*", exclude: str | Sequence[str] = ()
) -> dict[str, nn.Parameter]:
    """The parameters of a network that learn and whose names match, each of them once.

    Args:
        module: the network.
        include: patterns of names, with wildcards.
        exclude: patterns of names that are left out of those.

    Raises:
        ValueError: when no parameter matches, or a pattern matches none.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        >>> list(variational_parameters(net, exclude="1.*"))
        ['0.weight', '0.bias']
    """
    learning = {name: p for name, p in module.named_parameters() if p.requires_grad}
    wanted, unwanted = _listed(include), _listed(exclude)
    for argument, patterns in (("include", wanted), ("exclude", unwanted)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in learning):
                raise ValueError(
                    f"{argument}: {pattern!r} matches none of {', '.join(learning) or 'nothing'}"
                )
    return {
        name: p
        for name, p in learning.items()
        if any(fnmatchcase(name, pattern) for pattern in wanted)
        and not any(fnmatchcase(name, pattern) for pattern in unwanted)
    }


def posterior_over(
    module: nn.Module,
    include: str | Sequence[str] = "*",
    exclude: str | Sequence[str] = (),
    posterior: Posterior = "gaussian",
    prior: Prior = "gaussian",
    sigma: float = 0.075,
    prior_mean: float | None = None,
    prior_scale: float | None = None,
    groups: Groups = "global",
    estimator: Estimator = "reparameterised",
) -> WeightPosterior:
    """A posterior over parameters of a network, all of them by default.

    Args:
        module: the network, which stays as it is.
        include: patterns of names, with wildcards.
        exclude: patterns of names that are left out of those.
        posterior: as in `WeightPosterior`, like what follows.
        prior: the family of the prior.
        sigma: scale of each weight at first.
        prior_mean: centre of the prior; fitted by default.
        prior_scale: scale of the prior; fitted by default.
        groups: one prior for all weights, or one for each layer.
        estimator: of the gradients of the scales.

    Raises:
        ValueError: when a pattern matches nothing, or an argument is out of range.

    Example:
        >>> posterior = posterior_over(nn.LSTM(2, 3, bidirectional=True), exclude="*bias*")
        >>> posterior.names[:2], posterior.weights
        (['weight_ih_l0', 'weight_hh_l0'], 120)
    """
    parameters = variational_parameters(module, include, exclude)
    return WeightPosterior(parameters, posterior, prior, sigma, prior_mean, prior_scale, groups, estimator)


@contextmanager
def sampled_weights(
    posterior: WeightPosterior, generator: torch.Generator | None = None, antithetic: bool = False
) -> Iterator[None]:
    """In the block, the network computes with one sample of its weights; backward belongs into it too.

    Args:
        posterior: over the network's weights.
        generator: source of the sample; by default torch's global one.
        antithetic: take the mirror image of the sample before.

    Example:
        >>> net = nn.Linear(3, 1)
        >>> posterior = posterior_over(net)
        >>> optimizer = torch.optim.Adam([*net.parameters(), *posterior.log_sigma.parameters()])
        >>> x, y = torch.randn(8, 3), torch.randn(8, 1)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     with sampled_weights(posterior):
        ...         (net(x) - y).square().mean().backward()
        ...     posterior.add_complexity_gradient_(1 / len(x))
        ...     optimizer.step()
        ...     posterior.refit_prior_()
        >>> posterior.complexity().isfinite()
        tensor(True)
    """
    posterior.sample_(generator, antithetic)
    try:
        yield
    finally:
        posterior.restore_()


def posterior_mean(posterior: WeightPosterior) -> dict[str, Tensor]:
    """The mean of each parameter by name, also while the network holds a sample.

    Args:
        posterior: over the network's weights.
    """
    return dict(zip(posterior.names, posterior.mean, strict=True))


def _listed(patterns: str | Sequence[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)
