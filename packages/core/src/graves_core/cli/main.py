"""The first word of the command line decides what runs; words that do not train answer without torch."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import cast

from graves_core.cli.messages import UsageError, nearest, shorten

RUNS = {
    "fit": "train a model",
    "validate": "evaluate on the validation data",
    "test": "evaluate on the test data",
    "predict": "predict, or draw samples",
}
TOOLS = {
    "plugins": "what is installed: models, data, callbacks, recipes",
    "recipe": "list the shipped experiment files, or print one",
    "schema": "print the JSON schema of experiment files, for editors",
    "doctor": "versions, devices, and what is broken and how to mend it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, as the `lightning` and `graves` scripts do.

    Args:
        argv: the words after the name of the command; those of this process by default.

    Returns:
        The exit code: 0, 1 when `doctor` found something broken, 2 when what was typed cannot be done.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        graves-core ...
        0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except UsageError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(shorten(f"error: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `lightning recipe | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(words: list[str]) -> int:
    word, rest = (words[0], words[1:]) if words else ("--help", [])
    if word in ("-h", "--help"):
        print(_help())
    elif word in ("-V", "--version"):
        print(_version())
    elif word in RUNS:
        from graves_core.cli.runs import run

        run(word, rest)
    elif word in TOOLS:
        return _tool(word)(rest)
    else:
        return _not_ours(word, words)
    return 0


def _tool(word: str) -> Callable[[list[str]], int]:
    """The function behind a word; its module is imported only when the word is typed."""
    module = importlib.import_module(f"graves_core.cli.{'recipes' if word == 'recipe' else word}")
    return cast(Callable[[list[str]], int], module.command)


def _not_ours(word: str, words: list[str]) -> int:
    """Hands a command line to the other distribution that has a `lightning` script, if there is one."""
    if word.startswith("-"):
        run = next((other for other in words if other in RUNS), None)
        if run:
            rest = " ".join(other for other in words if other != run)
            raise UsageError(f"{word} stands before {run!r}; write: lightning {run} {rest}")
        raise UsageError(f"unknown option {word!r}; the first word is one of: {', '.join([*RUNS, *TOOLS])}")
    from graves_core.cli.foreign import other_command

    other = other_command()
    if other is None:
        ours = [*RUNS, *TOOLS]
        hint = f"{nearest(word, ours)}\nthe first word is one of: {', '.join(ours)}"
        raise UsageError(f"unknown word {word!r}{hint}")
    return other(words)


def _help() -> str:
    lines = ["usage: lightning WORD [options]        (also: graves, python -m graves_core)", ""]
    lines += [f"  {word:<10}{text}" for word, text in {**RUNS, **TOOLS}.items()]
    lines += [
        "",
        "lightning fit --config experiment.yaml       runs an experiment file; flags after it beat the file",
        "lightning recipe                             lists the experiment files that come with the plugins",
        "lightning fit --help                         lists every option of a run",
        "lightning fit --model.help NAME              lists the options of one class",
    ]
    return "\n".join(lines)


def _version() -> str:
    from graves_core.cli.plugins import installed_plugins

    versions = {plugin.distribution: plugin.version for plugin in installed_plugins()}
    return "\n".join(f"{name} {version}" for name, version in versions.items())
