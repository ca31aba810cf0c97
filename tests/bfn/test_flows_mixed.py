"""Several kinds of data at once are the sum of their parts."""

from typing import Any

import pytest
import torch
from exact_posteriors import SIGMAS, MixedSource, mean_and_error, total_variation
from torch import Tensor

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    MessageSampler,
    MixedFlow,
    NoiseBackSampler,
    ODESolver,
    QuadraticSchedule,
    Sampler,
    SDESolver,
    SingleFlow,
)
from graves_bfn.flows.arrays import first

FLOW = MixedFlow(
    {
        "what": DiscreteFlow(4, schedule=EntropySchedule(4)),
        "where": ContinuousFlow(0.2),
        "bit": DiscreteFlow(2, 3.0, receiver="factorised"),
        "level": DiscretisedFlow(5, schedule=QuadraticSchedule(9.0)),
    }
)
SHAPE = {"what": (3, 6), "where": (3, 2, 2), "bit": (3, 1), "level": (3, 4)}
SAMPLERS = [
    MessageSampler(),
    MessageSampler(temperature=0.5),
    SDESolver(1),
    SDESolver(2),
    ODESolver(1),
    ODESolver(2),
    NoiseBackSampler(),
    NoiseBackSampler(fixed_noise=True),
]


def data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    numbers = {name: torch.rand(shape, generator=generator) for name, shape in SHAPE.items()}
    return {
        "what": (4 * numbers["what"]).long(),
        "where": 2 * numbers["where"] - 1,
        "bit": (2 * numbers["bit"]).long(),
        "level": FLOW.flows["level"].quantise(2 * numbers["level"] - 1),
    }


def field_network(flow: SingleFlow, inputs: Tensor, t: Tensor) -> Tensor:
    if isinstance(flow, DiscreteFlow):
        return torch.sin(5 * inputs)
    return torch.stack([torch.cos((k + 1) * inputs) for k in range(flow.outputs_per_variable)], -1)


def network(inputs: dict[str, Tensor], t: Tensor, estimate: dict[str, Tensor] | None = None) -> Any:
    assert estimate is None or {name: value.shape for name, value in estimate.items()} == {
        name: value.shape for name, value in inputs.items()
    }
    return {name: field_network(FLOW.flows[name], value, t) for name, value in inputs.items()}


def noise(seed: int, *front: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = FLOW.message_noise_shape(SHAPE)
    return {name: torch.randn(*front, *shape, generator=generator) for name, shape in shapes.items()}


def masks(seed: int, *names: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(SHAPE[name], generator=generator) < 0.6 for name in names}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"valid": masks(1, "what", "where")},
        {"known": masks(2, "bit", "level")},
        {"valid": masks(1, "what"), "known": masks(2, *SHAPE)},
    ],
    ids=["all", "valid", "known", "both"],
)
def test_losses_are_the_sums_over_fields(given: dict[str, dict[str, Tensor]]) -> None:
    x, t, step = data(), torch.tensor([0.2, 0.5, 0.9]), torch.tensor([2, 1, 4])
    drawn, sender = noise(3), noise(4, 2)
    together = [
        FLOW.continuous_time_loss(network, x, t=t, noise=drawn, **given),
        FLOW.discrete_time_loss(network, x, 4, step=step, noise=drawn, sender_noise=sender, **given),
        FLOW.reconstruction_loss(network, x, noise=drawn, **given),
    ]
    sums = [torch.zeros(3) for _ in together]
    for name, flow in FLOW.flows.items():
        alone = lambda inputs, t, flow=flow: field_network(flow, inputs, t)
        mask = {key: value.get(name) for key, value in given.items()}
        one = {"noise": drawn[name], **mask}
        sums[0] += flow.continuous_time_loss(alone, x[name], t=t, **one)
        sums[1] += flow.discrete_time_loss(alone, x[name], 4, step=step, sender_noise=sender[name], **one)
        sums[2] += flow.reconstruction_loss(alone, x[name], **one)
    for whole, parts in zip(together, sums, strict=True):
        torch.testing.assert_close(whole, parts)


def test_code_length_of_a_mixed_source_is_its_entropy() -> None:
    torch.manual_seed(0)
    source = MixedSource()
    x = source.draw(100_000)
    code = source.flow.continuous_time_loss(source.network, x)
    code = code + source.flow.reconstruction_loss(source.network, x)
    excess, error = mean_and_error(code - source.information(x))
    assert abs(excess) < SIGMAS * error
    assert error < 0.03


