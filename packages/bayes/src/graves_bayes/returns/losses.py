"""Losses of values and policies, and the combination of dueling streams."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

TDLoss = Literal["huber", "squared"]


def dueling_values(
    value: Float[Tensor, "batch 1"], advantages: Float[Tensor, "batch actions"]
) -> Float[Tensor, "batch actions"]:
    """Q = V + A - mean A.

    Args:
        value: of the state.
        advantages: of the actions.

    Source: Wang et al. 2016.

    Example:
        >>> dueling_values(torch.tensor([[5.0]]), torch.tensor([[1.0, 3.0]]))
        tensor([[4., 6.]])
    """
    return value + advantages - advantages.mean(1, keepdim=True)


def td_losses(errors: Float[Tensor, " batch"], kind: TDLoss) -> Float[Tensor, " batch"]:
    """The losses of temporal differences: half of the square; Huber's is linear beyond 1.

    Args:
        errors: target minus value.
        kind: which loss.

    Raises:
        ValueError: when there is no such loss.

    Example:
        >>> td_losses(torch.tensor([0.5, -3.0]), "huber")
        tensor([0.1250, 2.5000])
    """
    if kind not in ("huber", "squared"):
        raise ValueError(f'kind must be "huber" or "squared", not {kind!r}')
    half_squares = 0.5 * errors.square()
    if kind == "squared":
        return half_squares
    size = errors.abs()
    return torch.where(size <= 1, half_squares, size - 0.5)


class ActorCriticLosses(NamedTuple):
    """The parts of the loss of a rollout, means over its steps.

    Attributes:
        policy: -log pi(a) times the advantage, which is taken as a constant.
        value: the squared advantage.
        entropy: of the policy, in nats; no loss but a bonus.
    """

    policy: Tensor
    value: Tensor
    entropy: Tensor


def actor_critic_losses(
    logits: Float[Tensor, "steps actions"],
    values: Float[Tensor, " steps"],
    actions: Int[Tensor, " steps"],
    returns: Float[Tensor, " steps"],
) -> ActorCriticLosses:
    """The losses of an actor and a critic, both with the noise with which the rollout was made.

    Args:
        logits: of the policy.
        values: V of the states.
        actions: those that were taken.
        returns: R of each step, taken as constants.

    Source: Fortunato et al. 2018.

    Example:
        >>> steps = torch.zeros(1, 2), torch.ones(1), torch.tensor([0]), torch.tensor([3.0])
        >>> policy, value, entropy = actor_critic_losses(*steps)
        >>> round(float(policy), 4), float(value), round(float(entropy), 4)
        (1.3863, 4.0, 0.6931)
    """
    log_policy = logits.log_softmax(1)
    advantages = returns.detach() - values
    taken = log_policy.gather(1, actions[:, None]).squeeze(1)
    entropy = -(log_policy.exp() * log_policy).sum(1)
    return ActorCriticLosses(
        -(taken * advantages.detach()).mean(), advantages.square().mean(), entropy.mean()
    )
