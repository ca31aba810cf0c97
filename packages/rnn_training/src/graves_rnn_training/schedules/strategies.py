"""The words of a memory policy: what may be stored, and what is done next."""

from typing import Literal, NamedTuple

Strategy = Literal["hidden", "internal", "mixed"]
"""What may be stored: hidden states, internal states, or whichever is better at each place."""

Action = Literal["workspace", "hidden", "internal"]
"""What the last of the steps that are run next leaves behind."""


class Move(NamedTuple):
    """What to do next with a stretch of steps of which only the state before it is known.

    Attributes:
        action: "hidden": run `advance` steps and store the hidden state after them, for the steps behind it.
            "internal": run them, the last with a graph, and store that graph (which contains the hidden
            state). "workspace": run them, which are all that are left, the last with a graph, and go backward
            through that one at once; nothing is stored.
        advance: how many steps to run.

    Example:
        >>> Move("hidden", 3).advance
        3
    """

    action: Action
    advance: int
