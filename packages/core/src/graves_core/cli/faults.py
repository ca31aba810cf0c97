"""Tells a mistake in what was typed, which deserves one line, from a bug, which deserves its stack trace."""

import linecache
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.fabric.utilities.exceptions import MisconfigurationException

from graves_core.cli.messages import UsageError
from graves_core.cli.plugins import installed_plugins

REFUSALS = (ValueError, TypeError, ImportError, OSError)
CHECKED = ("torch.optim", "lightning.pytorch.trainer.connectors")


@contextmanager
def refusals_in_one_line(constructing: bool) -> Iterator[None]:
    """Turns the refusals of constructors, of our data sets and of the Trainer into usage errors.

    Only exceptions that code raises on purpose, with a `raise` line, count. While a run goes on they must
    also come from a plugin.

    Args:
        constructing: whether only constructors run in the block.

    Raises:
        UsageError: in place of a refusal.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise UsageError(f"Trainer: {error}") from error
    except RuntimeError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0" or "closed by peer" not in str(error):
            raise
        raise UsageError("the process of rank 0 has stopped and says why") from error
    except REFUSALS as error:
        refusal = _refusal(error, constructing)
        if refusal is None:
            raise
        raise UsageError(refusal) from error


def _refusal(error: BaseException, constructing: bool) -> str | None:
    """The message of the exception that was raised on purpose, which jsonargparse may have wrapped."""
    for cause in reversed(_causes(error)):
        frame, line = _raised_at(cause)
        deliberate = "raise " in linecache.getline(frame.f_code.co_filename, line)
        if deliberate and isinstance(cause, REFUSALS) and _is_told(frame, constructing):
            return f"{_owner(frame, str(cause))}{cause}"
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """An exception and what led to it, also where jsonargparse tried several types and gave up."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is not None and cause.__traceback__ and cause not in found:
            found.append(cause)
            pending += [cause.__context__, cause.__cause__]
            pending += _raised_at(cause)[0].f_locals.get("exceptions", [])
    return found


def _raised_at(error: BaseException) -> tuple[FrameType, int]:
    """The frame and the line that raised an exception."""
    return list(traceback.walk_tb(error.__traceback__))[-1]


def _is_told(frame: FrameType, constructing: bool) -> bool:
    """Whether a refusal raised in this frame is meant for the person who typed the command."""
    module = frame.f_globals.get("__name__", "")
    top = module.split(".")[0]
    plugins = {plugin.module.split(".")[0] for plugin in installed_plugins()}
    return top in plugins or module.startswith(CHECKED) or (constructing and top != "jsonargparse")


def _owner(frame: FrameType | None, message: str) -> str:
    """The class whose method refused, unless the message names it."""
    while frame is not None and "self" not in frame.f_locals:
        frame = frame.f_back
    name = type(frame.f_locals["self"]).__name__ if frame else ""
    name = "Trainer" if name.startswith("_") else name
    return "" if name in message or name == "TrainerCLI" else f"{name}: "
