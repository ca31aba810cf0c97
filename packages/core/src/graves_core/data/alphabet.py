"""Text as small numbers: which characters there are, and which number each has."""

import re
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

LETTERS = " abcdefghijklmnopqrstuvwxyz"
BYTES = "".join(map(chr, range(256)))
"""The alphabet of bytes that are read as Latin-1: token `i` is byte `i`."""
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPELLED = {ord(str(digit)): f" {word} " for digit, word in enumerate(_DIGITS)}


def check_symbols(symbols: str) -> str:
    """Returns the alphabet as it is.

    Raises:
        ValueError: when it does not have 2 to 256 different characters.

    Example:
        >>> check_symbols("ab ")
        'ab '
    """
    if len(set(symbols)) != len(symbols):
        raise ValueError(f"symbols must be different characters, got {symbols!r}")
    if not 2 <= len(symbols) <= 256:
        raise ValueError(f"symbols must be 2 to 256 characters, got {len(symbols)}")
    return symbols


def detect_symbols(text: str, path: Path) -> str:
    """The characters of a text, sorted.

    Raises:
        ValueError: naming the file, when they are fewer than 2 or more than 256.
    """
    symbols = "".join(sorted(set(text)))
    if not 2 <= len(symbols) <= 256:
        raise ValueError(f"{path} has {len(symbols)} different characters; an alphabet has 2 to 256")
    return symbols


def encode(text: str, symbols: str, path: Path) -> UInt8[Tensor, "characters"]:
    """Replaces each character by its place in `symbols`.

    Args:
        text: what to encode.
        symbols: the alphabet, at most 256 different characters.
        path: where the text is from, for errors.

    Returns:
        One byte per character.

    Raises:
        ValueError: naming the file, when it has a character that is not in the alphabet.

    Example:
        >>> encode("abba", "ab", Path("a.txt"))
        tensor([0, 1, 1, 0], dtype=torch.uint8)
    """
    strange = set(text) - set(symbols)
    if strange:
        first = min(text.index(character) for character in strange)
        raise ValueError(
            f"{path} has {text[first]!r} at character {first}, which is not one of the symbols {symbols!r}"
        )
    if max(symbols) in BYTES:  # then bytes can be translated, which is far faster than characters
        places = bytes(max(0, symbols.find(character)) for character in BYTES)
        return torch.frombuffer(bytearray(text.encode("latin-1").translate(places)), dtype=torch.uint8)
    table = {ord(symbol): chr(token) for token, symbol in enumerate(symbols)}
    return torch.frombuffer(bytearray(text.translate(table), "latin-1"), dtype=torch.uint8)


def to_letters(text: str) -> str:
    """Reduces a text to the 27 symbols of text8: a-z and single spaces; digits are spelled out.

    Source: Mahoney, "About the Test Data", 2011 (the rules that made text8).

    Example:
        >>> to_letters("In 42 days; don't!")
        'in four two days don t '
    """
    return re.sub("[^a-z]+", " ", text.lower().translate(_SPELLED))
