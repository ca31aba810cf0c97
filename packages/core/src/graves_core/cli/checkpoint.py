"""The model that a checkpoint was made by, so that a run from it need not name the model again."""

import zipfile
from pathlib import Path
from typing import Any

from graves_core.cli.given import missing
from graves_core.cli.messages import UsageError

BY_LIGHTNING = ("best", "last", "hpc", "registry")


def local_checkpoint(values: dict[str, Any]) -> Path | None:
    """The checkpoint file that a command line names, if it is a local file.

    Args:
        values: what was given.

    Raises:
        UsageError: when the file does not exist.
    """
    path = values.get("ckpt_path")
    if not isinstance(path, str) or path.split(":")[0] in BY_LIGHTNING or "://" in path:
        return None
    file = Path(path).expanduser()
    if not file.exists():
        raise UsageError(f"ckpt_path: {missing(file)}")
    return file / "meta.pt" if file.is_dir() else file


def model_of(file: Path, trusted: bool) -> dict[str, Any] | None:
    """The model's class and arguments, as a checkpoint keeps them.

    Args:
        file: a checkpoint of Lightning.
        trusted: whether the run may load Python objects from it; then it must say the model by itself.

    Returns:
        `{"class_path": ..., "init_args": {...}}`, the arguments alone where no class is kept, or nothing.

    Raises:
        UsageError: when the file is not a checkpoint, or cannot be read without trust.
    """
    import pickle

    import torch

    if not zipfile.is_zipfile(file):
        raise UsageError(f"ckpt_path: {file} is not a checkpoint (or is cut off)")
    try:
        checkpoint = torch.load(file, weights_only=True, map_location="cpu", mmap=True)
    except pickle.UnpicklingError as error:
        if trusted:
            return None
        reason = str(error).partition("Unsupported global: GLOBAL ")[2].split(" ")[0] or "Python objects"
        raise UsageError(
            f"ckpt_path: {file} holds {reason}, which can run any code when it is loaded\n"
            "if you trust whoever made it, add --weights_only false and name the model"
        ) from None
    except (RuntimeError, EOFError, KeyError) as error:
        raise UsageError(f"ckpt_path: {file} is not a checkpoint: {str(error).splitlines()[0]}") from None
    if not isinstance(checkpoint, dict) or ("state_dict" not in checkpoint and file.name != "meta.pt"):
        raise UsageError(f"ckpt_path: {file} is not a checkpoint of Lightning: it has no 'state_dict'")
    return _spec(dict(checkpoint.get("hyper_parameters") or {}))


def _spec(hparams: dict[str, Any]) -> dict[str, Any] | None:
    by_config = hparams.pop("_instantiator", None) is not None
    class_path = hparams.pop("_class_path", None)
    if class_path is None:
        return {"init_args": hparams} if by_config else None
    return {"class_path": class_path, "init_args": hparams}
