"""Code lengths against entropies that are known exactly: a wrong factor anywhere shows here."""

import math
from itertools import pairwise

import pytest
import torch
from exact_posteriors import SIGMAS, CorrelatedNormal, MarkovChain, mean_and_error

from graves_bfn import ContinuousFlow, DiscreteFlow


@pytest.mark.parametrize(("num_classes", "beta_1"), [(6, 3.0), (2, 9.0), (3, 12.0)])
def test_code_length_of_a_markov_chain_is_its_entropy(num_classes: int, beta_1: float) -> None:
    torch.manual_seed(1)
    chain, flow = MarkovChain(num_classes, 24), DiscreteFlow(num_classes, beta_1)
    x = chain.draw(20_000)
    code = flow.continuous_time_loss(chain.network, x) + flow.reconstruction_loss(chain.network, x)
    # the examples' own information is subtracted where it can be: the estimator's noise remains
    information = -chain.transition[x[:, :-1], x[:, 1:]].log().sum(-1) - chain.start[x[:, 0]].log()
    excess, error = mean_and_error(code - information)
    assert abs(excess) < SIGMAS * error
    assert error < 0.02 * chain.entropy


def test_code_length_of_normal_vectors_is_their_entropy() -> None:
    torch.manual_seed(1)
    flow = ContinuousFlow(sigma_1=0.05, bounds=None)
    source = CorrelatedNormal(flow)
    x = source.draw(100_000)
    messages, error = mean_and_error(flow.continuous_time_loss(source.network, x))
    # messages of accuracy beta(1) carry exactly the entropy that they take away
    expected = source.entropy() - source.entropy(observed_accuracy=flow.beta(1.0))
    assert abs(messages - expected) < SIGMAS * error
    total, error = mean_and_error(
        flow.continuous_time_loss(source.network, x) + flow.reconstruction_loss(source.network, x)
    )
    # the width sigma_1 of the reconstruction is not quite that of the posterior: off by less than 0.01
    assert abs(total - source.entropy()) < SIGMAS * error + 0.01
    assert error < 0.05


def test_fewer_messages_cost_more_and_many_cost_what_infinitely_many_do() -> None:
    torch.manual_seed(2)
    chain, flow = MarkovChain(6, 24), DiscreteFlow(6, 3.0)
    x = chain.draw(8_000)
    costs = [mean_and_error(flow.discrete_time_loss(chain.network, x, n)) for n in (1, 2, 5, 10, 25)]
    for (more, error), (less, other) in pairwise(costs):
        assert more - less > -SIGMAS * math.hypot(error, other)
    assert costs[0][0] - costs[-1][0] > 5.0
    many, error = mean_and_error(flow.discrete_time_loss(chain.network, x, 2_000))
    limit, other = mean_and_error(flow.continuous_time_loss(chain.network, x))
    assert abs(many - limit) < SIGMAS * math.hypot(error, other) + 0.05


def test_fewer_messages_cost_more_for_normal_vectors() -> None:
    torch.manual_seed(2)
    flow = ContinuousFlow(sigma_1=0.05, bounds=None)
    source = CorrelatedNormal(flow)
    x = source.draw(50_000)
    costs = [mean_and_error(flow.discrete_time_loss(source.network, x, n))[0] for n in (2, 5, 10, 50, 500)]
    assert costs == sorted(costs, reverse=True)
    limit, error = mean_and_error(flow.continuous_time_loss(source.network, x))
    assert abs(costs[-1] - limit) < SIGMAS * 2 * error + 0.1


@pytest.mark.parametrize("n", [1, 5, 10])
def test_joint_receiver_costs_no_more_than_the_factorised_one(n: int) -> None:
    torch.manual_seed(3)
    chain = MarkovChain(6, 24)
    x = chain.draw(8_000)
    joint, factorised = (
        mean_and_error(DiscreteFlow(6, 3.0, receiver=receiver).discrete_time_loss(chain.network, x, n))
        for receiver in ("joint", "factorised")
    )
    assert factorised[0] - joint[0] > SIGMAS * math.hypot(joint[1], factorised[1])


@pytest.mark.parametrize("n", [5, 10])
def test_joint_receiver_wastes_at_most_six_tenths_of_what_the_factorised_one_does(n: int) -> None:
    chain, count = MarkovChain(6, 24), 1_500
    x, gaps = chain.draw(count), []
    for receiver in ("joint", "factorised"):
        torch.manual_seed(4)
        flow = DiscreteFlow(6, 3.0, receiver=receiver)
        code = flow.reconstruction_loss(chain.network, x) - chain.information(x)
        for i in range(n):  # all messages, for a small error
            step, sender = torch.full((count,), i + 1), torch.randn(4, count, 24, 6)
            code = code + flow.discrete_time_loss(chain.network, x, n, step=step, sender_noise=sender) / n
        gaps.append(code)
    joint, factorised = gaps
    excess, error = mean_and_error(joint - 0.6 * factorised)
    assert excess + SIGMAS * error < 0


def test_samples_of_the_exact_posterior_follow_the_chain() -> None:
    torch.manual_seed(4)
    chain, flow = MarkovChain(6, 24), DiscreteFlow(6, 3.0)
    x = flow.sample(chain.network, (4_000, 24), num_steps=40)
    pairs = torch.zeros(6, 6, dtype=torch.float64)
    pairs.index_put_(
        (x[:, :-1].flatten(), x[:, 1:].flatten()), torch.ones(4_000 * 23).double(), accumulate=True
    )
    expected = chain.start[:, None] * chain.transition
    distance = 0.5 * (pairs / pairs.sum() - expected).abs().sum()
    assert distance < 0.03
