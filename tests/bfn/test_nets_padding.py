"""What stands in padding does not matter, nor does its amount to networks of sequences."""

from typing import Any

import pytest
import torch
from small_nets import MAKERS, Make, awake, everything, said, transformer

from graves_bfn import BFNConvNet, BFNTransformer

every_network = pytest.mark.parametrize("make", MAKERS)
every_sequence_network = pytest.mark.parametrize(
    ("cls", "sizes"),
    [
        (BFNConvNet, {"width": 16, "dilations": (1, 2, 4), "kernel": 5}),
        (BFNTransformer, {"width": 16, "depth": 2, "heads": 2}),
    ],
)


@every_network
@pytest.mark.parametrize("rubbish", [7.0, float("nan"), float("inf")])
def test_the_content_of_padding_does_not_matter(make: Make, rubbish: float) -> None:
    net, told = awake(make(1, everything())).eval(), said()
    padding = ~told["valid"]
    other = {name: told[name].masked_fill(padding, rubbish) for name in ("inputs", "estimate")}
    outputs = net(**told)
    changed = net(**{**told, **other, "known": told["known"] ^ padding})
    assert torch.equal(outputs[told["valid"]], changed[told["valid"]])
    changed[told["valid"]].sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@every_network
def test_all_valid_is_the_same_as_no_padding(make: Make) -> None:
    net, told = awake(make(1, everything())).eval(), said()
    full = net(**{**told, "valid": torch.ones_like(told["valid"])})
    torch.testing.assert_close(full, net(**{**told, "valid": None}))


@every_sequence_network
def test_padded_sequences_are_read_as_if_alone(
    cls: type[BFNConvNet] | type[BFNTransformer], sizes: dict[str, Any]
) -> None:
    long = awake(cls((12,), 1, 1, **sizes, extra_inputs=everything())).eval()
    told = said((12,), batch=12)
    lengths = torch.arange(12) + 1
    told["valid"] = torch.arange(12) < lengths[:, None]
    outputs = long(**told)
    for row, length in enumerate(lengths.tolist()):
        short = cls((length,), 1, 1, **sizes, extra_inputs=everything()).eval()
        short.load_state_dict(long.state_dict())
        alone = {name: value[row : row + 1] for name, value in told.items() if name != "valid"}
        for name in ("inputs", "known", "estimate"):
            alone[name] = alone[name][:, :length]
        torch.testing.assert_close(outputs[row : row + 1, :length], short(**alone), rtol=1e-4, atol=1e-5)


@every_network
def test_an_example_of_padding_alone_stays_finite(make: Make) -> None:
    net, told = awake(make(1, everything())), said()
    told["valid"][1] = False
    outputs = net(**told)
    outputs[told["valid"]].sum().backward()
    assert outputs.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_a_transformer_reads_padding_alone_as_zeros() -> None:
    net, told = awake(transformer(1, everything())).eval(), said()
    nothing = {name: torch.zeros_like(told[name]) for name in ("inputs", "known", "estimate")}
    valid = torch.zeros_like(told["valid"])
    alone = net(**{**told, "valid": valid})
    torch.testing.assert_close(alone, net(**{**told, **nothing, "valid": ~valid}))
