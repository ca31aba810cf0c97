"""IVON against its equations in float64, and against posteriors that are known."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_bayes.layers.ivon import IVON
from graves_bayes.variational.online_newton import posterior_stds, update_curvature_, update_mean_

EXAMPLES, DECAY = 50.0, 0.5
SCALE = torch.tensor([0.5, 1.0, 4.0, 9.0])
CENTRE = torch.tensor([1.0, -2.0, 0.5, 3.0])


def quadratic(**options: Any) -> tuple[torch.nn.Parameter, IVON]:
    weight = torch.nn.Parameter(torch.zeros(4))
    arguments: dict[str, Any] = {"examples": EXAMPLES, "weight_decay": DECAY, "seed": 0} | options
    return weight, IVON([weight], **arguments)


def closure_of(weight: torch.Tensor, optimizer: IVON, seen: list[Any] | None = None) -> Any:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (SCALE * (weight - CENTRE).square()).sum()
        loss.backward()
        if seen is not None:
            seen.append((weight.detach().clone(), weight.grad.clone()))
        return loss

    return closure


@pytest.mark.parametrize(("samples", "steps"), [(1, 1200), (4, 300)])
def test_a_quadratic_loss_has_the_exact_posterior(samples: int, steps: int) -> None:
    """Precision `examples * (scale + decay)`.

    One estimate of the first curvature has a relative deviation of sqrt(2 + 3.5**2) = 3.8; its average over
    1200 samples 0.11, which is 0.03 of the standard deviation: the bound is three times that.
    """
    weight, optimizer = quadratic(samples=samples, rescale=False)
    step = closure_of(weight, optimizer)
    for number in range(steps):
        optimizer.param_groups[0] |= {"lr": 0.2 * (1 - number / steps), "betas": (0.9, 1 - 1 / (number + 10))}
        optimizer.step(step)
    mean = SCALE * CENTRE / (SCALE + DECAY)
    std = (EXAMPLES * (SCALE + DECAY)).rsqrt()
    torch.testing.assert_close(weight.detach(), mean, atol=0.15 * float(std.min()), rtol=0.01)
    torch.testing.assert_close(optimizer.stds()[weight], std, rtol=0.09, atol=0)


@pytest.mark.parametrize(("samples", "clip", "rescale"), [(1, None, True), (3, None, False), (1, 0.05, True)])
def test_steps_follow_algorithm_1(samples: int, clip: float | None, rescale: bool) -> None:
    beta1, beta2, lr, h0 = 0.8, 0.9, 0.03, 2.0
    weight, optimizer = quadratic(
        lr=lr, betas=(beta1, beta2), curvature=h0, samples=samples, clip=clip, rescale=rescale
    )
    m, h, g = np.zeros(4), np.full(4, h0), np.zeros(4)
    for t in range(1, 8):
        seen: list[Any] = []
        optimizer.step(closure_of(weight, optimizer, seen))
        pairs = [(theta.double().numpy(), gradient.double().numpy()) for theta, gradient in seen]
        variance = 1 / (EXAMPLES * (h + DECAY))
        gradient = np.mean([gradient for _, gradient in pairs], 0)
        estimate = np.mean([gradient * (theta - m) / variance for theta, gradient in pairs], 0)
        g = beta1 * g + (1 - beta1) * gradient
        h = beta2 * h + (1 - beta2) * estimate + 0.5 * (1 - beta2) ** 2 * (h - estimate) ** 2 / (h + DECAY)
        step = (g / (1 - beta1**t) + DECAY * m) / (h + DECAY)
        step = step if clip is None else np.clip(step, -clip, clip)
        m = m - lr * (h0 + DECAY if rescale else 1) * step
        np.testing.assert_allclose(weight.detach().numpy(), m, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(optimizer.state[weight]["curvature"].numpy(), h, rtol=2e-3)


def test_samples_have_the_posterior_s_spread() -> None:
    """Bounds of 4.5 standard errors over 800 draws."""
    weight, optimizer = quadratic()
    std = optimizer.stds()[weight]
    draws = []
    for _ in range(800):
        optimizer.sample_()
        draws.append(weight.detach() / std)
    optimizer.restore_()
    told = torch.stack(draws)
    assert told.mean(0).abs().max() < 4.5 / math.sqrt(800)
    assert (told.std(0) - 1).abs().max() < 4.5 / math.sqrt(1600)


@given(st.floats(1e-3, 10), st.floats(-1e3, 1e3), st.floats(1e-4, 1), st.floats(0, 0.9999))
def test_the_precision_stays_positive_whatever_the_estimate(
    h: float, estimate: float, decay: float, beta: float
) -> None:
    curvature = [torch.tensor([h], dtype=torch.double)]
    update_curvature_(curvature, [torch.tensor([estimate], dtype=torch.double)], decay, beta)
    assert float(curvature[0]) + decay >= 0.499 * (h + decay)


def test_the_mean_is_restored_exactly_after_the_closures() -> None:
    weight, optimizer = quadratic(lr=0.0, samples=3)
    torch.nn.init.normal_(weight)
    before = weight.detach().clone()
    seen: list[Any] = []
    optimizer.step(closure_of(weight, optimizer, seen))
    assert torch.equal(weight, before)
    assert all(not torch.equal(theta, before) for theta, _ in seen)
    assert len({tuple(theta.tolist()) for theta, _ in seen}) == 3


def test_the_mean_is_restored_when_the_closure_fails() -> None:
    weight, optimizer = quadratic()

    def closure() -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        optimizer.step(closure)
    assert torch.equal(weight, torch.zeros(4))
    optimizer.step(closure_of(weight, optimizer))


def test_evaluation_has_samples_and_leaves_training_as_it_was() -> None:
    def run(evaluate: bool) -> torch.Tensor:
        weight, optimizer = quadratic()
        for _ in range(5):
            optimizer.step(closure_of(weight, optimizer))
            if evaluate:
                before = weight.detach().clone()
                with optimizer.sampled(torch.Generator().manual_seed(3)):
                    assert not torch.equal(weight, before)
                assert torch.equal(weight, before)
        return weight.detach()

    assert torch.equal(run(True), run(False))


def test_the_same_generator_gives_the_same_evaluation() -> None:
    weight, optimizer = quadratic()
    told = []
    for _ in range(2):
        with optimizer.sampled(torch.Generator().manual_seed(3)):
            told.append(weight.detach().clone())
    assert torch.equal(*told)


def test_sampling_within_a_sample_is_refused() -> None:
    _, optimizer = quadratic()
    optimizer.sample_()
    with pytest.raises(RuntimeError, match="restore_"), optimizer.sampled():
        pass


def test_a_loop_without_closures_learns_the_same() -> None:
    weight, optimizer = quadratic()
    other, manual = quadratic()
    for _ in range(4):
        optimizer.step(closure_of(weight, optimizer))
        manual.sample_()
        closure_of(other, manual)()
        manual.restore_()
        manual.step()
    assert torch.equal(weight, other)


def test_accumulated_batches_each_have_their_sample() -> None:
    """Two halves of a loss under two samples are one step with two samples."""
    weight, optimizer = quadratic(samples=2)
    other, halves = quadratic()
    for _ in range(4):
        optimizer.step(closure_of(weight, optimizer))
        halves.zero_grad()
        for _ in range(2):
            halves.sample_()
            (0.25 * (SCALE * (other - CENTRE).square()).sum()).backward()
            halves.restore_()
        halves.step()
    torch.testing.assert_close(weight, other)
    torch.testing.assert_close(optimizer.state[weight]["curvature"], halves.state[other]["curvature"])


def test_gradients_of_the_means_are_refused() -> None:
    weight, optimizer = quadratic()
    closure_of(weight, optimizer)()
    with pytest.raises(RuntimeError, match="IVONSamples"):
        optimizer.step()
    with pytest.raises(RuntimeError, match="without a sample"):
        optimizer.step(lambda: weight.sum())  # the gradient of before is still there


def test_dropped_gradients_do_not_count() -> None:
    weight, optimizer = quadratic()
    other, plain = quadratic()
    plain.param_groups[0]["draws"] = 1
    optimizer.sample_()
    (100 * weight).sum().backward()
    optimizer.restore_()
    optimizer.step(closure_of(weight, optimizer))
    plain.step(closure_of(other, plain))
    assert torch.equal(weight, other)
    assert torch.equal(optimizer.state[weight]["curvature"], plain.state[other]["curvature"])


def test_a_resumed_run_goes_on_bit_for_bit() -> None:
    weight, optimizer = quadratic()
    for _ in range(3):
        optimizer.step(closure_of(weight, optimizer))
    saved = copy.deepcopy(optimizer.state_dict())
    other, resumed = quadratic(seed=9)
    other.data.copy_(weight.data)
    resumed.load_state_dict(saved)
    for _ in range(3):
        optimizer.step(closure_of(weight, optimizer))
        resumed.step(closure_of(other, resumed))
    assert torch.equal(weight, other)
    assert torch.equal(optimizer.stds()[weight], resumed.stds()[other])


def test_several_samples_average_the_loss() -> None:
    weight, optimizer = quadratic(samples=3)
    seen: list[Any] = []
    loss = optimizer.step(closure_of(weight, optimizer, seen))
    losses = [0.5 * (SCALE * (theta - CENTRE).square()).sum() for theta, _ in seen]
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_frozen_and_unused_parameters_stay() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    unused = torch.nn.Parameter(torch.ones(3))
    optimizer = IVON([weight, frozen, unused], examples=10, seed=0)
    optimizer.step(closure_of(weight, optimizer))
    assert torch.equal(frozen, torch.ones(2))
    assert torch.equal(unused, torch.ones(3))
    assert torch.equal(optimizer.state[unused]["curvature"], torch.ones(3))


def test_a_parameter_that_thaws_is_learnt_like_any_other() -> None:
    weight, optimizer = quadratic()
    other = torch.nn.Parameter(torch.zeros(4), requires_grad=False)
    thawed = IVON([other], examples=EXAMPLES, weight_decay=DECAY, seed=0)
    other.requires_grad = True
    for _ in range(2):
        optimizer.step(closure_of(weight, optimizer))
        thawed.step(closure_of(other, thawed))
    assert torch.equal(weight, other)


def test_groups_have_options_of_their_own() -> None:
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = IVON([{"params": [one]}, {"params": [two], "curvature": 4.0}], examples=10, weight_decay=0.5)
    stds = optimizer.stds()
    assert float(stds[one]) == pytest.approx(1 / math.sqrt(15))
    assert float(stds[two]) == pytest.approx(1 / math.sqrt(45))


def test_a_step_of_newton_s_method_minimises_a_known_quadratic() -> None:
    """Momentum alone is the gradient; the step lands on the minimum of loss and prior."""
    mean = [torch.zeros(4)]
    update_mean_(mean, [-SCALE * CENTRE], [SCALE], DECAY, 1.0, 1.0, None)
    torch.testing.assert_close(mean[0], SCALE * CENTRE / (SCALE + DECAY))
    torch.testing.assert_close(posterior_stds([SCALE], DECAY, 2.0)[0], (2 * (SCALE + DECAY)).rsqrt())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("examples", 0),
        ("lr", -1.0),
        ("betas", (0.9, 1.0)),
        ("weight_decay", -1.0),
        ("curvature", 0.0),
        ("samples", 0),
        ("clip", 0.0),
    ],
)
def test_options_are_checked(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        quadratic(**{option: value})
