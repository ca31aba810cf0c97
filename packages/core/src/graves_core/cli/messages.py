"""What people read when something that they typed is wrong: at most three lines, with the nearest match."""

import difflib
import os
import sys
from collections.abc import Iterable

MAX_LINES = 3
MAX_WIDTH = 400
MAX_LISTED = 12


class UsageError(Exception):
    """What was typed cannot be done; its message is printed without a stack trace, and the exit code is 2."""


def nearest(word: str, choices: Iterable[str], likeness: float = 0.6) -> str:
    """A half sentence that proposes the choice most like a word, or nothing when none is like it.

    Args:
        word: what was typed.
        choices: what is allowed.
        likeness: how like it must be, from 0 to 1.

    Example:
        >>> nearest("widht", ["depth", "width"])
        "; did you mean 'width'?"
        >>> nearest("colour", ["depth", "width"])
        ''
        >>> nearest("MNIST", ["MNISTDataModule"])
        "; did you mean 'MNISTDataModule'?"
    """
    by_lower_case = {choice.lower(): choice for choice in sorted(choices)}
    longer = [choice for choice in by_lower_case if word and choice.startswith(word.lower())]
    close = longer or difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=likeness)
    return f"; did you mean {by_lower_case[close[0]]!r}?" if close else ""


def not_one_of(word: str, choices: Iterable[str]) -> str:
    """Says that a word is not among the choices; many choices are not listed when one is near.

    Example:
        >>> not_one_of("rulu", ["relu", "tanh"])
        "'rulu' is not one of relu, tanh; did you mean 'relu'?"
    """
    listed = list(dict.fromkeys(choices))
    close = nearest(word, listed)
    if close and len(listed) > MAX_LISTED:
        return f"{word!r} is unknown{close}"
    return f"{word!r} is not one of {', '.join(listed)}{close}"


def shorten(message: str) -> str:
    """Keeps the first three lines of a message that say something, each cut to a readable width."""
    lines = [line.rstrip() for line in message.strip().splitlines() if line.strip()]
    cut = [line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]}..." for line in lines[:MAX_LINES]]
    return "\n".join(cut)


def report(message: str) -> None:
    """Prints one note to stderr, on the first of several processes only."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(shorten(f"graves: {message}"), file=sys.stderr)
