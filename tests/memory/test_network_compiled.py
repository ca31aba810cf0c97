"""The networks under torch.compile, without the checks of shapes that tests put around functions."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch

from graves_memory.layers.dam import DAM
from graves_memory.layers.dnc import DNC
from graves_memory.layers.network import MemoryNetwork
from graves_memory.layers.ntm import NTM

SMALL = {"hidden_size": 8, "rows": 10, "width": 4, "heads": 2}
FIXES = {"masked_keys": True, "erase_freed": True, "sharpen_links": True}
MAKERS: dict[str, Callable[[], MemoryNetwork[Any]]] = {
    "ntm": lambda: NTM(3, 2, **SMALL),
    "dnc": lambda: DNC(3, 2, **SMALL, **FIXES, write_heads=2),
    "dam": lambda: DAM(3, 2, **SMALL),
}


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_compiled_step_is_one_graph(name: str) -> None:
    torch.manual_seed(0)
    net = MAKERS[name]()
    _, state = net(torch.randn(4, 2, 3))
    inputs, parameters = torch.ones(2, 3), list(net.parameters())
    expected, after = net.step(inputs, net.detach(state))
    compiled = torch.compile(net.step, backend="eager", fullgraph=True)
    found, found_after = compiled(inputs, net.detach(state))
    torch.testing.assert_close((found, *found_after), (expected, *after))
    gradients = [
        torch.autograd.grad(output.square().sum(), parameters, allow_unused=True)
        for output in (found, expected)
    ]
    torch.testing.assert_close(*gradients)


def test_a_compiled_network_gives_the_same_outputs() -> None:
    torch.manual_seed(0)
    net, x = MAKERS["dnc"](), torch.randn(3, 2, 3)
    torch.testing.assert_close(torch.compile(net, backend="eager")(x)[0], net(x)[0])
