"""Gradients worked out by hand against automatic differentiation of the formulas as they stand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    ExponentialSchedule,
    PerVariableSchedule,
    QuadraticSchedule,
)
from graves_bfn.flows.arrays import squared_norm
from graves_bfn.flows.bins import expected_centre
from graves_bfn.flows.implied import UNBOUNDED, implied_data, implied_error

BOUNDS = [(-1.0, 1.0), (-0.3, 2.0), UNBOUNDED]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(mean: Tensor, noise: Tensor, scale: Tensor, bounds: tuple[float, float]) -> Tensor:
    """mu/gamma - sqrt((1 - gamma)/gamma) eps with gamma from the scale; 0 where that is 0."""
    gamma = 1 / (1 + scale**2)
    x = mean / gamma - torch.sqrt((1 - gamma) / gamma) * noise
    return torch.where(scale == 0, 0.0, x).clamp(*bounds)


def scales(shape: tuple[int, ...]) -> Tensor:
    scale = numbers(*shape, seed=1).exp()
    scale[0] = 0.0
    return scale


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 1, 3)])
def test_implied_data_and_their_gradients_are_those_of_the_formula(
    shape: tuple[int, ...], bounds: tuple[float, float]
) -> None:
    scale, pull = scales(shape), numbers(4, 2, 3, seed=2)
    mean, noise = (numbers(4, 2, 3, seed=seed).requires_grad_() for seed in (3, 4))
    result, expected = (form(mean, noise, scale, bounds) for form in (implied_data, plain))
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad((values * pull).sum(), [mean, noise]) for values in (result, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 1, 3)])
def test_implied_error_and_its_gradients_are_those_of_the_formula(
    shape: tuple[int, ...], masked: bool, bounds: tuple[float, float]
) -> None:
    scale, weight, x = scales(shape), numbers(*shape, seed=5).exp(), numbers(4, 2, 3, seed=6)
    mean, noise = (numbers(4, 2, 3, seed=seed).requires_grad_() for seed in (3, 4))
    where = numbers(4, 2, 3, seed=7) > 0
    result = implied_error(mean, noise, scale, bounds, x, weight, where if masked else None)
    costs = weight / 2 * (x - plain(mean, noise, scale, bounds)) ** 2
    expected = (costs * where if masked else costs).sum((1, 2))
    torch.testing.assert_close(result, expected)
    pull = numbers(4, seed=8)
    gradients = [torch.autograd.grad((values * pull).sum(), [mean, noise]) for values in (result, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "flow",
    [
        ContinuousFlow(0.1),
        ContinuousFlow(0.1, bounds=None),
        ContinuousFlow(schedule=PerVariableSchedule([ExponentialSchedule(0.1), QuadraticSchedule(2.0)])),
        DiscretisedFlow(8, 0.1),
        DiscretisedFlow(64, 0.1),
    ],
)
def test_what_the_network_says_at_time_0_reaches_neither_loss_nor_gradient(
    flow: ContinuousFlow | DiscretisedFlow, bad: float
) -> None:
    x, t = torch.full((2, 3, 2), 0.125), torch.tensor([0.0, 0.5])
    outputs = torch.zeros(2, 3, 2, flow.outputs_per_variable)
    outputs[0] = bad
    outputs.requires_grad_()
    loss = flow.continuous_time_loss(lambda mean, t: outputs, x, t=t)
    (grad,) = torch.autograd.grad(loss.sum(), outputs)
    assert loss.isfinite().all()
    assert grad[1].isfinite().all()
    assert grad[1].any()
    assert not grad[0].any()


@pytest.mark.parametrize("flow", [ContinuousFlow(0.1), DiscretisedFlow(64, 0.1)])
def test_what_a_broken_network_says_later_shows_in_the_loss(flow: ContinuousFlow | DiscretisedFlow) -> None:
    outputs = torch.full((1, 2, flow.outputs_per_variable), math.nan)
    loss = flow.continuous_time_loss(lambda mean, t: outputs, torch.zeros(1, 2), t=torch.tensor([0.5]))
    assert loss.isnan().all()


def test_what_a_broken_network_says_where_nothing_counts_reaches_neither_loss_nor_gradient() -> None:
    flow, outputs = ContinuousFlow(0.1), torch.zeros(1, 2, 1)
    outputs[0, 1] = math.nan
    outputs.requires_grad_()
    valid = torch.tensor([[True, False]])
    loss = flow.continuous_time_loss(lambda mean, t: outputs, torch.zeros(1, 2), valid=valid)
    (grad,) = torch.autograd.grad(loss.sum(), outputs)
    assert loss.isfinite().all()
    assert grad[0, 1] == 0
    assert grad[0, 0] != 0


@pytest.mark.parametrize(
    "compute",
    [
        lambda values: implied_data(values, values, scales((4, 1)), UNBOUNDED),
        lambda values: implied_error(values, values, scales((4, 1)), (-1, 1), values * 0, scales((4, 1))),
        lambda values: expected_centre(values, values.exp(), 8),
        lambda values: expected_centre(values, values.exp(), 64),
    ],
)
def test_second_derivatives_are_refused_instead_of_wrong(compute: Callable[[Tensor], Tensor]) -> None:
    values = numbers(4, 3).requires_grad_()
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(compute(values).sum(), values, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_have_the_precision_of_the_data_whatever_is_drawn(dtype: torch.dtype) -> None:
    x = torch.zeros(2, 3, dtype=dtype)
    for flow in (ContinuousFlow(0.1), DiscretisedFlow(8, 0.1)):
        shown = []

        def network(mean: Tensor, t: Tensor, flow: ContinuousFlow = flow, shown: list = shown) -> Tensor:
            shown.append(mean.dtype)
            return torch.zeros(2, 3, flow.outputs_per_variable, dtype=mean.dtype)

        assert flow.continuous_time_loss(network, x).dtype == dtype
        assert shown == [dtype]


def test_squared_norm_has_the_first_and_second_derivatives_of_the_sum_of_squares() -> None:
    values = numbers(3, 5).requires_grad_()
    torch.testing.assert_close(squared_norm(values), values.square().sum(-1))
    assert torch.autograd.gradcheck(squared_norm, values)
    assert torch.autograd.gradgradcheck(squared_norm, values)


def test_given_noise_is_left_as_it_was() -> None:
    for flow, x in (
        (ContinuousFlow(0.1), torch.zeros(2, 3)),
        (DiscreteFlow(4, 1.0), torch.zeros(2, 3).long()),
    ):
        noise = torch.randn(flow.message_noise_shape((2, 3)))
        before = noise.clone()
        flow.sample_params(x, torch.tensor([0.3, 0.8]), noise=noise)
        flow.send(x, 0.5, noise=noise)
        assert noise.equal(before)


@pytest.mark.parametrize("receiver", ["joint", "factorised"])
def test_messages_about_a_class_that_the_network_rules_out_have_a_finite_price(receiver: str) -> None:
    flow = DiscreteFlow(3, 2.0, receiver=receiver)
    logits = torch.tensor([0.0, 1.0, -math.inf]).expand(1, 1, 3)
    fixed = {"step": torch.tensor([1]), "sender_noise": torch.zeros(1, 1, 1, 3)}
    costs = [
        flow.discrete_time_loss(lambda theta, t, shown=shown: shown, torch.tensor([[2]]), 1, **fixed)
        for shown in (logits, logits.clamp(min=-60.0))
    ]
    assert costs[0].item() == pytest.approx(costs[1].item(), abs=2e-3)
