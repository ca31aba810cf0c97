"""Targets, returns and losses against loops in float64."""

import math

import numpy as np
import pytest
import torch

from graves_bayes.returns.losses import actor_critic_losses, dueling_values, td_losses
from graves_bayes.returns.targets import (
    chosen_values,
    double_q_target,
    dqn_target,
    n_step_sums,
    rollout_returns,
)

GAMMA = 0.9


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def test_dqn_target_takes_the_best_action_of_the_target_network() -> None:
    draw = draws(0)
    rewards, discounts, after = draw.normal(size=7), draw.random(7), draw.normal(size=(7, 4))
    expected = [rewards[i] + discounts[i] * max(after[i]) for i in range(7)]
    found = dqn_target(*map(as_tensor, (rewards, discounts, after)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_double_q_target_takes_the_action_that_the_other_values_choose() -> None:
    draw = draws(1)
    rewards, discounts = draw.normal(size=7), draw.random(7)
    after, selection = draw.normal(size=(7, 4)), draw.normal(size=(7, 4))
    expected = [rewards[i] + discounts[i] * after[i][int(np.argmax(selection[i]))] for i in range(7)]
    found = double_q_target(*map(as_tensor, (rewards, discounts, after, selection)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_chosen_values_are_those_of_the_actions() -> None:
    values, actions = draws(2).normal(size=(5, 3)), np.array([2, 0, 1, 1, 0])
    found = chosen_values(as_tensor(values), as_tensor(actions))
    np.testing.assert_array_equal(found.numpy(), values[np.arange(5), actions])


def n_step_by_hand(
    rewards: np.ndarray, follows: np.ndarray, terminated: np.ndarray
) -> tuple[float, float, int]:
    total, discount, count = 0.0, 1.0, 0
    for reward, goes_on, ends in zip(rewards, follows, terminated, strict=True):
        if not goes_on:
            break
        total, discount, count = total + discount * reward, discount * GAMMA, count + 1
        if ends:
            return total, 0.0, count
    return total, discount, count


def test_n_step_sums_stop_at_the_end_of_the_episode() -> None:
    draw = draws(3)
    rewards = draw.normal(size=(50, 4))
    follows = draw.random((50, 4)) < 0.7
    follows[:, 0] = True
    terminated = draw.random((50, 4)) < 0.3
    terminated[:, :-1] &= ~follows[:, 1:]  # nothing follows a termination
    found = n_step_sums(*map(as_tensor, (rewards, follows, terminated)), GAMMA)
    expected = [n_step_by_hand(*row) for row in zip(rewards, follows, terminated, strict=True)]
    for column, values in enumerate(zip(*expected, strict=True)):
        np.testing.assert_allclose(found[column].numpy(), values, rtol=1e-12)


def test_truncation_keeps_the_discount_that_termination_removes() -> None:
    follows = torch.tensor([[True, False], [True, False]])
    terminated = torch.tensor([[True, False], [False, False]])
    _, discounts, _ = n_step_sums(torch.ones(2, 2), follows, terminated, GAMMA)
    assert discounts.tolist() == pytest.approx([0.0, GAMMA])


def test_rollout_returns_equal_sums_over_the_rest_of_each_episode() -> None:
    draw = draws(4)
    rewards, after = draw.normal(size=(6, 9)), draw.normal(size=(6, 9))
    terminated = draw.random((6, 9)) < 0.25
    truncated = (draw.random((6, 9)) < 0.25) & ~terminated
    found = rollout_returns(*map(as_tensor, (rewards, after, terminated, truncated)), GAMMA)
    for start in range(6):
        for env in range(9):
            total, discount = 0.0, 1.0
            for step in range(start, 6):
                total += discount * rewards[step, env]
                discount *= GAMMA
                if terminated[step, env]:
                    break
                if truncated[step, env] or step == 5:
                    total += discount * after[step, env]
                    break
            assert float(found[start, env]) == pytest.approx(total, rel=1e-12)


def test_dueling_values_have_the_mean_of_the_value_stream() -> None:
    draw = draws(5)
    value, advantages = draw.normal(size=(4, 1)), draw.normal(size=(4, 3))
    found = dueling_values(as_tensor(value), as_tensor(advantages)).numpy()
    np.testing.assert_allclose(found.mean(1), value[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], advantages[:, 0] - advantages[:, 1], rtol=1e-12)


def test_gradient_of_the_huber_loss_is_the_clipped_error() -> None:
    errors = torch.tensor([-5.0, -1.0, -0.3, 0.0, 0.7, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    td_losses(errors, "huber").sum().backward()
    assert errors.grad is not None
    assert errors.grad.tolist() == errors.detach().clamp(-1, 1).tolist()


def test_gradient_of_the_squared_loss_is_the_error() -> None:
    errors = torch.tensor([-5.0, 0.3], dtype=torch.float64, requires_grad=True)
    td_losses(errors, "squared").sum().backward()
    assert errors.grad is not None
    assert torch.equal(errors.grad, errors.detach())


def test_actor_critic_losses_equal_loops() -> None:
    draw = draws(6)
    logits, values, returns = draw.normal(size=(5, 3)), draw.normal(size=5), draw.normal(size=5)
    actions = np.array([0, 2, 1, 1, 0])
    policy = value = entropy = 0.0
    for i in range(5):
        probabilities = np.exp(logits[i]) / np.exp(logits[i]).sum()
        policy -= math.log(probabilities[actions[i]]) * (returns[i] - values[i]) / 5
        value += (returns[i] - values[i]) ** 2 / 5
        entropy -= sum(p * math.log(p) for p in probabilities) / 5
    found = actor_critic_losses(*map(as_tensor, (logits, values, actions, returns)))
    assert [float(part) for part in found] == pytest.approx([policy, value, entropy], rel=1e-12)


def test_policy_loss_has_no_gradient_in_the_values() -> None:
    values = torch.zeros(2, requires_grad=True)
    losses = actor_critic_losses(
        torch.zeros(2, 3, requires_grad=True), values, torch.tensor([0, 1]), torch.ones(2)
    )
    assert torch.autograd.grad(losses.policy, values, allow_unused=True)[0] is None
    assert torch.autograd.grad(losses.value, values)[0].tolist() == [-1.0, -1.0]
