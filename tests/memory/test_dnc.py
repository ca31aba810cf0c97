"""Whole steps of the differentiable neural computer against a statement in numpy."""

import itertools

import numpy as np
import pytest
import torch
from dense_reference import DNCSteps, spread

from graves_memory.layers.dnc import DNC
from graves_memory.layers.dnc_interface import Variant

EXACT = {"rtol": 1e-8, "atol": 1e-10}
SWITCHES = list(itertools.product([False, True], repeat=3))


def small(**given: object) -> DNC:
    torch.manual_seed(0)
    sizes = {"hidden_size": 5, "rows": 6, "width": 4, "heads": 2} | given
    return DNC(3, 2, **sizes).double()


def assert_equals_the_statement(net: DNC) -> None:
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    outputs, state = net(x)
    for b in range(2):
        step = DNCSteps(net)
        for t in range(9):
            output, expected = step(x[t, b].numpy())
            np.testing.assert_allclose(outputs[t, b].detach(), output, **EXACT)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(state, name)[b].detach(), value, **EXACT)


@pytest.mark.parametrize("write_heads", [1, 2])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_sequence_of_steps_equals_the_statement(variant: Variant, write_heads: int) -> None:
    assert_equals_the_statement(spread(small(variant=variant, write_heads=write_heads)))


@pytest.mark.parametrize(("masked", "erase", "sharpen"), SWITCHES[1:])
def test_steps_with_the_later_fixes_equal_the_statement(masked: bool, erase: bool, sharpen: bool) -> None:
    net = small(masked_keys=masked, erase_freed=erase, sharpen_links=sharpen)
    assert_equals_the_statement(spread(net))


def test_two_write_heads_with_all_fixes_equal_the_statement() -> None:
    net = small(write_heads=2, masked_keys=True, erase_freed=True, sharpen_links=True)
    assert_equals_the_statement(spread(net))


@pytest.mark.parametrize("heads", [1, 4])
def test_the_interface_has_the_length_of_the_papers(heads: int) -> None:
    net = DNC(3, 2, width=16, heads=heads)
    assert net.interface.out_features == 16 * heads + 3 * 16 + 5 * heads + 3


@pytest.mark.parametrize("fixes", [False, True])
def test_gradients_are_those_of_finite_differences(fixes: bool) -> None:
    switches = {"masked_keys": fixes, "erase_freed": fixes, "sharpen_links": fixes}
    net = spread(small(hidden_size=3, rows=4, width=2, **switches))
    x = torch.randn(4, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x)[0], [x])


def test_no_gradient_passes_from_the_usage_to_the_writes_in_the_released_variant() -> None:
    def gradient(variant: Variant) -> torch.Tensor:
        net = small(variant=variant)
        state = net.initial_state(1)
        writes = torch.full((1, 1, 6), 0.1, dtype=torch.float64, requires_grad=True)
        _, state = net.step(torch.ones(1, 3).double(), state._replace(write_weights=writes))
        return torch.autograd.grad(state.usage.sum(), writes, allow_unused=True)[0]

    assert gradient("paper").abs().sum() > 0
    assert gradient("released") is None


def test_outputs_of_the_released_variant_are_clipped() -> None:
    net = spread(small(variant="released", clip=0.5), 20.0)
    outputs, _ = net(torch.randn(9, 2, 3, dtype=torch.float64))
    assert outputs.abs().max() == 0.5


def test_another_variant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"variant must be one of \('paper', 'released'\), not 'best'"):
        DNC(3, 2, variant="best")


def test_no_write_head_is_refused() -> None:
    with pytest.raises(ValueError, match="write_heads must be at least 1, not 0"):
        DNC(3, 2, write_heads=0)
