"""`fit`, `validate`, `test` and `predict`: Lightning's own command line with its rough edges taken off."""

import json
import logging
import sys
import warnings
from pathlib import Path

from graves_core.cli.checkpoint import local_checkpoint, model_of
from graves_core.cli.given import given


def run(word: str, words: list[str]) -> None:
    """Runs one word of the Trainer.

    Args:
        word: fit, validate, test or predict.
        words: the options after it.

    Raises:
        UsageError: when what was given cannot be run.
    """
    values = given(words)
    checkpoint = local_checkpoint(values)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # classes in the user's own files, as under `python script.py`
    quiet(word)

    from graves_core.cli.plugins import load_plugins
    from graves_core.cli.trainer_cli import TrainerCLI

    broken = load_plugins()
    model = model_of(checkpoint, trusted=values.get("weights_only") is False) if checkpoint else None
    if model:
        words = [f"--config={json.dumps({'model': model})}", *words]  # the first config: all others beat it
    TrainerCLI(word, words, given(words), broken)


def quiet(word: str) -> None:
    """Drops advertisements of Lightning, a warning about its internals, and what is no fault of the user's.

    Args:
        word: outside of fit, callbacks of the checkpoint are not missed.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_of_use)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    if word != "fit":
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be")
        warnings.filterwarnings("ignore", message="The dirpath has changed")


def _is_of_use(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return "Tip: For seamless cloud" not in message and not message.startswith("TPU available: False")
