"""The machine that runs a plan: forward is its first sweep over all steps, backward is all the rest."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from graves_rnn_training.layers.scan.chains import Chain, Stored, version_of
from graves_rnn_training.layers.scan.effects import Effects
from graves_rnn_training.layers.scan.gradients import Gradients
from graves_rnn_training.layers.scan.graphs import check_all_known
from graves_rnn_training.layers.scan.reductions import Outputs
from graves_rnn_training.layers.scan.steps import Steps
from graves_rnn_training.layers.scan.trees import (
    Structure,
    compact,
    detached,
    flatten,
    may_need_grad,
    unflatten,
)
from graves_rnn_training.schedules.instructions import Instruction


class Sweep:
    """One run of a plan over steps: `forward` once, then `backward` once.

    Args:
        steps: what is run.
        instructions: the plan.
        outputs: where outputs go.
        effects: what steps do besides.
        parameters: tensors that all steps share and that want a gradient.
        wants_inputs: numbers of the inputs that want a gradient.
        wants_state: whether each leaf of the initial state wants a gradient.
    """

    def __init__(
        self,
        steps: Steps,
        instructions: Iterator[Instruction],
        outputs: Outputs,
        effects: Effects,
        parameters: list[Tensor],
        wants_inputs: list[int],
        wants_state: list[bool],
    ) -> None:
        self.steps = steps
        self.instructions = instructions
        self.outputs = outputs
        self.effects = effects
        self.parameters = parameters
        self.wants_inputs = wants_inputs
        self.wants_state = wants_state
        self.stack: list[Stored | Chain] = []
        self.waiting: Chain | None = None
        self.copies = self.first = self.unchecked = self.wants_outputs = True
        self.primes = torch.is_autocast_cache_enabled()

    def forward(self, state: Any) -> Chain:
        """Runs all steps once, up to where the first is reversed. Returns the last of them."""
        self._store(0, *flatten(state))
        for operation, advance in self.instructions:
            if operation in ("workspace", "reverse"):
                self.waiting = self._reversible(operation, advance)
                break
            self._push(operation, advance)
        assert self.waiting is not None
        self.effects.finish()
        self.first = False
        self.wants_outputs = self.effects.active  # which readouts may change as well
        return self.waiting

    def backward(self, gradients: Gradients) -> None:
        """Runs the rest of the plan, which goes backward through all steps.

        Args:
            gradients: takes those that come in, and collects those that go out.
        """
        self.primes = torch.is_autocast_cache_enabled()
        with self.effects.replay():
            waiting, self.waiting = self.waiting, None
            assert waiting is not None
            self._skip(gradients.reverse(waiting))
            del waiting  # frees its memory before the next one is made
            for operation, advance in self.instructions:
                if operation == "drop":
                    self.stack.pop()
                elif operation in ("workspace", "reverse"):
                    self._skip(gradients.reverse(self._reversible(operation, advance)))
                else:
                    self._push(operation, advance)
        self.stack.clear()

    def _push(self, operation: str, advance: int) -> None:
        if operation == "hidden":
            self._store(*self._advance(advance))
            return
        chain = self._graph(advance)
        chain.pushes += 1
        self.stack.append(chain)

    def _store(self, index: int, leaves: list[Any], structure: Structure) -> None:
        self.stack.append(self._stored(index, leaves, structure))

    def _stored(self, index: int, leaves: list[Any], structure: Structure) -> Stored:
        return Stored(index, [compact(leaf) for leaf in leaves], structure, self.effects.capture())

    def _reversible(self, operation: str, advance: int) -> Chain:
        """What is reversed now, off the stack."""
        if operation == "workspace":
            return self._graph(advance)
        chain = self.stack.pop()
        assert isinstance(chain, Chain)
        chain.pushes -= 1
        return chain

    def _skip(self, count: int) -> None:
        """Passes over the instructions to reverse what was reversed already, with its neighbour."""
        for _ in range(count):
            operation, _ = next(self.instructions)
            assert operation == "reverse"

    def _start(self) -> Stored:
        """The state on top of the stack, with generators and buffers as they were."""
        start = self.stack[-1]
        if isinstance(start, Chain):
            chain = start
            # the chain's last step is the last that has run
            chain.end = start = chain.end or self._stored(chain.stop, chain.after, chain.structure)
        if not self.copies and version_of(start.leaves) != start.version:
            raise RuntimeError(
                "the cell changed its state in place, but not at its first step; "
                "it must do so from the first step on, or never"
            )
        if not self.first:
            self.effects.restore(start.effects)
        return start

    def _advance(self, count: int) -> tuple[int, list[Any], Structure]:
        """Runs steps without graph, from the state on top of the stack."""
        start = self._start()
        index, leaves, structure = start.index, start.leaves, start.structure
        if count == 0:
            return index, leaves, structure
        state = self._first_step(index, leaves, structure)
        for place in range(index + 1, index + count):
            state = self._step(place, state)
        leaves, structure = flatten(state)
        return index + count, leaves, structure

    def _first_step(self, index: int, leaves: list[Any], structure: Structure) -> Any:
        """Fills the cache of autocast as well, for both modes of gradients."""
        handed = _copied(leaves) if self.copies else leaves
        version = version_of(handed)
        with torch.set_grad_enabled(self.primes):
            state = self._step(index, unflatten(handed, structure))
        if self.primes:
            after, structure = flatten(state)
            state = unflatten([detached(leaf) for leaf in after], structure)
            self.primes = False
        self._notice_changes(index, handed, version)
        return state

    def _notice_changes(self, index: int, handed: list[Any], version: int) -> None:
        """After the first step of all: a cell that did not change its state in place needs no copies."""
        if index == 0:
            self.copies &= version_of(handed) != version

    def _step(self, index: int, state: Any) -> Any:
        outputs, state = self.steps.run(index, self.steps.pieces(index), state, self.wants_outputs)
        if self.first:
            self.outputs.add(*self.steps.span(index), outputs)
        return state

    def _graph(self, count: int) -> Chain:
        """Runs steps, the last of them with a graph: behind the chain on top of the stack, or a new one."""
        if count == 1 and isinstance(self.stack[-1], Chain):
            chain = self.stack.pop()
            assert isinstance(chain, Chain)
            if chain.end is not None and not self.first:
                self.effects.restore(chain.end.effects)
            self._extend(chain, chain.after, chain.structure)
            return chain
        index, leaves, structure = self._advance(count - 1)
        chain = Chain(index, [self._wanting(index, number, leaf) for number, leaf in enumerate(leaves)])
        with torch.enable_grad():
            handed = _copied(chain.before) if self.copies else chain.before
        version = version_of(handed)
        self._extend(chain, handed, structure)
        self._notice_changes(index, handed, version)
        if self.unchecked:
            known = (*chain.before, *chain.pieces[0], *self.parameters)
            check_all_known((*chain.outputs[0], *chain.after), known)
            self.unchecked = False
        return chain

    def _extend(self, chain: Chain, leaves: list[Any], structure: Structure) -> None:
        """Runs the next step of a chain with a graph."""
        index = chain.stop
        inputs = self.steps.pieces(index)
        for number in self.wants_inputs:
            inputs[number] = inputs[number].detach().requires_grad_()
        with torch.enable_grad():
            outputs, state = self.steps.run(index, inputs, unflatten(leaves, structure))
        if self.first:
            self.outputs.add(*self.steps.span(index), outputs)
        pieces = [inputs[number] for number in self.wants_inputs]
        chain.add(flatten(outputs)[0], pieces, *flatten(state))

    def _wanting(self, index: int, number: int, leaf: Any) -> Any:
        """A leaf of a state at which a graph begins."""
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.detach().requires_grad_(self.wants_state[number] if index == 0 else may_need_grad(leaf))


def _copied(leaves: list[Any]) -> list[Any]:
    return [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
