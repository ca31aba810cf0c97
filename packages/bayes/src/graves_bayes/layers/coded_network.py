"""A network and the labels of its inputs, sent as a message."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.pruned import current_mask
from graves_bayes.variational.message import Gaussians, Grid, Message, Received, decode, encode, grid_for


class CodedNetwork:
    """Sends labels with the help of a network, and the network with the help of its posterior.

    The receiver must know the inputs, `prior`, `grid` and which weights are left: a few numbers and a mask.
    With those, `variational.message.decode` reads the message; `decode` also gets the bits back that the
    sample was made of, for which it must know the posterior. Weights that have none are known to both.

    Args:
        posterior: over the network's weights, Gaussian like its prior.
        predict: computes the log-probabilities `(examples, classes)` of all labels with the network.
        fineness: the narrowest posterior by the distance of values that a sent weight may have.

    Raises:
        ValueError: when posterior or prior is not Gaussian, or the values would be too many.

    Example:
        >>> net, x, y = torch.nn.Linear(2, 3), torch.randn(50, 2), torch.randint(3, (50,))
        >>> posterior = WeightPosterior(dict(net.named_parameters()), sigma=0.1)
        >>> coded = CodedNetwork(posterior, lambda: net(x).log_softmax(-1))
        >>> message = coded.encode(y, torch.Generator().manual_seed(0))
        >>> torch.equal(coded.decode(message.words).labels, y)
        True

    Source: Graves 2011.
    """

    def __init__(
        self,
        posterior: WeightPosterior,
        predict: Callable[[], Float[Tensor, "examples classes"]],
        fineness: float = 4.0,
    ) -> None:
        for name, family in (("posterior", posterior.posterior), ("prior", posterior.prior)):
            if family != "gaussian":
                raise ValueError(f"{name} must be gaussian to be coded, not {family}")
        self.posterior = posterior
        self._predict = predict
        self._left = torch.cat([part.flatten() for part in current_mask(posterior).values()])
        self._posterior, self.prior = self._gaussians()
        self.grid: Grid = grid_for(self._posterior, self.prior, fineness)

    def encode(self, labels: Int64[Tensor, " examples"], generator: torch.Generator | None = None) -> Message:
        """Encodes a sample of the weights and the labels. Needs `pip install "graves-bayes[coding]"`.

        Args:
            labels: of the inputs.
            generator: source of the bits that the sample is made of.

        Raises:
            ImportError: when constriction is not installed.
        """
        return encode(labels, self.predict, self._posterior, self.prior, self.grid, generator)

    def decode(self, words: "np.ndarray[Any, np.dtype[np.uint32]]") -> Received:
        """Decodes weights and labels, and the bits that the sample was made of.

        Args:
            words: of a message.

        Raises:
            ImportError: when constriction is not installed.
        """
        return decode(words, self.predict, self.prior, self.grid, self._posterior)

    @torch.no_grad()
    def predict(self, weights: Float[Tensor, " weights"]) -> Float[Tensor, "examples classes"]:
        """What the network with these weights expects; the network itself stays as it is.

        Args:
            weights: those that are left, one after another.
        """
        parameters = self.posterior.parameters_of_network
        before = [parameter.detach().clone() for parameter in parameters]
        sizes = [parameter.numel() for parameter in parameters]
        every = torch.zeros(len(self._left), device=parameters[0].device)
        every[self._left] = weights.to(every)
        try:
            for parameter, part in zip(parameters, torch.split(every, sizes), strict=True):
                parameter.copy_(part.view_as(parameter))
            return self._predict()
        finally:
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def _gaussians(self) -> tuple[Gaussians, Gaussians]:
        """Posterior and prior of the weights that are left."""
        means = self.posterior.mean
        priors = [self.posterior.prior_groups.of(index) for index in range(len(means))]
        columns = [
            [mean.flatten() for mean in means],
            [scale.exp().flatten() for scale in self.posterior.log_sigma],
            [prior[0].expand(mean.numel()) for prior, mean in zip(priors, means, strict=True)],
            [prior[1].expand(mean.numel()) for prior, mean in zip(priors, means, strict=True)],
        ]
        mean, std, prior_mean, prior_std = (torch.cat(parts)[self._left] for parts in columns)
        return Gaussians(mean, std), Gaussians(prior_mean, prior_std)
