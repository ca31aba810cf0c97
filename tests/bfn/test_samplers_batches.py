"""Samples of any number: batch by batch, each with its own share of what steers it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from graves_bfn import (
    ClampInpainting,
    ClassifierFreeGuidance,
    ConditionedNetwork,
    ContinuousFlow,
    DiscreteFlow,
    GradientGuidance,
    ListedGrid,
    MessageSampler,
    MixedFlow,
    NoiseBackSampler,
    ODESolver,
    ParticleInpainting,
    ReplaceInpainting,
    Sampler,
    SDESolver,
)

FLOW, LABELS = DiscreteFlow(4, 3.0), torch.tensor([0, 3, 1, 2, 2, 0, 1])
SHAPE = (7, 5)


def obedient(theta: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    """Says whatever class it is told, nothing otherwise."""
    if condition is None:
        return torch.zeros_like(theta)
    assert len(condition) == len(theta)
    return 30.0 * torch.nn.functional.one_hot(condition, 4)[:, None].expand_as(theta)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100, None])
@pytest.mark.parametrize(
    "sampler", [MessageSampler(), SDESolver(), ODESolver(), NoiseBackSampler(fixed_noise=True)]
)
def test_every_sample_gets_its_own_condition(sampler: Sampler, batch_size: int | None) -> None:
    expected = LABELS[:, None].expand(SHAPE)
    for network in (
        ConditionedNetwork(obedient, LABELS),
        ClassifierFreeGuidance(FLOW, obedient, LABELS, scale=2.0),
        ConditionedNetwork(ConditionedNetwork(obedient, LABELS)),
    ):
        assert sampler.sample(FLOW, network, SHAPE, 3, batch_size=batch_size).equal(expected)


def test_lengths_and_known_places_are_shared_out_as_well() -> None:
    valid = torch.arange(5) < torch.tensor([[1], [2], [3], [4], [5], [1], [2]])
    known = ~valid
    seen = []

    def network(theta: Tensor, t: Tensor, valid: Tensor, known: Tensor) -> Tensor:
        seen.append((valid, known))
        return torch.zeros_like(theta)

    shown = ConditionedNetwork(network, valid=valid, known=known)
    MessageSampler().sample(FLOW, shown, SHAPE, 1, batch_size=3)
    assert torch.cat([pair[0] for pair in seen[::2]]).equal(valid)
    assert torch.cat([pair[1] for pair in seen[::2]]).equal(known)


@pytest.mark.parametrize("make", [ClampInpainting, ReplaceInpainting])
@pytest.mark.parametrize("batch_size", [2, None])
def test_every_sample_gets_its_own_known_data(make: type, batch_size: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x, known = torch.randint(4, SHAPE, generator=generator), torch.rand(SHAPE, generator=generator) < 0.5
    network = lambda theta, t: torch.zeros_like(theta)
    drawn = SDESolver().sample(FLOW, network, SHAPE, 4, controls=[make(x, known)], batch_size=batch_size)
    assert drawn[known].equal(x[known])
    assert not drawn[~known].equal(x[~known])


class _Wanted:
    """The logarithm of the probability that the beliefs give to a class, another one for each example."""

    def __init__(self, classes: Tensor) -> None:
        self.classes = classes

    def __call__(self, theta: Tensor, t: Tensor) -> Tensor:
        wanted = self.classes[:, None, None].expand(-1, theta.shape[1], 1)
        return theta.gather(-1, wanted).log().sum((1, 2))

    def rows(self, part: slice) -> "_Wanted":
        return _Wanted(self.classes[part])


def test_every_sample_gets_its_own_likelihood() -> None:
    guidance = GradientGuidance(_Wanted(LABELS), scale=3.0)
    x = SDESolver().sample(
        DiscreteFlow(4, 6.0), lambda theta, t: theta.log(), SHAPE, 40, controls=[guidance], batch_size=3
    )
    assert x.equal(LABELS[:, None].expand(SHAPE))


def test_fields_are_split_together() -> None:
    flow = MixedFlow({"what": FLOW, "where": ContinuousFlow(0.1)})

    def network(inputs: dict[str, Tensor], t: Tensor, condition: Tensor) -> dict[str, Tensor]:
        return {"what": obedient(inputs["what"], t, condition), "where": inputs["where"].unsqueeze(-1)}

    shape = {"what": SHAPE, "where": (7, 2, 3)}
    x = MessageSampler().sample(flow, ConditionedNetwork(network, LABELS), shape, 2, batch_size=4)
    assert {name: tuple(values.shape) for name, values in x.items()} == shape
    assert x["what"].equal(LABELS[:, None].expand(SHAPE))


def test_one_batch_is_what_generate_makes() -> None:
    network = lambda theta, t: torch.sin(4 * theta)
    for sampler in (MessageSampler(), SDESolver(), ODESolver(), NoiseBackSampler()):
        steps = sampler.generate(FLOW, network, SHAPE, 4, generator=torch.Generator().manual_seed(0))
        x = sampler.sample(FLOW, network, SHAPE, 4, generator=torch.Generator().manual_seed(0))
        assert list(steps)[-1].output.mode.equal(x)


@pytest.mark.parametrize("shown", [False, True])
def test_progress_counts_network_calls(shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    network = lambda theta, t: calls.append(1) or torch.zeros_like(theta)
    MessageSampler().sample(FLOW, network, SHAPE, 4, batch_size=3, progress=shown)
    assert len(calls) == 15
    said = capsys.readouterr().err
    assert ("15/15" in said and "sampling" in said) == shown


def refused(**given: Any) -> Any:
    return MessageSampler().sample(FLOW, obedient, SHAPE, **{"num_steps": 2, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        (
            {"batch_size": 3, "controls": [ParticleInpainting(LABELS[:, None], LABELS[:, None] > 0, 4)]},
            "batch_size must be at least 28, all particles",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused(**given)
    with pytest.raises(ValueError, match="num_steps must be 2, as ListedGrid has, not 3"):
        MessageSampler(ListedGrid([0.0, 0.5, 1.0])).sample(FLOW, obedient, SHAPE, 3)
