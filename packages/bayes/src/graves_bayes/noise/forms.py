"""What a noisy linear layer computes, in forms that give the same values at different cost."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from graves_bayes.noise.draws import FactorisedNoise, IndependentNoise, Noise

Inputs = Float[Tensor, "*batch inputs"]
Outputs = Float[Tensor, "*batch outputs"]


class NoisyWeights(NamedTuple):
    """The learned numbers of a noisy linear layer: means, and factors of the noise.

    Attributes:
        weight: mu, `(outputs, inputs)`.
        weight_sigma: sigma of the weights, likewise.
        bias: mu of the biases, `(outputs)`, or None.
        bias_sigma: sigma of the biases, likewise.
    """

    weight: Tensor
    weight_sigma: Tensor
    bias: Tensor | None = None
    bias_sigma: Tensor | None = None


def sampled_weight(weights: NoisyWeights, noise: Noise) -> Float[Tensor, "*rows outputs inputs"]:
    """W = mu + sigma * eps, a matrix, or one for each row where rows have noise of their own.

    Args:
        weights: of the layer.
        noise: of either kind.

    Source: Fortunato et al. 2018.
    """
    if isinstance(noise, IndependentNoise):
        return torch.addcmul(weights.weight, weights.weight_sigma, noise.weight)
    products = noise.outputs[..., :, None] * noise.inputs[..., None, :]
    return torch.addcmul(weights.weight, weights.weight_sigma, products)


def sampled_bias(weights: NoisyWeights, noise: Noise) -> Float[Tensor, "*rows outputs"] | None:
    """b = mu + sigma * eps, a vector, or one for each row where rows have noise of their own.

    Args:
        weights: of the layer.
        noise: of either kind.

    Source: Fortunato et al. 2018.
    """
    if weights.bias is None or weights.bias_sigma is None:
        return None
    return torch.addcmul(weights.bias, weights.bias_sigma, noise[1])


def materialised(inputs: Inputs, weights: NoisyWeights, noise: Noise) -> Outputs:
    """Forms the noisy matrix and multiplies with it: least work where there are many rows.

    Rows with noise of their own need a matrix each.

    Args:
        inputs: of the layer.
        weights: of the layer.
        noise: of either kind.

    Example:
        >>> weights = NoisyWeights(torch.zeros(1, 2), torch.ones(1, 2))
        >>> materialised(torch.ones(1, 2), weights, FactorisedNoise(torch.ones(2), torch.tensor([3.0])))
        tensor([[6.]])
    """
    weight, bias = sampled_weight(weights, noise), sampled_bias(weights, noise)
    if weight.ndim == 2:
        return linear(inputs, weight, bias)
    outputs = torch.einsum("r...i,roi->r...o", inputs, weight)
    return outputs if bias is None else outputs + _beside(bias, outputs)


def thin_products(inputs: Inputs, weights: NoisyWeights, noise: FactorisedNoise) -> Outputs:
    """y = mu x + mu_b + F (sigma (E x) + sigma_b), with factors E of the inputs and F of the outputs.

    Forms no matrix: least work for few rows, and each row may have noise of its own at no extra cost.

    Args:
        inputs: of the layer.
        weights: of the layer.
        noise: for all rows, or for each.

    Example:
        >>> weights = NoisyWeights(torch.zeros(1, 2), torch.ones(1, 2))
        >>> thin_products(torch.ones(1, 2), weights, FactorisedNoise(torch.ones(2), torch.tensor([3.0])))
        tensor([[6.]])
    """
    still = linear(inputs, weights.weight, weights.bias)
    thinned = inputs * _beside(noise.inputs, inputs)
    noisy = linear(thinned, weights.weight_sigma, weights.bias_sigma)
    return torch.addcmul(still, noisy, _beside(noise.outputs, noisy).to(noisy.dtype))


def _beside(noise: Float[Tensor, "*rows size"], values: Float[Tensor, "*batch size"]) -> Tensor:
    """Makes room for what stands between the rows and the last axis of the values."""
    if noise.ndim == 1 or values.ndim == 2:
        return noise
    return noise.reshape(len(noise), *[1] * (values.ndim - 2), noise.shape[-1])