def test_samples_of_a_mixed_source_follow_it() -> None:
    torch.manual_seed(0)
    source, count = MixedSource(), 4_000
    shape = dict.fromkeys(source.flow.flows, (count, 1))
    x = SDESolver(2).sample(source.flow, source.network, shape, 40)
    kind, coin = x["class"][:, 0], (x["coin"][:, 0] > 0).long()
    assert total_variation(2 * kind + coin, source.p.flatten()) < 0.05
    residual = (x["number"][:, 0] - source.means[kind, coin]) / source.std
    assert abs(residual.mean()) < 0.1
    assert residual.std().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("self_conditioning", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_every_sampler_makes_every_field(sampler: Sampler, self_conditioning: bool) -> None:
    x = sampler.sample(
        FLOW,
        network,
        SHAPE,
        5,
        self_conditioning=self_conditioning,
        batch_size=2,
        generator=torch.Generator().manual_seed(0),
    )
    assert {name: tuple(value.shape) for name, value in x.items()} == SHAPE
    assert all(value.isfinite().all() for value in x.values())
    assert x["what"].dtype == torch.long
    assert x["level"].equal(FLOW.flows["level"].quantise(x["level"]))


def test_generation_is_that_of_separate_flows_with_the_same_noise() -> None:
    drawn = noise(5, 5)
    output = [FLOW.output_noise(SHAPE, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    stacked = {name: torch.stack([numbers[name] for numbers in output]) for name in SHAPE}
    for sampler in (MessageSampler(), SDESolver(2)):
        whole = list(sampler.generate(FLOW, network, SHAPE, 4, noise=drawn, output_noise=stacked))
        for name, flow in FLOW.flows.items():
            alone = lambda inputs, t, flow=flow: field_network(flow, inputs, t)
            steps = sampler.generate(
                flow, alone, SHAPE[name], 4, noise=drawn[name], output_noise=stacked[name]
            )
            for together, step in zip(whole, steps, strict=True):
                torch.testing.assert_close(together.output.mean[name], step.output.mean)


def test_the_order_of_fields_does_not_matter() -> None:
    x, drawn, t = data(), noise(3), torch.tensor([0.2, 0.5, 0.9])
    backwards = MixedFlow(dict(reversed(FLOW.flows.items())))
    some = {"where": masks(1, "where")["where"]}
    losses = [
        flow.continuous_time_loss(network, x, t=t, noise=drawn, known=some) for flow in (FLOW, backwards)
    ]
    torch.testing.assert_close(*losses)


def test_a_field_may_be_one_number_per_example() -> None:
    flow, x = MixedFlow({"age": ContinuousFlow(0.2), "sex": DiscreteFlow(2, 3.0)}), torch.tensor([0.1, 0.2])
    one = lambda inputs, t: {"age": inputs["age"].unsqueeze(-1), "sex": inputs["sex"]}
    data = {"age": x, "sex": torch.tensor([0, 1])}
    for loss in (flow.continuous_time_loss(one, data), flow.reconstruction_loss(one, data)):
        assert loss.shape == (2,)
    assert first(flow.sample(one, {"age": (2,), "sex": (2,)}, 3)).shape == (2,)


@pytest.mark.parametrize(
    ("flows", "message"),
    [
        ({}, "at least one field, not none"),
        ({"a.b": DiscreteFlow(2, 1.0)}, r"names without dots, not 'a\.b'"),
        ({"": DiscreteFlow(2, 1.0)}, "names without dots, not ''"),
        (
            {"a": MixedFlow({"b": DiscreteFlow(2, 1.0)})},
            r"flows\['a'\] must be a SingleFlow",
        ),
    ],
)
def test_bad_fields_are_refused_by_name(flows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixedFlow(flows)


def test_missing_and_unknown_fields_are_named() -> None:
    x, t = data(), torch.full((3,), 0.5)
    with pytest.raises(ValueError, match=r"fields \['bit', 'level', 'what', 'where'\], not \['what'\]"):
        FLOW.sample_params({"what": x["what"]}, t)
    for mask in ("known", "valid"):
        with pytest.raises(ValueError, match=r"not .*'whence'"):
            FLOW.continuous_time_loss(network, x, **{mask: {"whence": x["bit"] > 0}})
