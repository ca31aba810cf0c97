"""How far an agent has come, which decides about its noise and its exploration."""

from typing import NamedTuple


class Clock(NamedTuple):
    """The counters of a run. The noise of every moment is a function of these numbers alone.

    That makes a resumed run act with the noise of the uninterrupted one, without any noise in checkpoints.

    Attributes:
        seed: of the run on this rank.
        actions: steps made in each environment.
        updates: steps of the optimizer.
        episodes: episodes that have ended, in all environments together.

    Example:
        >>> Clock(seed=3)._replace(actions=5)
        Clock(seed=3, actions=5, updates=0, episodes=0)
    """

    seed: int
    actions: int = 0
    updates: int = 0
    episodes: int = 0
