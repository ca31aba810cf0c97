"""Linear layers whose examples have noise of their own, which makes gradients less noisy."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graves_bayes.layers.posterior import WeightPosterior

ExampleNoiseKind = Literal["local", "flipout"]


class ExampleNoise:
    """Has linear layers draw noise for each example of a batch, in place of one sample of their matrices.

    While the posterior is sampled, the matrices of the layers hold their means, and the layers' outputs are
    what samples of their own would have given: with `"local"`, drawn from the output's own distribution; with
    `"flipout"`, from one sample whose deviation has its signs turned over for each example. Mean and variance
    of each output are those of sampled matrices. Biases and other layers are sampled as ever. Outside of a
    sample, and after `remove`, the layers compute as they did.

    Args:
        posterior: over the weights; of the family `"gaussian"` for `"local"`.
        layers: of the network.
        kind: `"local"` or `"flipout"`.

    Raises:
        ValueError: when there is no layer whose matrix belongs to the posterior, or the family or estimator
            does not fit.

    Example:
        >>> from graves_bayes.layers.sampled import posterior_over, sampled_weights
        >>> net = nn.Linear(3, 2)
        >>> posterior = posterior_over(net)
        >>> noise = ExampleNoise(posterior, [net], "local")
        >>> with sampled_weights(posterior):
        ...     net(torch.ones(5, 3)).unique(dim=0).shape
        torch.Size([5, 2])

    Source: Kingma, Salimans and Welling 2015, "Variational Dropout and the Local Reparameterization Trick";
    Wen et al. 2018, "Flipout".
    """

    def __init__(
        self, posterior: WeightPosterior, layers: Sequence[nn.Linear], kind: ExampleNoiseKind
    ) -> None:
        if kind not in ("local", "flipout"):
            raise ValueError(f"kind must be one of local, flipout, not {kind!r}")
        if posterior.posterior == "delta" or (kind == "local" and posterior.posterior != "gaussian"):
            raise ValueError(f"posterior={posterior.posterior!r} does not go with kind={kind!r}")
        if posterior.estimator != "reparameterised":
            raise ValueError(f"estimator must be 'reparameterised', not {posterior.estimator!r}")
        index = {id(p): number for number, p in enumerate(posterior.parameters_of_network)}
        self._layers = [(layer, index[id(layer.weight)]) for layer in layers if id(layer.weight) in index]
        if not self._layers:
            raise ValueError("layers must have at least one linear layer with a matrix of the posterior")
        self._posterior = posterior
        self._kind = kind
        posterior.restore_()
        posterior.kept.apart = frozenset(number for _, number in self._layers)
        posterior.kept.undrawn = posterior.kept.apart if kind == "local" else frozenset()
        for layer, number in self._layers:
            self._replace(layer, number)

    def remove(self) -> None:
        """Makes the layers and the posterior what they were."""
        for layer, _ in self._layers:
            del layer.__dict__["forward"]
        self._posterior.restore_()
        self._posterior.kept.apart = self._posterior.kept.undrawn = frozenset()

    def _replace(self, layer: nn.Linear, number: int) -> None:
        usual = layer.forward

        def forward(inputs: Tensor) -> Tensor:
            if not self._posterior.is_sampled:
                return usual(inputs)
            if inputs.dim() != 2:
                raise ValueError(
                    "noise for each example needs inputs (examples, features), because a sequence has one "
                    f"sample of the weights; got {tuple(inputs.shape)}"
                )
            output = self._local if self._kind == "local" else self._flipout
            return output(inputs, layer, number)

        layer.__dict__["forward"] = forward

    def _local(self, inputs: Tensor, layer: nn.Linear, number: int) -> Tensor:
        inputs, mask = inputs.to(layer.weight.dtype), self._posterior.mask
        noise = inputs.new_empty(len(inputs), layer.out_features)
        noise.normal_(generator=self._posterior.kept.generator)
        scale = self._posterior.kept.scales()[number].to(inputs.dtype)
        scale = scale if mask is None else scale * mask[number]
        local: Any = _Local
        with torch.autocast(inputs.device.type, enabled=False):
            output: Tensor = local.apply(
                inputs, layer.weight, scale, self._posterior.log_sigma[number], noise
            )
        return output if layer.bias is None else output + layer.bias

    def _flipout(self, inputs: Tensor, layer: nn.Linear, number: int) -> Tensor:
        kept = self._posterior.kept
        signs = [
            inputs.new_empty(len(inputs), size).uniform_(-1, 1, generator=kept.generator).sign_()
            for size in (layer.in_features, layer.out_features)
        ]
        scaled: Any = _Deviation
        deviation = scaled.apply(self._posterior.log_sigma[number], kept.deviations[number])
        turned: Tensor = nn.functional.linear(inputs * signs[0], deviation) * signs[1]
        return nn.functional.linear(inputs, layer.weight, layer.bias) + turned


def unshared(layers: Sequence[nn.Linear], module: nn.Module) -> list[nn.Linear]:
    """Those layers whose matrices no other layer of a network has.

    Args:
        layers: of the network.
        module: the network.
    """
    owners = [id(p) for layer in module.modules() for p in layer.parameters(recurse=False)]
    return [layer for layer in layers if owners.count(id(layer.weight)) == 1]


class _Local(torch.autograd.Function):
    """Outputs of mean `x mu^T` and variance `x^2 (sigma^2)^T`."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, mean: Tensor, scale: Tensor, log_scale: Tensor, noise: Tensor
    ) -> Tensor:
        variances, squared = scale.square(), inputs.square()
        spread = (squared @ variances.T).sqrt_()
        ctx.save_for_backward(inputs, mean, variances, squared, spread, noise)
        return torch.addcmul(inputs @ mean.T, spread, noise)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, mean, variances, squared, spread, noise = ctx.saved_tensors
        # twice the gradient by the variances of the outputs; that by ln(scale) has the factor 2 as well
        turned = torch.where(spread > 0, gradient * noise / spread, 0)
        of_inputs = None
        if ctx.needs_input_grad[0]:
            of_inputs = torch.addcmul(gradient @ mean, inputs, turned @ variances)
        return of_inputs, gradient.T @ inputs, None, (turned.T @ squared).mul_(variances), None


class _Deviation(torch.autograd.Function):
    """A deviation, whose derivative by the logarithm of the scale is itself."""

    @staticmethod
    def forward(ctx: Any, log_scale: Tensor, deviation: Tensor) -> Tensor:
        ctx.save_for_backward(deviation)
        return deviation.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None
