"""Checkpoints that load anywhere, without running code of whoever wrote them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

PLAIN = (Tensor, str, int, float, bool, type(None))


def assert_safe_checkpoint(path: Path) -> pl.LightningModule:
    """Asserts that a checkpoint loads with `weights_only=True`, holds plain data, and rebuilds its module.

    Args:
        path: a checkpoint of a Trainer. The module's class must have been imported, as Lightning demands.

    Returns:
        The rebuilt module, with the weights of the checkpoint.

    Raises:
        AssertionError: saying what is unsafe, or what cannot be rebuilt, and where.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise AssertionError(f"{path.name} does not load with weights_only=True: {reason}") from error
    strange = next(_strange("checkpoint", checkpoint), None)
    assert strange is None, f"{path.name} holds more than tensors and plain values: {strange}"
    try:
        module = pl.LightningModule.load_from_checkpoint(path, map_location="cpu")
    except Exception as error:
        raise AssertionError(f"{path.name} does not rebuild its module: {error}") from error
    for name, value in module.state_dict().items():
        same = name in checkpoint["state_dict"] and torch.equal(value, checkpoint["state_dict"][name])
        assert same, f"{path.name} rebuilds a module whose {name} is not that of the checkpoint"
    return module


def _strange(place: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strange(f"{place} key", key)
            yield from _strange(f"{place}[{key!r}]", inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _strange(f"{place}[{index}]", inner)
    elif not isinstance(value, PLAIN):
        yield f"{place} is a {type(value).__name__}"
