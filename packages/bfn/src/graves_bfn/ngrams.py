"""How far apart two sets of symbol sequences are, by the frequencies of their n-grams."""

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

LARGEST_CODE = 2**62


def ngram_distance(
    samples: Integer[Tensor, "count length"],
    real: Integer[Tensor, "others other_length"],
    order: int,
    symbols_count: int,
    *,
    valid_samples: Bool[Tensor, "count length"] | None = None,
    valid_real: Bool[Tensor, "others other_length"] | None = None,
) -> Float[Tensor, ""]:
    """Total variation distance between the n-gram frequencies of two sets of sequences, in [0, 1].

    Memory grows with the number of n-grams in the sequences, not with the number of possible ones.

    Args:
        samples: symbols.
        real: symbols; the order of the two sets does not matter.
        order: n.
        symbols_count: how many symbols there are; all must lie below.
        valid_samples: where `samples` counts; an n-gram counts where all of its symbols do.
        valid_real: the same of `real`.

    Raises:
        ValueError: when a symbol is out of range, or a set has no n-gram.
    """
    drawn = _ngrams("samples", samples, order, symbols_count, valid_samples)
    known = _ngrams("real", real, order, symbols_count, valid_real)
    codes = _ranks(_codes(torch.cat([drawn, known]), symbols_count))
    p, q = (_frequencies(part, len(codes)) for part in (codes[: len(drawn)], codes[len(drawn) :]))
    return (p - q).abs().sum() / 2


def known_ngrams(
    samples: Integer[Tensor, "count length"],
    real: Integer[Tensor, "others other_length"],
    order: int,
    *,
    valid_samples: Bool[Tensor, "count length"] | None = None,
    valid_real: Bool[Tensor, "others other_length"] | None = None,
) -> Float[Tensor, ""]:
    """The share of the samples' n-grams that occur anywhere in real data, as precision does.

    A sampler that repeats one real line has a share of 1. The other way round,
    `known_ngrams(real, samples, order)` is coverage, as recall is: the share of the real n-grams that the
    samples contain, which such a sampler loses. Both grow with the set that is searched, so they are
    comparable between samplers for sets of the same sizes alone.

    Args:
        samples: symbols whose n-grams are looked up.
        real: symbols among whose n-grams they are searched.
        order: n.
        valid_samples: where `samples` counts; an n-gram counts where all of its symbols do.
        valid_real: the same of `real`.

    Raises:
        ValueError: when a symbol is negative, or a set has no n-gram.
    """
    symbols_count = symbols_in(samples, real)
    drawn = _ngrams("samples", samples, order, symbols_count, valid_samples)
    known = _ngrams("real", real, order, symbols_count, valid_real)
    codes = _codes(torch.cat([drawn, known]), symbols_count)
    return torch.isin(codes[: len(drawn)], codes[len(drawn) :]).double().mean()


def _ngrams(
    name: str, x: Tensor, order: int, symbols_count: int, valid: Tensor | None
) -> Int[Tensor, "ngrams order"]:
    """All n-grams of sequences, checked."""
    if order < 1:
        raise ValueError(f"order must be at least 1, not {order}")
    if valid is not None and valid.shape != x.shape:
        raise ValueError(f"valid_{name} must be {tuple(x.shape)} like {name}, not {tuple(valid.shape)}")
    if x.shape[1] < order:
        raise ValueError(f"{name} has sequences of {x.shape[1]} symbols, too short for order {order}")
    ngrams = x.long().unfold(1, order, 1)
    ngrams = ngrams.flatten(0, 1) if valid is None else ngrams[valid.unfold(1, order, 1).all(-1)]
    if len(ngrams) == 0:
        raise ValueError(f"{name} has no n-gram of order {order} that counts")
    lowest, highest = int(ngrams.min()), int(ngrams.max())
    if lowest < 0 or highest >= symbols_count:
        raise ValueError(f"{name} must hold symbols in 0..{symbols_count - 1}, got {lowest}..{highest}")
    return ngrams


def _codes(ngrams: Int[Tensor, "ngrams order"], symbols_count: int) -> Int[Tensor, " ngrams"]:
    """A number for each n-gram, equal for equal ones.

    Numbers to the base of `symbols_count`; before they outgrow an integer they are replaced by their ranks.
    """
    codes, limit = ngrams[:, 0], symbols_count
    for column in ngrams.unbind(1)[1:]:
        if limit * symbols_count > LARGEST_CODE:
            codes = _ranks(codes)
            limit = len(codes)
        codes = codes * symbols_count + column
        limit *= symbols_count
    return codes


def _ranks(codes: Int[Tensor, " ngrams"]) -> Int[Tensor, " ngrams"]:
    ranks: Tensor = torch.unique(codes, return_inverse=True)[1]
    return ranks


def _frequencies(ranks: Int[Tensor, " ngrams"], size: int) -> Float[Tensor, " size"]:
    return torch.bincount(ranks, minlength=size).double() / len(ranks)


def symbols_in(*sets: Tensor) -> int:
    """The smallest `symbols_count` that holds all symbols of some sets."""
    return 1 + max((int(x.max()) for x in sets if x.numel()), default=0)
