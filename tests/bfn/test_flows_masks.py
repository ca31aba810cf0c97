"""Padding costs nothing, and what is known is neither charged nor in doubt."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from exact_posteriors import SIGMAS, MarkovChain, mean_and_error
from torch import Tensor

from graves_bfn import ContinuousFlow, DiscreteFlow, DiscretisedFlow, EntropySchedule, SingleFlow
from graves_bfn.flows.arrays import counted

FLOWS = {
    "continuous": ContinuousFlow(0.2),
    "bins": ContinuousFlow(0.2, num_bins=5),
    "discretised": DiscretisedFlow(5, 0.2),
    "discrete": DiscreteFlow(4, 2.0),
    "factorised": DiscreteFlow(4, receiver="factorised", schedule=EntropySchedule(4)),
    "binary": DiscreteFlow(2, 3.0),
}


def data(flow: SingleFlow, shape: tuple[int, ...] = (4, 6)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if isinstance(flow, DiscreteFlow):
        return torch.randint(flow.num_classes, shape, generator=generator)
    return DiscretisedFlow(5, 0.2).quantise(2 * torch.rand(shape, generator=generator) - 1)


def places_network(flow: SingleFlow) -> Callable[[Tensor, Tensor], Tensor]:
    """Treats every variable by itself."""

    def network(inputs: Tensor, t: Tensor) -> Tensor:
        if isinstance(flow, DiscreteFlow):
            return torch.sin(5 * inputs) + t[:, None, None]
        return torch.stack([torch.cos((k + 1) * inputs) for k in range(flow.outputs_per_variable)], -1)

    return network


def losses(flow: SingleFlow, network: Any, x: Tensor, noise: Tensor, **masks: Tensor) -> Tensor:
    """All three, with given numbers; `noise` has one set for the beliefs and two for messages."""
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])[: len(x)]
    step = torch.tensor([1, 3, 4, 2])[: len(x)]
    given = {"noise": noise[0], **masks}
    return torch.stack(
        [
            flow.continuous_time_loss(network, x, t=t, **given),
            flow.discrete_time_loss(network, x, 4, step=step, sender_noise=noise[1:], **given),
            flow.reconstruction_loss(network, x, **given),
        ]
    )


def noise_for(flow: SingleFlow, x: Tensor) -> Tensor:
    sizes = flow.message_noise_shape(tuple(x.shape))
    return torch.randn(3, *sizes, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", FLOWS)
def test_padded_data_cost_what_they_cost_without_padding(kind: str) -> None:
    flow = FLOWS[kind]
    x, lengths = data(flow), torch.tensor([6, 3, 1, 4])
    noise, valid = noise_for(flow, x), torch.arange(6) < lengths[:, None]
    padded = losses(flow, places_network(flow), x, noise, valid=valid)
    for i, length in enumerate(lengths.tolist()):
        some = x[i : i + 1, :length]
        t, step = torch.tensor([0.1, 0.4, 0.6, 0.9])[i : i + 1], torch.tensor([1, 3, 4, 2])[i : i + 1]
        network, drawn = places_network(flow), noise[:, i : i + 1, :length]
        alone = [
            flow.continuous_time_loss(network, some, t=t, noise=drawn[0]),
            flow.discrete_time_loss(network, some, 4, step=step, noise=drawn[0], sender_noise=drawn[1:]),
            flow.reconstruction_loss(network, some, noise=drawn[0]),
        ]
        torch.testing.assert_close(padded[:, i], torch.cat(alone))


@pytest.mark.parametrize("kind", FLOWS)
def test_all_valid_and_none_known_is_no_mask(kind: str) -> None:
    flow = FLOWS[kind]
    x = data(flow)
    noise, every = noise_for(flow, x), torch.ones(4, 6, dtype=torch.bool)
    plain = losses(flow, places_network(flow), x, noise)
    torch.testing.assert_close(losses(flow, places_network(flow), x, noise, valid=every), plain)
    torch.testing.assert_close(losses(flow, places_network(flow), x, noise, known=~every), plain)


@pytest.mark.parametrize("kind", FLOWS)
def test_known_data_are_not_charged_and_padding_neither(kind: str) -> None:
    flow = FLOWS[kind]
    x = data(flow)
    noise, generator = noise_for(flow, x), torch.Generator().manual_seed(2)
    known = torch.rand(4, 6, generator=generator) < 0.5
    valid = torch.rand(4, 6, generator=generator) < 0.7
    both = losses(flow, places_network(flow), x, noise, known=known, valid=valid)
    torch.testing.assert_close(both, losses(flow, places_network(flow), x, noise, valid=valid & ~known))
    assert (losses(flow, places_network(flow), x, noise, known=torch.ones_like(known)) == 0).all()


@pytest.mark.parametrize("kind", FLOWS)
def test_the_network_sees_known_data_without_doubt_and_the_rest_as_it_was(kind: str) -> None:
    flow, seen = FLOWS[kind], []
    x = data(flow)
    noise, known = noise_for(flow, x), torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.5

    def network(inputs: Tensor, t: Tensor) -> Tensor:
        seen.append(inputs)
        return places_network(flow)(inputs, t)

    losses(flow, network, x, noise, known=known)
    losses(flow, network, x, noise)
    certain = x.double() if not isinstance(flow, DiscreteFlow) else torch.nn.functional.one_hot(x).double()
    certain = certain[..., :1] if kind == "binary" else certain
    for told, ignorant in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(told[known].double(), certain[known], atol=1e-6, rtol=0)
        torch.testing.assert_close(told[~known], ignorant[~known])


def test_what_the_network_expected_is_corrected_where_data_are_known() -> None:
    flow, x, recalled = DiscreteFlow(4, 2.0), data(DiscreteFlow(4, 2.0)), []
    known = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.5

    def network(theta: Tensor, t: Tensor, estimate: Tensor | None = None) -> Tensor:
        recalled.append(estimate)
        return torch.zeros(4, 6, 4)

    flow.continuous_time_loss(network, x, known=known, self_conditioning=True)
    assert recalled[0] is None
    torch.testing.assert_close(recalled[1][known], torch.nn.functional.one_hot(x).float()[known])
    torch.testing.assert_close(recalled[1][~known], torch.full_like(recalled[1][~known], 0.25))


def test_gradients_do_not_pass_through_the_first_of_two_calls() -> None:
    flow, x = ContinuousFlow(0.2), data(ContinuousFlow(0.2))
    weight, calls = torch.tensor(0.5, requires_grad=True), []

    def network(mean: Tensor, t: Tensor, estimate: Tensor | None = None) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return (weight * (mean if estimate is None else estimate)).unsqueeze(-1)

    flow.continuous_time_loss(network, x, self_conditioning=True).sum().backward()
    assert calls == [False, True]
    assert weight.grad.isfinite()


@pytest.mark.parametrize("places", [[0], [5], [0, 4, 11]])
def test_code_length_given_known_places_is_the_conditional_entropy(places: list[int]) -> None:
    torch.manual_seed(0)
    chain, flow = MarkovChain(4, 12), DiscreteFlow(4, 8.0)
    x = chain.draw(20_000)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, places] = True
    code = flow.continuous_time_loss(chain.network, x, known=known)
    code = code + flow.reconstruction_loss(chain.network, x, known=known)
    told = -chain.start[x[:, places[0]]].log()
    for a, b in pairwise(places):
        jump = torch.linalg.matrix_power(chain.transition, b - a)
        told = told - jump[x[:, a], x[:, b]].log()
    excess, error = mean_and_error(code - (chain.information(x) - told))
    assert abs(excess) < SIGMAS * error
    assert error < 0.02 * chain.entropy


def test_expected_cost_is_the_average_price_of_short_messages() -> None:
    torch.manual_seed(0)
    flow, s, t = DiscreteFlow(3, 2.0), 0.5, 0.5005
    x, where = torch.tensor([[0, 2]]), torch.tensor([[True, False]])
    logits = torch.tensor([[[0.3, 1.0, -0.5], [9.0, 0.0, 0.0]]])
    output = flow.output_distribution(logits, flow.prior((1, 2)), torch.ones(1))
    alpha, p = flow.beta(t) - flow.beta(s), output.mean[0, 0].double()
    y = flow.send(x[:, :1].expand(200_000, 1), alpha)[:, 0].double()
    price, error = mean_and_error(y[:, 0] - torch.logsumexp(p.log() + y, -1))
    expected = flow.expected_cost(x, output, s, t, where).item()
    assert abs(price - expected) < SIGMAS * error + 0.02 * expected


@pytest.mark.parametrize("kind", ["continuous", "discretised"])
def test_expected_cost_of_real_numbers_is_half_the_accuracy_times_the_error(kind: str) -> None:
    flow = FLOWS[kind]
    x, t = data(flow), torch.full((4,), 0.5)
    output = flow.output_distribution(torch.zeros(4, 6, flow.outputs_per_variable), flow.prior((4, 6)), t)
    where = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    alpha = flow.beta(0.7) - flow.beta(0.4)
    expected = (alpha / 2 * (x - output.mean) ** 2 * where).sum(1)
    torch.testing.assert_close(flow.expected_cost(x, output, 0.4, 0.7, where), expected)


def test_what_counts_is_valid_and_not_known() -> None:
    valid, known = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    assert counted(None, None) is None
    assert counted(valid, None) is valid
    assert counted(None, known).tolist() == [False, True, True]
    assert counted(valid, known).tolist() == [False, True, False]
    fields = counted({"a": valid, "b": valid}, {"b": known, "c": known})
    assert {name: mask.tolist() for name, mask in fields.items()} == {
        "a": [True, True, False],
        "b": [False, True, False],
        "c": [False, True, True],
    }
    assert counted({"a": valid}, None)["a"] is valid
