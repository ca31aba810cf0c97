"""What steps do besides computing happens once: random numbers, buffers, hooks, casts."""

from typing import Any

import pytest
import torch
from scan_loops import STRATEGIES, assert_equal, plain_loop, results_and_gradients, scan
from torch import Tensor, nn

strategies = pytest.mark.parametrize("strategy", STRATEGIES)


class Noisy(nn.Module):
    """Drops and adds noise; its buffer never changes."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(0.9, dtype=torch.float64))
        self.mix = nn.Linear(3 + 5, 5, dtype=torch.float64)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.mix(torch.cat([inputs, nn.functional.dropout(state, 0.4)], 1)).tanh()
        return state * torch.rand_like(state) * self.scale, state


class Counting(nn.Module):
    """Updates buffers in place and by putting a new one, and computes with both."""

    mean: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3 + 5, 5, dtype=torch.float64)
        self.norm = nn.BatchNorm1d(5, dtype=torch.float64)
        self.register_buffer("mean", torch.zeros(5, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("constant", torch.ones(3))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.norm(self.mix(torch.cat([inputs, state], 1))).tanh()
        self.mean.mul_(0.9).add_(state.detach().mean(0), alpha=0.1)
        self.count = self.count + 1
        state = state - 0.5 * self.mean.clone() + 0.01 * self.count
        return state.square(), state


def setting() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(40, 4, 3, dtype=torch.float64), torch.zeros(4, 5, dtype=torch.float64)


@strategies
def test_dropout_and_noise_are_those_of_the_loop_with_the_same_seed(strategy: str) -> None:
    x, state = setting()
    cell = Noisy()
    torch.manual_seed(7)
    expected = results_and_gradients(lambda: plain_loop(cell, x, state), cell.parameters())
    after = torch.rand(3)
    torch.manual_seed(7)
    found = results_and_gradients(lambda: scan(cell, x, state, strategy), cell.parameters())
    assert_equal(found, expected)
    assert_equal([torch.rand(3)], [after])


def test_without_the_states_of_generators_noise_differs_in_backward() -> None:
    x, state = setting()
    cell = Noisy()
    torch.manual_seed(7)
    *_, expected = results_and_gradients(lambda: plain_loop(cell, x, state), cell.parameters())
    torch.manual_seed(7)
    *_, found = results_and_gradients(
        lambda: scan(cell, x, state, preserve_rng_state=False), cell.parameters()
    )
    assert not torch.allclose(found, expected)


@strategies
def test_buffers_are_updated_once_per_step_and_seen_as_they_were(strategy: str) -> None:
    x, state = setting()
    torch.manual_seed(0)
    looped, scanned = Counting(), Counting()
    scanned.load_state_dict(looped.state_dict())
    expected = results_and_gradients(lambda: plain_loop(looped, x, state), looped.parameters())
    mean = scanned.mean
    found = results_and_gradients(lambda: scan(scanned, x, state, strategy), scanned.parameters())
    assert_equal(found, expected)
    assert_equal(scanned.state_dict().values(), looped.state_dict().values())
    assert scanned.mean is mean, "a buffer that is changed in place must stay the same object"


@strategies
@pytest.mark.parametrize("fails_at", [3, 30])
def test_an_error_in_backward_leaves_buffers_and_generators_alone(strategy: str, fails_at: int) -> None:
    x, state = setting()
    cell = Counting()

    class BrokenError(Exception):
        pass

    def step(inputs: Tensor, before: Tensor) -> Any:
        if broken and torch.is_grad_enabled():
            raise BrokenError
        return cell(inputs, before)

    broken = False
    outputs, _ = scan(step, x, state, strategy, parameters=cell.parameters())
    kept = {name: value.clone() for name, value in cell.state_dict().items()}
    random = torch.get_rng_state()
    broken = True
    with pytest.raises(BrokenError):
        outputs.sum().backward()
    assert_equal(cell.state_dict().values(), kept.values())
    assert_equal([torch.get_rng_state()], [random])


@strategies
def test_hooks_of_parameters_run_once_on_the_whole_gradient(strategy: str) -> None:
    x, state = setting()
    cell = nn.GRUCell(3, 5, dtype=torch.float64)
    cell.weight_hh.register_hook(lambda gradient: gradient.square())
    scan(cell, x, state, strategy)[0].sum().backward()
    found = [weight.grad for weight in cell.parameters()]
    cell.zero_grad()

    def step(inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        after = cell(inputs, before)
        return after, after

    plain_loop(step, x, state)[0].sum().backward()
    for one, weight in zip(found, cell.parameters(), strict=True):
        torch.testing.assert_close(one, weight.grad, rtol=1e-12, atol=1e-12)


@strategies
def test_autocast_of_forward_is_in_force_in_backward_and_casts_weights_once(strategy: str) -> None:
    x, state = setting()
    x, state = x.float(), state.float()
    cell = nn.GRUCell(3, 5)
    kinds = set()

    def step(inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        kinds.add((nn.functional.linear(inputs, cell.weight_ih).dtype, torch.is_autocast_enabled("cpu")))
        after = cell(inputs, before)
        return after, after

    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = scan(step, x, state, strategy, slots=3, parameters=cell.parameters())
        expected, _ = plain_loop(step, x, state)
        again = nn.functional.linear(x[0], cell.weight_ih)
    assert kinds == {(torch.bfloat16, True)}
    gradients = torch.autograd.grad(outputs.sum(), list(cell.parameters()))
    assert kinds == {(torch.bfloat16, True)}
    assert_equal([outputs], [expected])
    for one, other in zip(
        gradients, torch.autograd.grad(expected.sum(), list(cell.parameters())), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    assert torch.autograd.grad(again.sum(), cell.weight_ih)[0].abs().sum() > 0, "the cache was spoiled"


def test_backward_under_autocast_of_a_scan_without_it_is_not_cast() -> None:
    x, state = setting()
    x, state = x.float(), state.float()
    cell = nn.GRUCell(3, 5)
    expected = torch.autograd.grad(scan(cell, x, state)[0].sum(), list(cell.parameters()))
    loss = scan(cell, x, state)[0].sum()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(loss, list(cell.parameters()))
    assert_equal(found, expected)
