"""Sizes, starting values and outputs agree with the networks that the authors released."""

import math

import pytest
import torch
from torch import Tensor

from graves_bfn import BFNNetwork, BFNTransformer, BFNUNet, BFNVDMUNet

TIMES = torch.tensor([0.25, 0.9])


@pytest.mark.parametrize(
    ("cls", "arguments", "count"),
    [
        (BFNUNet, ((28, 28, 1), 1, 1), 24_808_961),
        (BFNVDMUNet, ((32, 32, 3), 1, 1), 30_722_188),
        (BFNVDMUNet, ((32, 32, 3), 1, 2), 30_722_584),
        (BFNTransformer, ((256,), 27, 27), 170_175_003),
    ],
)
def test_defaults_have_the_released_number_of_parameters(
    cls: type[BFNNetwork], arguments: tuple[tuple[int, ...], int, int], count: int
) -> None:
    with torch.device("meta"):
        net = cls(*arguments)
    assert sum(p.numel() for p in net.parameters()) == count
    assert not list(net.buffers())


def ramp(*shape: int) -> Tensor:
    return (torch.arange(math.prod(shape)) * 0.37).sin().view(shape)


def filled(net: BFNNetwork) -> BFNNetwork:
    """Gives each parameter values that a formula fixes."""
    for number, p in enumerate(net.parameters()):
        steps = torch.arange(p.numel(), dtype=torch.float64)
        p.data = (0.2 * torch.sin(steps * (1 + number) + number)).float().view(p.shape)
    return net.eval()


def test_unet_computes_what_the_released_one_does() -> None:
    net = filled(BFNUNet((4, 4, 1), 1, 1, 32, multipliers=(1, 2), blocks=1, attention_resolutions=(2,)))
    outputs = net((ramp(2, 4, 4, 1, 1) + 1) / 2, TIMES)
    expected = [-0.22579337656497955, -0.23257511854171753, -0.22498194873332977, -0.2441185712814331]
    torch.testing.assert_close(outputs[1, 0].flatten(), torch.tensor(expected), rtol=0, atol=5e-6)


def test_vdm_unet_computes_what_the_released_one_does() -> None:
    net = filled(BFNVDMUNet((3, 3, 3), 1, 2, channels=32, blocks=2))
    expected = [-0.11253999, 0.01562163, 0.17288825, 0.20806919, 0.07171476, -0.13895098]
    outputs = net(ramp(2, 3, 3, 3), TIMES)[1, 0, 0]
    torch.testing.assert_close(outputs.flatten(), torch.tensor(expected), rtol=0, atol=5e-6)


def test_transformer_computes_what_the_released_one_does() -> None:
    net = filled(BFNTransformer((6,), 5, 5, width=24, depth=2, heads=3))
    expected = [-0.47242978, -0.47895679, 0.07708047, 0.65450072, 0.65248466]
    outputs = net(ramp(2, 6, 5).softmax(-1), TIMES)[1, 0]
    torch.testing.assert_close(outputs, torch.tensor(expected), rtol=0, atol=5e-6)


@pytest.mark.parametrize("cls", [BFNUNet, BFNVDMUNet])
def test_untrained_unets_start_with_the_released_zeros(cls: type[BFNUNet] | type[BFNVDMUNet]) -> None:
    net = cls((4, 4, 1), 1, 1, channels=32, blocks=1)
    zeros = [name for name, p in net.named_parameters() if p.ndim > 1 and not p.any()]
    assert any(name.endswith("second_conv.weight") for name in zeros)
    assert "last_conv.weight" in zeros
    assert any(name.endswith("attention.out.weight") for name in zeros)


def test_transformer_starts_with_smaller_weights_towards_the_stream() -> None:
    torch.manual_seed(0)
    net = BFNTransformer((4,), 3, 3, width=128, depth=8, heads=2)
    for name, p in net.named_parameters():
        if p.ndim > 1:
            expected = 0.02 / 4 if name.endswith("_out.weight") else 0.02
            assert p.std().item() == pytest.approx(expected, rel=0.15), name


def test_transformer_decays_the_weights_of_linear_layers_alone() -> None:
    net = BFNTransformer((4,), 3, 3, width=8, depth=2, heads=2)
    decayed, rest = net.parameter_groups()
    assert "weight_decay" not in decayed
    assert rest["weight_decay"] == 0.0
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in rest["params"])
    everything = {id(p) for p in net.parameters()}
    assert {id(p) for p in decayed["params"] + rest["params"]} == everything
    assert len(decayed["params"]) + len(rest["params"]) == len(everything)
