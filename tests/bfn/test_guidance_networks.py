"""Classifier-free guidance by its formula, and the law of what training reveals."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graves_bfn import (
    BoxUnknown,
    ClassifierFreeGuidance,
    ConditionedNetwork,
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    Flow,
    KnownMask,
    MixedFlow,
    RandomKnown,
)

FLOWS = {
    "continuous": ContinuousFlow(0.1),
    "discretised": DiscretisedFlow(8, 0.1),
    "discrete": DiscreteFlow(4, 2.0),
    "binary": DiscreteFlow(2, 2.0),
}
CONDITION = torch.tensor([0, 1, 2])


class Outputs:
    """A network that gives fixed numbers, others with a condition than without, and counts its calls."""

    def __init__(self, outputs: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.u, self.c = torch.randn(2, 3, 5, outputs, generator=generator, dtype=torch.float64)
        self.calls: list[dict[str, Any]] = []

    def __call__(self, inputs: Any, t: Tensor, **given: Any) -> Tensor:
        self.calls.append(given)
        return self.c if "condition" in given else self.u


def guided(flow: Flow, network: Outputs, scale: float, rescale: float = 0.0, **given: Any) -> Any:
    wrapped = ClassifierFreeGuidance(flow, network, CONDITION, scale, rescale, **given)
    return wrapped(torch.zeros(3, 5), torch.zeros(3))


@pytest.mark.parametrize("scale", [0.4, 1.7, 3.0])
@pytest.mark.parametrize("kind", ["continuous", "discrete", "binary"])
def test_guided_outputs_go_beyond_the_condition(kind: str, scale: float) -> None:
    network = Outputs(FLOWS[kind].outputs_per_variable)
    w = scale - 1
    expected = (1 + w) * network.c - w * network.u
    torch.testing.assert_close(guided(FLOWS[kind], network, scale), expected)


@pytest.mark.parametrize("scale", [0.4, 1.7])
def test_guided_bins_keep_the_deviations_of_the_condition(scale: float) -> None:
    network = Outputs(2)
    result = guided(FLOWS["discretised"], network, scale)
    torch.testing.assert_close(result[..., 0], network.u[..., 0] + scale * (network.c - network.u)[..., 0])
    reach = min(scale, 1.0)
    torch.testing.assert_close(result[..., 1], (1 - reach) * network.u[..., 1] + reach * network.c[..., 1])


@pytest.mark.parametrize("kind", FLOWS)
def test_scale_0_is_the_network_without_condition_and_1_the_one_with_it(kind: str) -> None:
    network = Outputs(FLOWS[kind].outputs_per_variable)
    for rescale in (0.0, 0.0 if "bin" in kind or kind == "discrete" else 0.7):
        assert guided(FLOWS[kind], network, 0.0, rescale).equal(network.u)
        assert guided(FLOWS[kind], network, 1.0, rescale).equal(network.c)
    assert [len(call) for call in network.calls] == [0, 1, 0, 1]  # one call each


@pytest.mark.parametrize("kind", ["continuous", "discretised"])
@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescaling_brings_back_the_standard_deviation(kind: str, rescale: float) -> None:
    network = Outputs(FLOWS[kind].outputs_per_variable)
    result = guided(FLOWS[kind], network, 2.5, rescale)[..., 0].numpy()
    u, c = network.u[..., 0].numpy(), network.c[..., 0].numpy()
    plain = u + 2.5 * (c - u)
    ratio = c.std(1, keepdims=True) / plain.std(1, keepdims=True)
    np.testing.assert_allclose(result, rescale * ratio * plain + (1 - rescale) * plain)
    if rescale == 1:
        np.testing.assert_allclose(result.std(1), c.std(1))


def test_fields_are_guided_each_in_its_way() -> None:
    parts = {name: Outputs(flow.outputs_per_variable) for name, flow in FLOWS.items()}
    network = lambda inputs, t, **given: {name: part(None, t, **given) for name, part in parts.items()}
    for rescale in (0.0, 0.5):
        result = guided(MixedFlow(FLOWS), network, 2.0, rescale)
        for name, part in parts.items():
            own = rescale if name in ("continuous", "discretised") else 0.0
            torch.testing.assert_close(result[name], guided(FLOWS[name], part, 2.0, own))


def test_everything_else_is_shown_in_both_calls() -> None:
    network, valid, known = Outputs(1), torch.ones(3, 5) > 0, torch.zeros(3, 5) > 0
    wrapped = ClassifierFreeGuidance(FLOWS["continuous"], network, CONDITION, 2.0, valid=valid, known=known)
    estimate = torch.ones(3, 5)
    wrapped(torch.zeros(3, 5), torch.zeros(3), estimate=estimate)
    assert [("condition" in call) for call in network.calls] == [True, False]
    for call in network.calls:
        assert call["valid"] is valid
        assert call["known"] is known
        assert call["estimate"] is estimate
    network.calls.clear()
    ConditionedNetwork(network)(torch.zeros(3, 5), torch.zeros(3))
    assert network.calls == [{}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: guided(FLOWS["discrete"], Outputs(4), 2.0, 0.5), "rescale must be 0 for classes, not 0.5"),
        (lambda: guided(FLOWS["continuous"], Outputs(1), -0.1), "scale must be at least 0, not -0.1"),
        (lambda: guided(FLOWS["continuous"], Outputs(1), 2.0, 1.5), r"rescale must lie in \[0, 1\], not 1.5"),
        (lambda: RandomKnown(0.0), r"probability must lie in \(0, 1\], not 0.0"),
        (lambda: BoxUnknown(1.1), r"probability must lie in \(0, 1\], not 1.1"),
        (lambda: BoxUnknown()(torch.zeros(2, 3)), r"is for images .*, not \(2, 3\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def shares(known: Tensor) -> Tensor:
    """How much of each example is known."""
    return known.flatten(1).double().mean(1)


def distance_from_uniform(values: Tensor) -> float:
    n = len(values)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    ordered = values.sort().values
    return float(torch.maximum((ordered - steps[1:]).abs().max(), (ordered - steps[:-1]).abs().max()))


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_of_the_chosen_examples_any_share_is_known_with_equal_probability(probability: float) -> None:
    count, generator = 3_000, torch.Generator().manual_seed(0)
    known = shares(RandomKnown(probability)(torch.zeros(count, 40, 50), generator))
    chosen = known > 0
    error = math.sqrt(probability * (1 - probability) / count)
    assert abs(chosen.double().mean() - probability) < 4 * error + 1e-3
    # one in a thousand of Kolmogorov and Smirnov, and the error of a share of 2,000 variables
    assert distance_from_uniform(known[chosen]) < 1.95 / math.sqrt(chosen.sum()) + 0.01


def test_random_places_are_independent() -> None:
    known = RandomKnown(1.0)(torch.zeros(20_000, 2), torch.Generator().manual_seed(0)).double()
    # P(both) = E[share^2] = 1/3
    assert abs((known[:, 0] * known[:, 1]).mean() - 1 / 3) < 4 * 0.5 / math.sqrt(20_000)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (28, 28)])
def test_the_unknown_part_of_an_image_is_a_rectangle(size: tuple[int, int]) -> None:
    unknown = ~BoxUnknown(1.0)(torch.zeros(2_000, *size, 3), torch.Generator().manual_seed(0))
    assert unknown.flatten(1).any(1).all()
    assert (unknown == unknown[..., :1]).all()
    rows, columns = unknown[..., 0].any(2), unknown[..., 0].any(1)
    assert unknown[..., 0].equal(rows[:, :, None] & columns[:, None])
    for side in (rows, columns):
        starts = side.long().diff(dim=1, prepend=torch.zeros(2_000, 1, dtype=torch.long)) == 1
        assert (starts.sum(1) == 1).all()


def test_about_any_share_of_an_image_is_known() -> None:
    known = shares(BoxUnknown(1.0)(torch.zeros(4_000, 64, 64, 1), torch.Generator().manual_seed(0)))
    assert distance_from_uniform(known) < 1.95 / math.sqrt(4_000) + 0.03  # whole rows and columns
    places = BoxUnknown(1.0)(torch.zeros(4_000, 9, 9, 1), torch.Generator().manual_seed(1)).double().mean(0)
    torch.testing.assert_close(places, places.flip(0), rtol=0, atol=4 * 0.5 / math.sqrt(4_000))
    torch.testing.assert_close(places, places.transpose(0, 1), rtol=0, atol=4 * 0.5 / math.sqrt(4_000))


@pytest.mark.parametrize("mask", [RandomKnown(0.4), BoxUnknown(0.4)], ids=lambda mask: type(mask).__name__)
def test_examples_that_were_not_chosen_have_nothing_known(mask: KnownMask) -> None:
    known = shares(mask(torch.zeros(3_000, 16, 16, 4), torch.Generator().manual_seed(0)))
    assert abs((known == 0).double().mean() - 0.6) < 0.06


def test_fields_of_an_example_are_known_to_the_same_share() -> None:
    x = {"a": torch.zeros(500, 2_000), "b": torch.zeros(500, 30, 40)}
    known = RandomKnown(0.7)(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shares(known["a"]), shares(known["b"]), rtol=0, atol=0.08)
