"""What data modules of environments ask of a model."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int, Shaped
from torch import Tensor

from graves_bayes.returns.clock import Clock


@runtime_checkable
class Agent(Protocol):
    """A model that acts."""

    def act(
        self, observations: Shaped[Tensor, "envs ..."], clock: Clock, greedy: bool = False
    ) -> Int[Tensor, " envs"]:
        """Chooses an action in each environment.

        Args:
            observations: of the environments.
            clock: decides about all that is drawn.
            greedy: act as well as possible: without noise and without exploration.
        """
        ...


def agent_of(trainer: Any, user: str) -> Agent:
    """The model of a Trainer, if it can act.

    Args:
        trainer: None when there is none.
        user: who asks.

    Raises:
        TypeError: when there is no such model.
    """
    model = getattr(trainer, "lightning_module", None)
    if not isinstance(model, Agent):
        raise TypeError(
            f"{user} needs a Trainer and a model with act(observations, clock, greedy), not {model}"
        )
    return model
