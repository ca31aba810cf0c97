"""What learners that draw random signs at every step have in common."""

from abc import abstractmethod
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from graves_rnn_training.layers.learners.base import Advance, ForwardLearner, OnlineState
from graves_rnn_training.layers.learners.influences import check_fit


class SignedLearner(ForwardLearner):
    """A learner whose estimate of the influence depends on random signs. Base of `UORO` and `KFRTRL`.

    Signs come from torch's global generator unless `forward` is given another or the signs themselves.
    """

    @property
    @abstractmethod
    def signs_per_step(self) -> int:
        """How many signs a sequence draws at a step."""

    @abstractmethod
    def signed_step(
        self,
        inputs: Float[Tensor, "batch input"],
        state: OnlineState,
        signs: Float[Tensor, "batch signs"],
    ) -> OnlineState:
        """One step of state and traces with given signs; called without a graph, outside of autocast."""

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: OnlineState,
        signs: Float[Tensor, "batch signs"] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "batch hidden"], OnlineState]:
        """One time step; `output.backward` gives an estimate of the gradient.

        Args:
            inputs: of the step.
            state: what the step before returned.
            signs: 1 and -1; drawn by default, and only where gradients are wanted.
            generator: draws the signs.

        Raises:
            RuntimeError: from `backward`, when the next step has overwritten the traces.
            ValueError: when the state was made for another batch or cell, or `signs` have a wrong shape.
        """
        return self._carry(inputs, state, partial(self.advance, signs=signs, generator=generator))

    def advance(
        self,
        inputs: Float[Tensor, "batch input"],
        state: OnlineState,
        signs: Float[Tensor, "batch signs"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Advance:
        """One step of state and traces; for the arguments see `forward`."""
        check_fit(self, state, len(inputs))
        shape = (len(inputs), self.signs_per_step)
        if signs is None:
            device = inputs.device if generator is None else generator.device
            signs = torch.randint(2, shape, generator=generator, device=device).mul_(2).sub_(1)
        elif tuple(signs.shape) != shape:
            raise ValueError(f"signs must have the shape {shape}, got {tuple(signs.shape)}")
        after = self.signed_step(inputs, state, signs.to(state.hidden))
        return Advance(after, after.traces)
