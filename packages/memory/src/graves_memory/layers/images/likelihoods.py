"""How probable an image is under the outputs of a decoder."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from graves_core.spec import Spec
from graves_memory.kanerva.precision import at_least_float32

Bytes = UInt8[Tensor, "*batch channels height width"]
Images = Float[Tensor, "*batch channels height width"]
Given = Float[Tensor, "*#batch channels height width"]
Outputs = Float[Tensor, "*batch {self.outputs_per_value} channels height width"]


class PixelLikelihood(Spec, ABC):
    """A distribution of each value of an image, given the outputs of a decoder. Nothing in it is trained.

    Args:
        levels: how many values a pixel of the DataModule can take, from 0 on; 256 for bytes.

    Raises:
        ValueError: when `levels` is out of range.

    Example:
        >>> [likelihood.outputs_per_value for likelihood in (BinaryPixels(), LogisticPixels())]
        [1, 2]
    """

    outputs_per_value: ClassVar[int]
    """How many parameters the distribution of a value has."""

    compares_pixels: ClassVar[bool]
    """Whether bits per dim are those of the data as the DataModule has them."""

    def __init__(self, levels: int) -> None:
        if not 2 <= levels <= 256:
            raise ValueError(f"levels must lie in 2..256, not {levels}")
        self.levels = levels

    def intensities(self, images: Bytes) -> Images:
        """Values in [0, 1]."""
        # in half precision 256 levels would run together
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        return images.to(dtype) / (self.levels - 1)

    @abstractmethod
    def prepare(self, images: Bytes, generator: torch.Generator | None = None) -> Images:
        """What is modelled, in [0, 1], of images as a DataModule yields them."""

    @abstractmethod
    def nats(self, outputs: Outputs, images: Given) -> Float[Tensor, "*batch"]:
        """-ln p(image), summed over its values.

        Args:
            outputs: of the decoder.
            images: from `prepare`.
        """

    @abstractmethod
    def mean(self, outputs: Outputs) -> Images:
        """The expected image, in [0, 1]."""

    def believed(
        self, expected: Images, seen: Given, reliability: float | Float[Tensor, "*#shape"]
    ) -> Images:
        """What is expected of an image, corrected by an observation of each pixel that may be wrong.

        Args:
            expected: from `mean`.
            seen: the damaged image.
            reliability: how probable it is that a pixel of it is right.

        Raises:
            ValueError: when there is no such rule for these pixels.
        """
        raise ValueError(f"reliability must be None for {type(self).__name__}; it is for BinaryPixels")


class BinaryPixels(PixelLikelihood):
    """Bernoulli values, for images that are made black and white first.

    Args:
        levels: how many values a pixel of the DataModule can take, from 0 on; 256 for bytes.
        binarise: "threshold": a pixel is 1 if it is above half of the highest value; "stochastic": it is 1
            with its intensity as the probability, drawn anew at every access.

    Raises:
        ValueError: when `levels` is out of range or `binarise` unknown.

    Example:
        >>> BinaryPixels(levels=17).prepare(torch.tensor([[[8, 9]]], dtype=torch.uint8))
        tensor([[[0., 1.]]])
    """

    outputs_per_value = 1
    compares_pixels = False

    def __init__(self, levels: int = 256, binarise: Literal["threshold", "stochastic"] = "threshold") -> None:
        super().__init__(levels)
        if binarise not in ("threshold", "stochastic"):
            raise ValueError(f"binarise must be 'threshold' or 'stochastic', not {binarise!r}")
        self.binarise = binarise

    def prepare(self, images: Bytes, generator: torch.Generator | None = None) -> Images:
        """Zeros and ones.

        Args:
            images: from the DataModule.
            generator: the source of the draw, for "stochastic".
        """
        intensities = self.intensities(images)
        if self.binarise == "threshold":
            return (intensities > 0.5).to(intensities.dtype)
        return torch.bernoulli(intensities, generator=generator)

    def nats(self, outputs: Outputs, images: Given) -> Float[Tensor, "*batch"]:
        """The cross-entropy of logits.

        Args:
            outputs: of the decoder.
            images: from `prepare`.
        """
        logits = at_least_float32(outputs).squeeze(-4)
        losses = functional.binary_cross_entropy_with_logits(
            logits, images.to(logits.dtype), reduction="none"
        )
        return losses.flatten(-3).sum(-1)

    def mean(self, outputs: Outputs) -> Images:
        """The probability of 1."""
        return at_least_float32(outputs).squeeze(-4).sigmoid()

    def believed(
        self, expected: Images, seen: Given, reliability: float | Float[Tensor, "*#shape"]
    ) -> Images:
        """The probability of 1 once a pixel has been seen: its log-odds and those of the observation add up.

        Args:
            expected: from `mean`.
            seen: the damaged image, zeros and ones.
            reliability: how probable it is that a pixel of it is right, in [0, 1].
        """
        odds = torch.as_tensor(reliability, dtype=expected.dtype, device=expected.device).logit(eps=1e-6)
        return (expected.logit(eps=1e-6) + (2 * seen - 1) * odds).sigmoid()


class LogisticPixels(PixelLikelihood):
    """Logistic distributions cut into one bin for each level, for grey values and colours.

    The probabilities of all levels sum to one: the outermost bins take all that lies beyond them. So nats and
    bits per dim are those of the data themselves, and a compressor could reach them.

    Args:
        levels: how many values a pixel of the DataModule can take, from 0 on; 256 for bytes.

    Raises:
        ValueError: when `levels` is out of range.

    Example:
        >>> pixels = LogisticPixels(levels=4)
        >>> every_level = pixels.prepare(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1))
        >>> same_outputs = torch.randn(1, 2, 1, 1, 1).expand(4, -1, -1, -1, -1)
        >>> (-pixels.nats(same_outputs, every_level)).exp().sum().round(decimals=4)
        tensor(1.)
    """

    outputs_per_value = 2
    compares_pixels = True

    def __init__(self, levels: int = 256) -> None:
        super().__init__(levels)

    def prepare(self, images: Bytes, generator: torch.Generator | None = None) -> Images:
        """Values in [0, 1]; nothing is drawn.

        Args:
            images: from the DataModule.
            generator: not used.
        """
        return self.intensities(images)

    def nats(self, outputs: Outputs, images: Given) -> Float[Tensor, "*batch"]:
        """-ln of the mass of the bins, exact in the tails.

        The difference of two logistic functions is sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - e^(a - b)).

        Args:
            outputs: of the decoder: for mean and scale.
            images: from `prepare`.
        """
        mean, log_scale = self._parameters(outputs)
        half = 0.5 / (self.levels - 1)
        x, inverse = images.to(mean.dtype), (-log_scale).exp()
        low, high = (x - half - mean) * inverse, (x + half - mean) * inverse
        below = torch.where(x < half, 0.0, functional.logsigmoid(-low))
        above = torch.where(x > 1 - half, 0.0, functional.logsigmoid(high))
        inside = torch.log(-torch.expm1(-2 * half * inverse))
        outer = (x < half) | (x > 1 - half)
        return -(below + above + torch.where(outer, 0.0, inside)).flatten(-3).sum(-1)

    def mean(self, outputs: Outputs) -> Images:
        """The middle of the logistic distribution, cut off at 0 and 1."""
        return self._parameters(outputs)[0].clamp(0, 1)

    def _parameters(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean around 1/2, and the logarithm of the scale around ln 1/8, above -8 and below 4."""
        centre, spread = at_least_float32(outputs).unbind(-4)
        return 0.5 + 0.25 * centre, 6 * (spread / 6).tanh() - 2
