"""The tensors that a posterior needs for a sample, which are made once and used again for every one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_bayes.variational.posteriors import Posterior, draw_


class SampleBuffers:
    """Means that are kept while parameters hold a sample, deviations from them, scales, gradients of these.

    Parameters whose numbers are in `apart` keep their means, because layers draw for each example; so `draw`
    remembers its `generator` for them. Those in `undrawn` need no deviations.

    Args:
        posterior: the family.
        parameters: of the network.
        log_sigma: ln of the scales of each.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> buffers = SampleBuffers("gaussian", [net.weight], [nn.Parameter(torch.zeros(1, 2))])
        >>> buffers.scales()
        [tensor([[1., 1.]])]
    """

    def __init__(
        self, posterior: Posterior, parameters: Sequence[nn.Parameter], log_sigma: Sequence[nn.Parameter]
    ) -> None:
        self._posterior: Posterior = posterior
        self._parameters = parameters
        self._log_sigma = log_sigma
        self.apart: frozenset[int] = frozenset()
        self.undrawn: frozenset[int] = frozenset()
        self.generator: torch.Generator | None = None
        self.means: list[Tensor] = []
        self.deviations: list[Tensor] = []
        self._gradients: list[Tensor] = []
        self._scales: list[Tensor] = []
        self._versions: tuple[tuple[int, int], ...] = ()

    def scales(self) -> list[Tensor]:
        """The scale of each weight, worked out anew when `log_sigma` has changed."""
        versions = tuple((id(log_scale), log_scale._version) for log_scale in self._log_sigma)
        logs = [log_scale.detach() for log_scale in self._log_sigma]
        if not _fit(self._scales, logs):
            self._scales, self._versions = [torch.empty_like(log) for log in logs], ()
        if versions != self._versions:
            torch._foreach_copy_(self._scales, logs)
            torch._foreach_exp_(self._scales)
            self._versions = versions
        return self._scales

    def draw(self, generator: torch.Generator | None, mask: Sequence[Tensor] | None) -> None:
        """Draws deviations.

        Args:
            generator: source of the draws.
            mask: 0 for weights that do not deviate.
        """
        if not _fit(self.deviations, self._parameters):
            self.deviations = [torch.empty_like(p) for p in self._parameters]
        self.generator = generator
        used = [index for index in range(len(self.deviations)) if index not in self.undrawn]
        deviations = [self.deviations[index] for index in used]
        for deviation in deviations:
            draw_(self._posterior, deviation, generator)
        if used:
            torch._foreach_mul_(deviations, [self.scales()[index] for index in used])
        if mask is not None and used:
            torch._foreach_mul_(deviations, [mask[index] for index in used])

    def put(self) -> None:
        """Keeps the means and adds the deviations to the parameters."""
        if not _fit(self.means, self._parameters):
            self.means = [torch.empty_like(p) for p in self._parameters]
        parameters = self._together(self._parameters)
        if parameters:
            torch._foreach_copy_(self._together(self.means), parameters)
            torch._foreach_add_(parameters, self._together(self.deviations))

    def take_back(self) -> None:
        """Puts the means back into the parameters."""
        parameters = self._together(self._parameters)
        if parameters:
            torch._foreach_copy_(parameters, self._together(self.means))

    def all_means(self) -> list[Tensor]:
        """The means while parameters hold a sample."""
        pairs = enumerate(zip(self.means, self._parameters, strict=True))
        return [p.detach() if index in self.apart else mean for index, (mean, p) in pairs]

    def _together(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Those of the parameters that are sampled for a batch."""
        return [tensor for index, tensor in enumerate(tensors) if index not in self.apart]

    def add_product(self, index: int, gradient: Tensor) -> None:
        """Adds the reparameterised gradient of the scales of a parameter to those at hand.

        Args:
            index: which parameter.
            gradient: of the parameter, from one backward pass.
        """
        leaf, deviation = self._log_sigma[index], self.deviations[index]
        if leaf.grad is not None:
            leaf.grad.addcmul_(gradient.to(leaf.dtype), deviation.to(leaf.dtype))
            return
        if not _fit(self._gradients, self._log_sigma):
            self._gradients = [torch.empty_like(log_scale) for log_scale in self._log_sigma]
        leaf.grad = torch.mul(gradient, deviation, out=self._gradients[index])

    def add_gaussian_gradient(
        self, index: int, mean: Tensor, prior: tuple[Tensor, Tensor], scale: float | Float[Tensor, ""]
    ) -> None:
        """Adds the complexity gradients of Gaussian posterior and prior in as few passes as possible.

        Args:
            index: which parameter.
            mean: its means.
            prior: centre and standard deviation.
            scale: what the gradient is multiplied with.
        """
        weight = scale / prior[1].square()
        gradient = gradient_of(self._parameters[index])
        gradient.addcmul_(mean, weight.to(mean.dtype)).sub_(prior[0] * weight)
        sigma, gradient = self.scales()[index], gradient_of(self._log_sigma[index])
        free = self.means and mean is not self.means[index] and self.means[index].dtype == sigma.dtype
        scaled = torch.mul(sigma, weight, out=self.means[index] if free else None)
        gradient.addcmul_(sigma, scaled).sub_(scale)


def gradient_of(leaf: Tensor) -> Tensor:
    """The gradient of a leaf, which becomes 0 if there is none.

    Args:
        leaf: a parameter.
    """
    if leaf.grad is None:
        leaf.grad = torch.zeros_like(leaf)
    return leaf.grad


def _fit(buffers: Sequence[Tensor], like: Sequence[Tensor]) -> bool:
    """Whether there are buffers of the dtype and on the device of other tensors."""
    pairs = zip(buffers, like, strict=False)
    return bool(buffers) and all(b.dtype == t.dtype and b.device == t.device for b, t in pairs)
