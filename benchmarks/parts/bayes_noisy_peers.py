"""Noisy layers of other libraries, where they can be imported, with what draws their noise."""

from collections.abc import Callable
from importlib.util import find_spec

from torch import nn

Peer = tuple[nn.Module, Callable[[], object]]


def peers(inputs: int, outputs: int) -> dict[str, Peer]:
    """Those that are installed, by name, in training mode."""
    makers = {"torchrl": _torchrl, "tianshou": _tianshou}
    return {name: make(inputs, outputs) for name, make in makers.items() if find_spec(name)}


def _torchrl(inputs: int, outputs: int) -> Peer:
    from torchrl.modules import NoisyLinear

    layer = NoisyLinear(inputs, outputs, use_exploration_type=False)
    return layer, layer.reset_noise


def _tianshou(inputs: int, outputs: int) -> Peer:
    from tianshou.utils.net.discrete import NoisyLinear

    layer = NoisyLinear(inputs, outputs)
    return layer, layer.sample
