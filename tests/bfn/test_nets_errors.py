"""Arguments that do not fit are refused at construction, by name."""

from typing import Any

import pytest

from graves_bfn import BFNMLP, BFNNetwork, BFNTransformer, BFNUNet, BFNVDMUNet

IMAGE: dict[str, Any] = {"shape": (8, 8, 1), "inputs_per_variable": 1, "outputs_per_variable": 1}
TEXT: dict[str, Any] = {"shape": (8,), "inputs_per_variable": 3, "outputs_per_variable": 3}


@pytest.mark.parametrize("cls", [BFNMLP, BFNUNet, BFNVDMUNet, BFNTransformer])
@pytest.mark.parametrize(
    "wrong",
    [{"shape": (8, 0, 1)}, {"inputs_per_variable": 0}, {"outputs_per_variable": 0}, {"dropout": 1.0}],
)
def test_every_network_checks_the_common_arguments(cls: type[BFNNetwork], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        cls(**{**IMAGE, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (8, 8)}, r"shape must be \(height, width, channels\)"),
        ({"shape": (8, 6, 1)}, r"shape: 3 levels .* divisible by 4, got \(8, 6\)"),
        ({"multipliers": ()}, "multipliers"),
        ({"multipliers": (1, 0)}, "multipliers"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"heads": 5}, "heads must divide the attended features = 256, got 5"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"channels": 24}, "groups must divide channels = 24, got 32"),
        ({"channels": 15, "groups": 5}, "channels must be even, got 15"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"attention_resolutions": (2, 8, 16)}, r"among \[1, 2, 4\], got \[8, 16\], never reached"),
    ],
)
def test_unet_names_what_does_not_fit(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNUNet(**{**IMAGE, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (8,)}, "shape"),
        ({"blocks": 0}, "blocks"),
        ({"heads": 3}, "heads must divide the attended features = 128, got 3"),
        ({"groups": 3}, "groups must divide channels = 128, got 3"),
        ({"channels": 9, "groups": 3}, "channels must be even"),
    ],
)
def test_vdm_unet_names_what_does_not_fit(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNVDMUNet(**{**IMAGE, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"heads": 5}, "heads must divide width = 768, got 5"),
    ],
)
def test_transformer_names_what_does_not_fit(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNTransformer(**{**TEXT, **wrong})


@pytest.mark.parametrize("wrong", [{"width": 0}, {"depth": -1}])
def test_mlp_names_what_does_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BFNMLP(**{**TEXT, **wrong})


def test_the_base_class_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BFNNetwork((8,), 3, 3)  # type: ignore[abstract]
