"""When the loss looks: times spread over a batch and its ranks, and grids of messages."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from exact_posteriors import MarkovChain
from hypothesis import given
from hypothesis import strategies as st

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    ListedGrid,
    MessageSampler,
    PowerGrid,
    SDESolver,
    TimeGrid,
    UniformGrid,
)
from graves_bfn.flows.times import stratified_times

GRIDS = [UniformGrid(), PowerGrid(0.5), PowerGrid(3.0), ListedGrid([0.0, 0.01, 0.2, 0.25, 0.9, 1.0])]


@given(world=st.integers(1, 5), count=st.integers(1, 9), u=st.floats(0, 0.999))
def test_times_of_all_ranks_together_cover_the_unit_interval_evenly(world: int, count: int, u: float) -> None:
    ranks = [stratified_times(torch.tensor(u), count, rank, world) for rank in range(world)]
    times = torch.cat(ranks).sort().values.double()
    assert len(times) == world * count
    assert times[0] >= 0
    assert times[-1] < 1
    gaps = torch.cat([times.diff(), times[:1] + 1 - times[-1:]])
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / len(times)), rtol=1e-4, atol=1e-6)


def test_ranks_take_every_other_time_of_the_global_batch() -> None:
    u = torch.tensor(0.3)
    whole = stratified_times(u, 6)
    for rank in range(2):
        torch.testing.assert_close(stratified_times(u, 3, rank, 2), whole[rank::2])


@pytest.mark.parametrize("place", [0, 3, 6])
def test_every_time_by_itself_is_uniform(place: int) -> None:
    n, generator = 4_000, torch.Generator().manual_seed(place)
    draws = [stratified_times(u, 7)[place].item() for u in torch.rand(n, generator=generator)]
    steps = np.arange(n + 1) / n
    distance = max(np.abs(np.sort(draws) - steps[1:]).max(), np.abs(np.sort(draws) - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov, one in a thousand


def test_loss_of_a_batch_varies_less_with_spread_times() -> None:
    torch.manual_seed(0)
    chain, flow, batch, repeats = MarkovChain(4, 24), DiscreteFlow(4, 6.0), 16, 400
    x = chain.draw(batch * repeats)
    spread = torch.cat([stratified_times(u, batch) for u in torch.rand(repeats)])
    losses = [flow.continuous_time_loss(chain.network, x, t=t) for t in (spread, torch.rand(len(x)))]
    stratified, independent = (loss.reshape(repeats, batch).mean(1) for loss in losses)
    assert stratified.var() < 0.7 * independent.var()
    error = math.hypot(stratified.std(), independent.std()) / math.sqrt(repeats)
    assert abs(stratified.mean() - independent.mean()) < 4 * error


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: type(grid).__name__)
def test_grids_increase_from_0_to_1(grid: TimeGrid) -> None:
    times = grid.fractions(5)
    assert len(times) == 6
    assert times[0] == 0
    assert times[-1] == 1
    assert all(a < b for a, b in pairwise(times))


def test_a_power_grid_is_dense_where_it_says() -> None:
    early, late = PowerGrid(2.0).fractions(10), PowerGrid(0.5).fractions(10)
    assert early[1] == pytest.approx(0.01)
    assert 1 - late[9] == pytest.approx(1 - math.sqrt(0.9))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: type(grid).__name__)
def test_loss_of_finitely_many_messages_is_the_sum_over_all_of_them(grid: TimeGrid) -> None:
    flow, random = ContinuousFlow(0.3), np.random.default_rng(0)
    x, eps = random.uniform(-1, 1, (1, 4)), random.normal(size=(1, 4))
    times, noise = np.array(grid.fractions(5)), random.normal(size=(5, 4))
    beta, total = 0.3 ** (-2 * times) - 1, 0.0
    for i in range(5):
        guess = np.zeros_like(x)
        if i > 0:
            gamma = beta[i] / (1 + beta[i])
            mu = gamma * x + np.sqrt(gamma * (1 - gamma)) * noise[i]
            guess = np.clip(mu / gamma - np.sqrt((1 - gamma) / gamma) * eps, -1, 1)
        total += (beta[i + 1] - beta[i]) / 2 * ((x - guess) ** 2).sum()
    losses = flow.discrete_time_loss(
        lambda mean, t: torch.tensor(eps).expand(5, 4)[..., None],
        torch.tensor(x).expand(5, 4),
        5,
        grid=grid,
        step=torch.arange(1, 6),
        noise=torch.tensor(noise),
    )
    assert losses.mean().item() == pytest.approx(total, rel=1e-9)


def test_messages_of_classes_on_a_grid_cost_their_sum() -> None:
    flow, grid, x = DiscreteFlow(3, 2.0), ListedGrid([0.0, 0.3, 0.4, 1.0]), torch.tensor([[1]]).expand(3, 1)
    sender = torch.randn(4, 3, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    losses = flow.discrete_time_loss(
        lambda theta, t: p.log().expand(3, 1, 3),
        x,
        3,
        grid=grid,
        step=torch.arange(1, 4),
        sender_noise=sender,
    )
    alpha = 2.0 * torch.tensor([0.09, 0.07, 0.84], dtype=torch.float64)[:, None]
    y = alpha * torch.tensor([-1.0, 2.0, -1.0]) + (3 * alpha).sqrt() * sender[:, :, 0]
    total = (y[..., 1] - (p * y.exp()).sum(-1).log()).mean(0).sum()
    assert losses.mean().item() == pytest.approx(total.item(), rel=1e-5)


def test_samplers_go_by_the_grid() -> None:
    network = lambda theta, t: torch.zeros(1, 2, 3)
    for sampler in (MessageSampler(grid=PowerGrid(2.0)), SDESolver(start=0.2, grid=PowerGrid(2.0))):
        steps = list(sampler.generate(DiscreteFlow(3, 1.0), network, (1, 2), 2))
        expected = [sampler.start, sampler.start + (1 - sampler.start) * 0.25, 1.0]
        assert [step.time for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerGrid(0.0), "power must be positive, not 0.0"),
        (lambda: PowerGrid(math.inf), "power must be positive, not inf"),
        (lambda: PowerGrid(400.0).fractions(10), "power=400.0 puts some of num_steps=10"),
        (lambda: UniformGrid().fractions(0), "num_steps must be at least 1, not 0"),
        (lambda: PowerGrid(2.0).fractions(-1), "num_steps must be at least 1, not -1"),
        (lambda: ListedGrid([0.0]), "times must increase from 0 to 1"),
        (lambda: ListedGrid([0.0, 0.5, 0.5, 1.0]), "times must increase from 0 to 1"),
        (lambda: ListedGrid([0.0, math.nan, 1.0]), "times must increase from 0 to 1"),
        (lambda: ListedGrid([0.1, 1.0]), "times must increase from 0 to 1"),
        (lambda: ListedGrid([0.0, 1.0]).fractions(3), "num_steps must be 1, as ListedGrid has, not 3"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
