"""The 61 phonetic symbols of TIMIT, and the 39 classes in which recognisers are scored.

Source: Lee and Hon 1989, "Speaker-independent phone recognition using hidden Markov models".
"""

CLASSES = [
    "iy", "ih", "eh", "ae", "ah", "uw", "uh", "aa", "ey", "ay", "oy", "aw", "ow", "er", "l", "r",
    "w", "y", "m", "n", "ng", "v", "f", "dh", "th", "z", "s", "sh", "jh", "ch", "b", "p", "d", "dx",
    "t", "g", "k", "hh", "sil",
]  # fmt: skip
"""The 39 classes; a label is a place in this list."""

_FOLDED = {
    "ix": "ih", "ax": "ah", "ax-h": "ah", "ux": "uw", "ao": "aa", "axr": "er", "el": "l", "em": "m",
    "en": "n", "nx": "n", "eng": "ng", "zh": "sh", "hv": "hh", "pcl": "sil", "tcl": "sil", "kcl": "sil",
    "bcl": "sil", "dcl": "sil", "gcl": "sil", "h#": "sil", "pau": "sil", "epi": "sil",
}  # fmt: skip
_NUMBERS = {name: number for number, name in enumerate(CLASSES)}


def phoneme_labels(symbols: list[str]) -> list[int]:
    """The classes of phonetic symbols; glottal stops (`q`) are left out.

    Args:
        symbols: as in a `.PHN` file, in small letters.

    Raises:
        ValueError: naming the symbol that TIMIT does not have.

    Example:
        >>> [CLASSES[label] for label in phoneme_labels(["h#", "ax", "q", "dcl", "d"])]
        ['sil', 'ah', 'sil', 'd']
    """
    labels = []
    for symbol in symbols:
        name = _FOLDED.get(symbol, symbol)
        if name not in _NUMBERS and name != "q":
            raise ValueError(f"{symbol!r} is no phonetic symbol of TIMIT")
        labels += [_NUMBERS[name]] if name != "q" else []
    return labels
