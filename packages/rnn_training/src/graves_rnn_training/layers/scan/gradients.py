"""The gradients of a sweep backward: those that come in, step by step, and those that go out."""

from typing import Any

import torch
from torch import Tensor

from graves_rnn_training.layers.scan.chains import Chain
from graves_rnn_training.layers.scan.reductions import Outputs
from graves_rnn_training.layers.scan.steps import Steps


class Gradients:
    """Goes backward through chains of steps, from the last to the first, and adds up what they give.

    Args:
        steps: what was run.
        outputs: how outputs were reduced.
        incoming: the gradient of each reduced output, None for none.
        state: the gradient of each leaf of the final state, None for none.
        parameters: tensors that all steps share and that want a gradient.
        wants_inputs: numbers of the inputs that want a gradient.
    """

    def __init__(
        self,
        steps: Steps,
        outputs: Outputs,
        incoming: list[Any],
        state: list[Any],
        parameters: list[Tensor],
        wants_inputs: list[int],
    ) -> None:
        self.steps = steps
        self.outputs = outputs
        self.incoming = outputs.shares(incoming)
        self.state = state
        self.parameters = parameters
        self.totals: list[Tensor | None] = [None] * len(parameters)
        self.handed: set[int] = set()
        self.numbers = wants_inputs
        self.inputs: list[Tensor | None] = [None] * len(wants_inputs)

    def reverse(self, chain: Chain) -> int:
        """Goes backward through a chain, which uses its graph up. Returns its number of pushes."""
        roots, gradients = self._roots(chain)
        states = [leaf for leaf in chain.before if isinstance(leaf, Tensor) and leaf.requires_grad]
        pieces = [piece for step in chain.pieces for piece in step]
        ends = [*states, *pieces, *self.parameters]
        found: list[Tensor | None] = [None] * len(ends)
        if roots and ends:
            if len(chain.outputs) > 1:
                self._hand_over_totals(roots, gradients)
            found = list(torch.autograd.grad(roots, ends, gradients, allow_unused=True))
        self._take_states(chain, found[: len(states)])
        self._take_pieces(chain, found[len(states) : len(states) + len(pieces)])
        self._add(found[len(states) + len(pieces) :])
        return chain.pushes

    def _roots(self, chain: Chain) -> tuple[list[Tensor], list[Tensor]]:
        """Where gradients enter, and which."""
        pairs = list(zip(chain.after, self.state, strict=True))
        for place, outputs in enumerate(chain.outputs):
            start, stop = self.steps.span(chain.start + place)
            pairs += [
                (leaf, self.outputs.share(number, gradient, start, stop))
                for number, (leaf, gradient) in enumerate(zip(outputs, self.incoming, strict=True))
                if gradient is not None
            ]
        used = [
            (leaf, gradient)
            for leaf, gradient in pairs
            if gradient is not None and isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        return [leaf for leaf, _ in used], [gradient for _, gradient in used]

    def _hand_over_totals(self, roots: list[Tensor], gradients: list[Tensor]) -> None:
        """Has autograd add to the totals, in the order of full backpropagation, to the last bit."""
        with torch.enable_grad():
            for number, total in enumerate(self.totals):
                if total is not None and total.layout == torch.strided:
                    roots.append(self.parameters[number].view_as(self.parameters[number]))
                    gradients.append(total)
                    self.handed.add(number)

    def _take_states(self, chain: Chain, found: list[Any]) -> None:
        waiting = iter(found)
        self.state = [
            next(waiting) if isinstance(leaf, Tensor) and leaf.requires_grad else None
            for leaf in chain.before
        ]

    def _take_pieces(self, chain: Chain, found: list[Any]) -> None:
        count = len(self.numbers)
        for place, gradient in enumerate(found):
            if gradient is not None:
                start, stop = self.steps.span(chain.start + place // count)
                self._input(place % count)[start:stop] = gradient

    def _input(self, number: int) -> Tensor:
        total = self.inputs[number]
        if total is None:
            total = self.inputs[number] = torch.zeros_like(self.steps.inputs[self.numbers[number]])
        return total

    def _add(self, gradients: list[Any]) -> None:
        """Adds those of the parameters up, in place; the first are copied, for they may be others' memory."""
        have, more = [], []
        for number, (total, gradient) in enumerate(zip(self.totals, gradients, strict=True)):
            if gradient is None:
                continue
            if number in self.handed:
                self.totals[number] = gradient
            elif total is None:
                self.totals[number] = gradient.clone()
            else:
                have.append(total)
                more.append(gradient)
        self.handed.clear()
        if have:
            torch._foreach_add_(have, more)
