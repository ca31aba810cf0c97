"""What it costs to send data: nats and bits, codes that know nothing of the inputs, and compression."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BITS_PER_NAT = 1 / math.log(2)


def nats_to_bits(nats: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same length in bits.

    Args:
        nats: lengths.

    Example:
        >>> nats_to_bits(torch.tensor(2.0).log())
        tensor(1.)
    """
    return nats * BITS_PER_NAT


def bits_to_nats(bits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same length in nats.

    Args:
        bits: lengths.
    """
    return bits / BITS_PER_NAT


def uniform_code(symbols: int | Float[Tensor, ""], classes: int) -> Float[Tensor, ""]:
    """Nats to send symbols that the receiver holds to be equally likely.

    Args:
        symbols: how many.
        classes: how many there are to choose from.

    Raises:
        ValueError: when there is no class, or fewer than no symbols are sent.

    Source: Graves 2011, where it is the unit of compression.

    Example:
        >>> nats_to_bits(uniform_code(100, classes=4))
        tensor(200.)
    """
    if classes < 1:
        raise ValueError(f"classes must be at least 1, not {classes}")
    if isinstance(symbols, int) and symbols < 0:
        raise ValueError(f"symbols must be at least 0, not {symbols}")
    return torch.as_tensor(symbols * math.log(classes), dtype=torch.get_default_dtype())


def class_counts(targets: Int[Tensor, "*shape"], classes: int) -> Int[Tensor, " classes"]:
    """How often each class occurs; negative targets stand for nothing and are not counted.

    Args:
        targets: whole numbers below `classes`.
        classes: how many there are.

    Raises:
        ValueError: when there is no class.
    """
    if classes < 1:
        raise ValueError(f"classes must be at least 1, not {classes}")
    return torch.bincount(targets[targets >= 0].long(), minlength=classes)


def frequency_code(counts: Int[Tensor, " classes"] | Float[Tensor, " classes"]) -> Float[Tensor, ""]:
    """Nats to send symbols under their own frequencies, which the receiver knows: count times entropy.

    Args:
        counts: how often each symbol occurs.

    Example:
        >>> nats_to_bits(frequency_code(torch.tensor([8, 8, 0, 0])))
        tensor(16.)
    """
    counts = counts.to(torch.get_default_dtype())
    total = counts.sum()
    return torch.xlogy(total, total) - torch.xlogy(counts, counts).sum()


def adaptive_frequency_code(
    counts: Int[Tensor, " classes"] | Float[Tensor, " classes"],
) -> Float[Tensor, ""]:
    """Nats to send symbols under frequencies that the receiver counts as it goes, beginning with 1 for each.

    That is the length of the empirical-frequency code with the frequencies sent along:
    `ln C(symbols, counts)` for the order and `ln C(symbols + classes - 1, classes - 1)` for the counts.

    Args:
        counts: how often each symbol occurs.

    Example:
        >>> adaptive_frequency_code(torch.tensor([1, 0])).exp()
        tensor(2.)
    """
    counts = counts.double()
    classes = torch.full((), len(counts), dtype=counts.dtype, device=counts.device)
    nats = torch.lgamma(counts.sum() + classes) - torch.lgamma(classes) - torch.lgamma(counts + 1).sum()
    return nats.to(torch.get_default_dtype())


def compression_ratio(
    error: Float[Tensor, "*shape"], complexity: Float[Tensor, "*shape"], reference: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Length of weights and targets over the length of another code; below 1 the data are compressed.

    Args:
        error: nats of the targets, given the weights.
        complexity: nats of the weights.
        reference: nats of the targets in the other code, such as `uniform_code`.

    Source: Graves 2011, table 1.

    Example:
        >>> compression_ratio(torch.tensor(20.0), torch.tensor(30.0), torch.tensor(200.0))
        tensor(0.2500)
    """
    return (error + complexity) / reference


def mask_code(mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Nats to say which weights are left, when the receiver knows how many: `ln C(weights, kept)`.

    Args:
        mask: True for the weights that are left.

    Source: Graves 2011, which leaves it out, because it does not depend on the parameters.

    Example:
        >>> mask_code(torch.tensor([True, False, False, False])).exp()
        tensor(4.)
    """
    kept = mask.sum().double()
    dropped = mask.numel() - kept
    nats = torch.lgamma(kept + dropped + 1) - torch.lgamma(kept + 1) - torch.lgamma(dropped + 1)
    return nats.to(torch.get_default_dtype())
