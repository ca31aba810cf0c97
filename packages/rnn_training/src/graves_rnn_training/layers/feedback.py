"""A readout whose errors come back through fixed random weights."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graves_rnn_training.layers.readouts import Readout


class FeedbackLinear(Readout):
    """One linear layer that sends gradients back through fixed random weights instead of its own.

    The gradients of its own weights are those of any linear layer. The random weights are as large as those
    at first; they are a buffer, thus in checkpoints and the same on all ranks.

    Args:
        input_size: size of the output of the cell.
        num_classes: number of classes.
        feedback_seed: draws the random weights; by default they are drawn from torch's global generator.

    Raises:
        ValueError: when a number is less than 1.

    Example:
        >>> readout = FeedbackLinear(16, 2)
        >>> outputs = torch.zeros(1, 16, requires_grad=True)
        >>> readout(outputs)[0, 1].backward()
        >>> torch.equal(outputs.grad[0], readout.feedback[1])
        True

    Source: Lillicrap et al. 2016; in recurrent networks, Murray 2019.
    """

    feedback: Float[Tensor, "classes input"]

    def __init__(self, input_size: int, num_classes: int, feedback_seed: int | None = None) -> None:
        super().__init__(input_size, num_classes)
        self.linear = nn.Linear(input_size, num_classes)
        generator = None if feedback_seed is None else torch.Generator().manual_seed(feedback_seed)
        bound = input_size**-0.5
        feedback = torch.empty(num_classes, input_size).uniform_(-bound, bound, generator=generator)
        self.register_buffer("feedback", feedback)

    def forward(self, outputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch classes"]:
        """The logits.

        Args:
            outputs: outputs of the cell.
        """
        own: Tensor = self.linear(outputs.detach())
        back: Tensor = _Feedback.apply(outputs, self.feedback.to(own.dtype))  # type: ignore[no-untyped-call]
        return own + back


class _Feedback(torch.autograd.Function):
    """Zeros, whose gradient goes back through given weights."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(feedback)
        ctx.dtype = outputs.dtype
        return feedback.new_zeros(*outputs.shape[:-1], len(feedback))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, None]:
        (feedback,) = ctx.saved_tensors
        return (delta.to(feedback.dtype) @ feedback).to(ctx.dtype), None
