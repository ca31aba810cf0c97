"""What networks of several fields refuse, by name."""

from typing import Any

import pytest
import torch
from small_nets import FIELDS, everything, mixed, spoken
from torch import Tensor

from graves_bfn import BFNMLP, BFNMixedMLP, FieldShape


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("condition", r"condition needs a network with extra_inputs=ExtraInputs\(condition="),
        ("known", r"known\['at'\] needs a network with extra_inputs=ExtraInputs\(known=True\)"),
        ("estimate", r"estimate\['at'\] needs a network with .*ExtraInputs\(self_conditioning=True\)"),
    ],
)
def test_extras_that_the_network_was_not_built_for_are_refused(argument: str, message: str) -> None:
    told = spoken()
    with pytest.raises(ValueError, match=message):
        mixed()(told["inputs"], told["t"], **{argument: told[argument]})


@pytest.mark.parametrize(
    ("argument", "change", "message"),
    [
        ("inputs", {"colour": torch.rand(3, 2)}, r"inputs must have the fields \['at', 'bit', 'what'\], got"),
        (
            "inputs",
            {"at": torch.rand(3, 4)},
            r"inputs\['at'\] must have the shape .*\(4, 3, 1\).*got \(3, 4\)",
        ),
        ("known", {"colour": torch.ones(3, 2, dtype=torch.bool)}, "known may have the fields .*'colour'"),
        (
            "valid",
            {"bit": torch.ones(3, 4, dtype=torch.bool)},
            r"valid\['bit'\] must .* \(3, 2\), got \(3, 4\)",
        ),
        ("estimate", {"bit": torch.ones(3, 2)}, r"estimate\['bit'\] must have the shape \(3, 2, 1\)"),
    ],
)
def test_fields_that_do_not_fit_are_named(argument: str, change: dict[str, Tensor], message: str) -> None:
    spoken_of = spoken()
    told = {name: spoken_of[name] for name in ("inputs", "t", argument)}
    told[argument] = {**told[argument], **change}
    with pytest.raises(ValueError, match=message):
        mixed(everything())(**told)


def test_a_missing_field_is_named() -> None:
    told = spoken()
    del told["inputs"]["bit"]
    with pytest.raises(ValueError, match=r"inputs must have the fields \['at', 'bit', 'what'\], got .*what"):
        mixed(everything())(**told)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, ValueError, "fields must name at least one field, got none"),
        ({"a.b": FIELDS["at"]}, ValueError, "fields must have names without dots, got 'a.b'"),
        ({"": FIELDS["at"]}, ValueError, "fields must have names without dots, got ''"),
        ({3: FIELDS["at"]}, TypeError, "fields must map names to FieldShape objects, got 3: FieldShape"),
        (
            {"a": BFNMLP((2,), 1, 1)},
            TypeError,
            "fields must map names to FieldShape objects, got 'a': BFNMLP",
        ),
    ],
)
def test_wrong_fields_are_refused(fields: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BFNMixedMLP(fields)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"depth": 0}, {"dropout": 1.0}])
def test_wrong_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        mixed(**wrong)


@pytest.mark.parametrize("wrong", [((), 1, 1), ((2, 0), 1, 1), ((2,), 0, 1), ((2,), 1, 0)])
def test_wrong_shapes_of_a_field_are_refused(wrong: tuple[tuple[int, ...], int, int]) -> None:
    with pytest.raises(ValueError, match=r"shape must hold|inputs_per_variable|outputs_per_variable"):
        FieldShape(*wrong)
