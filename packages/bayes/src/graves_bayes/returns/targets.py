"""What values are trained towards, and the returns of stretches of experience."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def dqn_target(
    rewards: Float[Tensor, " batch"],
    discounts: Float[Tensor, " batch"],
    next_values: Float[Tensor, "batch actions"],
) -> Float[Tensor, " batch"]:
    """r + gamma max_b Q(y, b), with the target network's values and its own noise.

    Args:
        rewards: of the step, or the discounted sum over n steps.
        discounts: gamma, or gamma^n; 0 where the episode terminated, but not where it was cut off.
        next_values: of the target network in the state after the steps.

    Source: Fortunato et al. 2018.

    Example:
        >>> dqn_target(torch.ones(1), torch.tensor([0.5]), torch.tensor([[2.0, 4.0]]))
        tensor([3.])
    """
    return rewards + discounts * next_values.amax(1)


def double_q_target(
    rewards: Float[Tensor, " batch"],
    discounts: Float[Tensor, " batch"],
    next_values: Float[Tensor, "batch actions"],
    selection_values: Float[Tensor, "batch actions"],
) -> Float[Tensor, " batch"]:
    """r + gamma Q(y, b*) with b* the best action by other values: those of the online network, a third draw.

    Args:
        rewards: of the step, or the discounted sum over n steps.
        discounts: gamma, or gamma^n; 0 where the episode terminated, but not where it was cut off.
        next_values: of the target network in the state after the steps.
        selection_values: of the online network in the same state, with noise of neither of the other two.

    Source: Fortunato et al. 2018.

    Example:
        >>> next_values, selection_values = torch.tensor([[2.0, 4.0]]), torch.tensor([[1.0, 0.0]])
        >>> double_q_target(torch.ones(1), torch.tensor([0.5]), next_values, selection_values)
        tensor([2.])
    """
    chosen = selection_values.argmax(1, keepdim=True)
    return rewards + discounts * next_values.gather(1, chosen).squeeze(1)


def chosen_values(
    values: Float[Tensor, "batch actions"], actions: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Q(x, a) of the actions that were taken.

    Args:
        values: of all actions.
        actions: those that were taken.

    Example:
        >>> chosen_values(torch.tensor([[2.0, 4.0]]), torch.tensor([1]))
        tensor([4.])
    """
    return values.gather(1, actions[:, None]).squeeze(1)


def n_step_sums(
    rewards: Float[Tensor, "batch steps"],
    follows: Bool[Tensor, "batch steps"],
    terminated: Bool[Tensor, "batch steps"],
    gamma: float,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """The parts of n-step targets: discounted rewards, the discount of what comes after, the steps summed.

    Args:
        rewards: of n steps from each start; what lies behind the end of an episode is ignored.
        follows: whether each step belongs to the episode of the first; True for the first itself.
        terminated: whether the episode terminated with the step. One that was cut off instead goes on in the
            target: its discount stays above 0.
        gamma: the discount of a step.

    Example:
        >>> both = torch.ones(1, 2, dtype=torch.bool)
        >>> n_step_sums(torch.ones(1, 2), both, ~both, gamma=0.5)
        (tensor([1.5000]), tensor([0.2500]), tensor([2]))
    """
    powers = gamma ** torch.arange(rewards.shape[1], device=rewards.device, dtype=rewards.dtype)
    follows = follows.long().cumprod(1).bool()
    steps = follows.sum(1)
    alive = ~(terminated & follows).any(1)
    return (rewards * powers * follows).sum(1), gamma ** steps.to(rewards.dtype) * alive, steps


def rollout_returns(
    rewards: Float[Tensor, "time batch"],
    next_values: Float[Tensor, "time batch"],
    terminated: Bool[Tensor, "time batch"],
    truncated: Bool[Tensor, "time batch"],
    gamma: float,
) -> Float[Tensor, "time batch"]:
    """R_i, the discounted rewards up to the end of the rollout and the value of the state behind it.

    An episode that terminates in the rollout has nothing behind it; one that is cut off has the value of the
    state in which it was.

    Args:
        rewards: of each step.
        next_values: V of the state to which each step led.
        terminated: whether the episode terminated with the step.
        truncated: whether it was cut off.
        gamma: the discount of a step.

    Source: Mnih et al. 2016; Fortunato et al. 2018.

    Example:
        >>> never = torch.zeros(2, 1, dtype=torch.bool)
        >>> rollout_returns(torch.ones(2, 1), torch.full((2, 1), 8.0), never, never, gamma=0.5).flatten()
        tensor([3.5000, 5.0000])
    """
    returns = torch.empty_like(rewards)
    later = next_values[-1]
    for step in range(len(rewards) - 1, -1, -1):
        later = torch.where(truncated[step], next_values[step], later) * ~terminated[step]
        later = rewards[step] + gamma * later
        returns[step] = later
    return returns
