"""A posterior over the weights of any network, whose means are the network's own parameters."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from graves_bayes.layers.prior_groups import PriorGroups
from graves_bayes.layers.sample_buffers import SampleBuffers, gradient_of
from graves_bayes.variational.complexity import Prior, cost_gradients, weight_costs
from graves_bayes.variational.estimators import Estimator, squared_gradient
from graves_bayes.variational.posteriors import Posterior, variance

Groups = Literal["global", "layer"]


class WeightPosterior(nn.Module):
    """A diagonal posterior over some parameters of a network: their values are the means.

    `sample_` puts a sample into the parameters, `restore_` puts the means back. A backward pass in between
    leaves the gradients of the means in the parameters, as ever, and adds those of the logarithms of the
    scales to `log_sigma`. `add_complexity_gradient_` then adds the prior's part to both, and after the update
    `refit_prior_` fits the prior. The network's class, keys and code stay as they are.

    Args:
        parameters: the parameters by name, each of them once; `posterior_over` takes them from a network.
        posterior: `"gaussian"`, `"laplace"`, or `"delta"`, all of whose mass lies on the means.
        prior: `"gaussian"`, `"laplace"` or `"uniform"`.
        sigma: scale of each weight at first: its standard deviation, or b of a Laplace posterior.
        prior_mean: centre of the prior; by default the best one, fitted anew by `refit_prior_`.
        prior_scale: standard deviation or b of the prior; by default the best one.
        groups: one prior for all weights, or one for each layer.
        estimator: of the gradients of the scales: `"reparameterised"`, or `"squared"`, which takes each
            backward pass for that of one example, and wants `convert_squares_` to be called before an update.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> posterior = WeightPosterior(dict(net.named_parameters()), sigma=0.1)
        >>> before = net.weight.clone()
        >>> posterior.sample_(torch.Generator().manual_seed(0))
        >>> torch.equal(net.weight, before)
        False
        >>> posterior.restore_()
        >>> torch.equal(net.weight, before)
        True

    Source: Graves 2011, "Practical Variational Inference for Neural Networks".
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        posterior: Posterior = "gaussian",
        prior: Prior = "gaussian",
        sigma: float = 0.075,
        prior_mean: float | None = None,
        prior_scale: float | None = None,
        groups: Groups = "global",
        estimator: Estimator = "reparameterised",
    ) -> None:
        super().__init__()
        check_settings(posterior, prior, sigma, prior_scale, groups, estimator)
        if not parameters:
            raise ValueError("parameters must name at least one parameter, got none")
        self.names = list(parameters)
        self.posterior: Posterior = posterior
        self.prior: Prior = prior
        self.estimator: Estimator = estimator
        self.squared_scale: float = 1.0
        self.captured: frozenset[int] = frozenset()
        self.mask: list[Tensor] | None = None
        self._parameters_of_network = list(parameters.values())
        if posterior != "delta":
            scales = [torch.full_like(_wide(p), math.log(sigma)) for p in self._parameters_of_network]
            self.log_sigma = nn.ParameterList([nn.Parameter(scale) for scale in scales])
        else:
            self.log_sigma = nn.ParameterList()
        self.prior_groups = PriorGroups(self.names, groups, prior, prior_mean, prior_scale)
        self.prior_groups.to(_wide(self._parameters_of_network[0]))
        self.kept = SampleBuffers(posterior, self._parameters_of_network, list(self.log_sigma))
        self._hooks: list[RemovableHandle] = []
        self.refit_prior_()

    @property
    def parameters_of_network(self) -> list[nn.Parameter]:
        """The network's parameters, in the order of `names`."""
        return self._parameters_of_network

    @property
    def mean(self) -> list[Tensor]:
        """The mean of each parameter, also while the parameters hold a sample."""
        return self.kept.all_means() if self.is_sampled else [p.detach() for p in self._parameters_of_network]

    @property
    def is_sampled(self) -> bool:
        """Whether the parameters hold a sample at present."""
        return bool(self._hooks)

    @property
    def weights(self) -> int:
        """How many weights there are that have not been pruned away."""
        if self.mask is None:
            return sum(p.numel() for p in self._parameters_of_network)
        return int(sum(mask.sum() for mask in self.mask))

    @torch.inference_mode(False)
    @torch.no_grad()
    def sample_(self, generator: torch.Generator | None = None, antithetic: bool = False) -> None:
        """Puts a sample into the parameters, in place of their means or of the sample before.

        Args:
            generator: source of the draws, on the device of the parameters; by default torch's global one.
            antithetic: take the mirror image of the sample before, on the other side of the means.

        Raises:
            ValueError: when there is no sample whose mirror image could be taken.
        """
        self.restore_()
        if antithetic and not self.kept.deviations:
            raise ValueError("antithetic=True needs a sample before it, of which it is the mirror image")
        if not self.log_sigma:
            return
        if antithetic:
            torch._foreach_neg_(self.kept.deviations)
        else:
            self.kept.draw(generator, self.mask)
        self.kept.put()
        self._listen()

    @torch.no_grad()
    def restore_(self) -> None:
        """Puts the means back into the parameters, if they hold a sample."""
        if self.is_sampled:
            self.kept.take_back()
            for hook in self._hooks:
                hook.remove()
            self._hooks = []

    @torch.no_grad()
    def costs(self) -> dict[str, Tensor]:
        """What each weight costs in nats, by the name of its parameter; pruned ones cost nothing."""
        costs = {}
        for index, (name, mean) in enumerate(zip(self.names, self.mean, strict=True)):
            cost = weight_costs(self.posterior, self.prior, *self._of(index, mean))
            costs[name] = cost if self.mask is None else cost * self.mask[index]
        return costs

    def complexity(self) -> Float[Tensor, ""]:
        """The complexity loss in nats: the sum over all weights of what they cost."""
        return torch.stack([cost.sum() for cost in self.costs().values()]).sum()

    @torch.no_grad()
    def add_complexity_gradient_(
        self, scale: float | Float[Tensor, ""] = 1.0, members: Sequence[int] | None = None
    ) -> None:
        """Adds the gradient of the complexity loss to those of the parameters and of `log_sigma`.

        Args:
            scale: what the complexity loss is multiplied with: the share of the step, and a temperature.
            members: the numbers of the parameters that are meant; all by default.
        """
        means = self.mean
        for index in range(len(self.names)) if members is None else members:
            self._add_gradient(index, means[index], scale)
        self.mask_gradients_()

    @torch.no_grad()
    def convert_squares_(self, members: Sequence[int] | None = None) -> None:
        """Makes gradients of `log_sigma` of the squared gradients that were added up in their place.

        Args:
            members: the numbers of the parameters that are meant; all by default.
        """
        for index, log_sigma in enumerate(self.log_sigma):
            if log_sigma.grad is not None and (members is None or index in members):
                log_sigma.grad.copy_(squared_gradient(self.posterior, log_sigma.grad, log_sigma.detach()))

    @torch.no_grad()
    def refit_prior_(self) -> None:
        """Fits what is not given of the prior to the posterior, group by group."""
        scales = [scale.detach() for scale in self.log_sigma] or self.mean
        self.prior_groups.fit_(self.posterior, self.mean, scales, self.mask)

    @torch.no_grad()
    def signal_to_noise(self) -> dict[str, Tensor]:
        """Absolute mean by standard deviation of each weight, by the name of its parameter.

        Raises:
            ValueError: when the posterior is a delta.
        """
        if not self.log_sigma:
            raise ValueError("signal_to_noise needs a posterior with a width, not posterior='delta'")
        pairs = zip(self.mean, self.log_sigma, strict=True)
        ratios = [mean.abs() * variance(self.posterior, scale).rsqrt() for mean, scale in pairs]
        return dict(zip(self.names, ratios, strict=True))

    @torch.no_grad()
    def set_mask(self, mask: Mapping[str, Tensor] | None) -> None:
        """Fixes weights at 0: they are no longer sampled, have no gradient, and cost nothing.

        Args:
            mask: for each parameter by name, which weights stay; None to keep all from now on.

        Raises:
            ValueError: when names or shapes are not those of the parameters.
        """
        self.restore_()
        self.mask = None
        if mask is None:
            return
        shapes = {name: p.shape for name, p in zip(self.names, self._parameters_of_network, strict=True)}
        if {name: part.shape for name, part in mask.items()} != shapes:
            raise ValueError(f"mask must have the shapes {shapes}")
        self.mask = [
            mask[name].to(p) for name, p in zip(self.names, self._parameters_of_network, strict=True)
        ]
        self.apply_mask_()

    @torch.no_grad()
    def apply_mask_(self) -> None:
        """Puts pruned weights to 0, from where momentum may have moved them."""
        if self.mask is not None:
            torch._foreach_mul_([*self._parameters_of_network], self.mask)

    def mask_gradients_(self) -> None:
        """Takes the gradients of pruned weights away."""
        if self.mask is None:
            return
        for leaves in (self._parameters_of_network, self.log_sigma):
            for leaf, mask in zip(leaves, self.mask, strict=False):
                if leaf.grad is not None:
                    leaf.grad.mul_(mask)

    def _add_gradient(self, index: int, mean: Tensor, scale: float | Tensor) -> None:
        if self.posterior == self.prior == "gaussian":
            self.kept.add_gaussian_gradient(index, mean, self.prior_groups.of(index), scale)
            return
        by_mean, by_log_scale = cost_gradients(self.posterior, self.prior, *self._of(index, mean))
        gradient_of(self._parameters_of_network[index]).add_(by_mean.mul_(scale))
        if self.log_sigma:
            gradient_of(self.log_sigma[index]).add_(by_log_scale.mul_(scale))

    def _of(self, index: int, mean: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, ln of the scale and the prior of one parameter."""
        scale = self.log_sigma[index].detach() if self.log_sigma else mean
        return _wide(mean), scale, *self.prior_groups.of(index)

    def _listen(self) -> None:
        """Has each backward pass add what is known from it about the scales."""
        for index, parameter in enumerate(self._parameters_of_network):

            def hook(gradient: Tensor, index: int = index) -> None:
                self._add_scale_gradient(index, gradient)

            hooked: Any = parameter
            self._hooks.append(hooked.register_hook(hook))

    @torch.no_grad()
    def _add_scale_gradient(self, index: int, gradient: Tensor) -> None:
        if index in self.captured | self.kept.apart or not self.log_sigma[index].requires_grad:
            return
        if self.estimator == "squared":
            gradient_of(self.log_sigma[index]).addcmul_(gradient, gradient, value=self.squared_scale)
        else:
            self.kept.add_product(index, gradient)


def _wide(weights: Tensor) -> Tensor:
    """In float32, if the weights have less."""
    return weights.detach().float() if weights.dtype in (torch.float16, torch.bfloat16) else weights.detach()


def check_settings(
    posterior: str, prior: str, sigma: float, prior_scale: float | None, groups: str, estimator: str
) -> None:
    """Refuses what is no posterior.

    Raises:
        ValueError: naming the argument.
    """
    for name, value, allowed in (
        ("posterior", posterior, get_args(Posterior)),
        ("prior", prior, get_args(Prior)),
        ("groups", groups, get_args(Groups)),
        ("estimator", estimator, get_args(Estimator)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    for name, number in (("sigma", sigma), ("prior_scale", prior_scale)):
        if number is not None and not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {number}")
