"""Gradients of the error loss with respect to the scales of the posterior.

The reparameterised estimator multiplies the gradient of a weight with what the weight was off its mean. The
other takes the squared gradients of single examples for the curvature (of the Fisher matrix, that is): never
negative, much less noisy, and right in so far as the network fits the data. It needs a sum of squares over
examples; the square of the summed gradient is something else.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from graves_bayes.variational.posteriors import Posterior, Weights, variance

Estimator = Literal["reparameterised", "squared"]


def squared_gradient(posterior: Posterior, squares: Weights, log_scale: Weights) -> Weights:
    """Estimates d error / d ln(scale) from the squared gradients of the examples.

    Args:
        posterior: family of the posterior.
        squares: the sum over examples of the squared gradient of each one's error at the sampled weights, in
            the unit of the loss: for a mean over examples, the mean of squares.
        log_scale: ln of each weight's scale.

    Example:
        >>> import torch
        >>> squared_gradient("gaussian", torch.tensor([3.0]), torch.zeros(1))
        tensor([3.])

    Source: Graves 2011, on Gaussian posteriors: half the curvature is the derivative by the variance, which
    changes by twice itself with its scale's logarithm.
    """
    return squares * variance(posterior, log_scale)


def linear_squares(
    inputs: Float[Tensor, "examples inputs"], gradients: Float[Tensor, "examples outputs"]
) -> Float[Tensor, "outputs inputs"]:
    """The sum over examples of the squared gradient of a linear layer's matrix, by one matrix product.

    Args:
        inputs: of the layer.
        gradients: of the summed error with respect to the layer's outputs.
    """
    return gradients.square().T @ inputs.square()


def complexity_scale(examples: int, counted: float | Float[Tensor, ""] = 1.0) -> float | Float[Tensor, ""]:
    """The share of the complexity loss that a step has to pay.

    The weights are sent once for all examples. Where the loss is a mean over examples that is one part in the
    number of examples; where it is a sum over a batch, as many parts as the batch has examples.

    Args:
        examples: number of training examples.
        counted: 1 for a mean, the size of the batch for a sum.

    Source: Graves 2011, on minibatches, there for batches of equal size.
    """
    return counted / examples
