"""A sample of weights in the place of their means, and what gradients under it say of the curvature."""

import weakref
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor


class WeightSample:
    """Puts samples into parameters, and multiplies gradients with the sample's deviations from the means.

    Each backward pass is noticed before gradients are accumulated, averaged over ranks or clipped.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> sample = WeightSample()
        >>> sample.listen([weight])
        >>> sample.put({weight: torch.ones(2)}, lambda device: torch.Generator().manual_seed(0))
        >>> offset = weight.detach() - 1
        >>> (3 * weight).sum().backward()
        >>> sample.restore()
        >>> torch.allclose(sample.product(weight), 3 * offset), weight.tolist()
        (True, [1.0, 1.0])
    """

    def __init__(self) -> None:
        self.share = 1.0
        self.count = 0
        self.unsampled = False
        self.keeps = False
        self._offsets: dict[Tensor, Tensor] = {}
        self._means: dict[Tensor, Tensor] = {}
        self._products: dict[Tensor, Tensor] = {}
        self._listening: set[Tensor] = set()

    @property
    def is_held(self) -> bool:
        """Whether the parameters hold a sample at present."""
        return bool(self._means)

    @torch.no_grad()
    def put(
        self,
        stds: dict[Tensor, Tensor],
        generator: Callable[[torch.device], torch.Generator | None],
        training: bool = True,
    ) -> None:
        """Puts a sample into the parameters.

        Args:
            stds: the standard deviations of each parameter's weights.
            generator: tells the source of the draws on a device.
            training: whether gradients under the sample count.
        """
        parameters = list(stds)
        offsets = [torch.empty_like(p).normal_(generator=generator(p.device)) for p in parameters]
        torch._foreach_mul_(offsets, list(stds.values()))
        self._means = {p: p.detach().clone() for p in parameters}
        for parameter, offset in zip(parameters, offsets, strict=True):
            parameter.add_(offset)
        self._offsets = dict(zip(parameters, offsets, strict=True)) if training else {}
        self.count += training

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the means back, if the parameters hold a sample."""
        if self._means:
            torch._foreach_copy_(list(self._means), list(self._means.values()))
            self._means, self._offsets = {}, {}

    def listen(self, parameters: Iterable[Tensor]) -> None:
        """Has each backward pass note its gradients.

        Args:
            parameters: those that learn are listened to, each once.
        """
        me = weakref.ref(self)

        def hook(gradient: Tensor, leaf: "weakref.ref[Tensor]") -> None:
            sample, parameter = me(), leaf()
            if sample is not None and parameter is not None:
                sample._note(parameter, gradient)

        for parameter in parameters:
            if parameter.requires_grad and parameter not in self._listening:
                self._listening.add(parameter)
                parameter.register_hook(partial(hook, leaf=weakref.ref(parameter)))  # type: ignore[no-untyped-call]

    def product(self, parameter: Tensor) -> Tensor:
        """The sum over samples of gradient times deviation from the mean; 0 if there was no gradient.

        Args:
            parameter: which.
        """
        if parameter not in self._products:
            self._products[parameter] = torch.zeros_like(parameter)
        return self._products[parameter]

    def forget(self) -> None:
        """Forgets everything: the next step begins."""
        self.keeps = False
        self.drop()
        self.count, self.share = 0, 1.0

    def drop(self) -> None:
        """Forgets the products, as their gradients are; `keeps` says that those count all the same."""
        self.unsampled = False
        if not self.keeps:
            self._products = {}

    @torch.no_grad()
    def _note(self, parameter: Tensor, gradient: Tensor) -> None:
        if parameter in self._offsets:
            self.product(parameter).addcmul_(gradient, self._offsets[parameter], value=self.share)
        else:
            self.unsampled = True
