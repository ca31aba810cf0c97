"""How much memory a step needs, measured by running one."""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from graves_rnn_training.layers.scan.allocations import Allocations
from graves_rnn_training.layers.scan.effects import Effects, Snapshot
from graves_rnn_training.layers.scan.steps import Steps
from graves_rnn_training.layers.scan.trees import flatten, may_need_grad, nbytes, unflatten


class StepBytes(NamedTuple):
    """The memory of one step.

    Attributes:
        hidden: bytes of the state after it, which the next step needs.
        internal: bytes of all that autograd keeps to go backward through it, the state before it included but
            not the one after it, without what all steps share: parameters, inputs, casts of parameters.
        working: bytes that are in use at most while it runs forward and backward, its graph included; 0 when
            nobody has looked.
        steps: how many time steps this one consists of.

    Example:
        >>> StepBytes(hidden=65_536, internal=229_376).internal / 65_536
        3.5
    """

    hidden: int
    internal: int
    working: int = 0
    steps: int = 1

    @property
    def stored(self) -> int:
        """Bytes of an internal state that is stored: with the state after it, for the step behind."""
        return self.internal + self.hidden

    def times(self, segment: int) -> "StepBytes":
        """The sizes for so many steps in one."""
        return StepBytes(self.hidden, self.internal * segment, self.working * segment, segment)


_remembered: WeakKeyDictionary[Any, dict[Any, StepBytes]] = WeakKeyDictionary()


def remembered(owner: Any, key: Any, measure: Callable[[], StepBytes]) -> StepBytes:
    """What was measured before, or is measured now.

    Args:
        owner: with what it is forgotten.
        key: on what it depends besides.
        measure: measures.
    """
    try:
        known = _remembered.setdefault(owner, {})
    except TypeError:  # neither modules nor functions: nothing to remember it by
        return measure()
    if key not in known:
        known[key] = measure()
    return known[key]


def measured(steps: Steps, state: Any, effects: Effects) -> StepBytes:
    """Runs the first step four times and leaves no trace of it.

    The first gives a state for the others to begin with, because cells may make the initial one themselves.
    What the next two save in common is shared by all steps. To the hidden state belong the generators and
    buffers that the step changes. The last one goes backward.

    Args:
        steps: what is run.
        state: the initial state.
        effects: what steps do besides.
    """
    before = effects.capture()
    runs: list[Any] = []
    saved: list[dict[int, int]] = []
    with effects.replay(), torch.enable_grad():
        effects.restore(before)
        state = _run_first(steps, state).state
        for _ in range(2):
            effects.restore(before)
            saved.append({})
            with torch.autograd.graph.saved_tensors_hooks(_noting(saved[-1]), lambda tensor: tensor):
                runs.append(_run_first(steps, state))
        changes = _changes(before, effects.capture())
        effects.restore(before)
        with Allocations() as allocations:
            _reverse(_run_first(steps, state))
    after = [leaf for leaf in flatten(runs[1].state)[0] if isinstance(leaf, Tensor)]
    own = saved[1].keys() - saved[0].keys() - {_address(leaf) for leaf in after}
    internal = sum(saved[1][key] for key in own)
    hidden = sum(map(nbytes, {id(leaf): leaf for leaf in after}.values()))
    return StepBytes(max(1, hidden + changes), max(1, hidden, internal), allocations.peak)


class _Run(NamedTuple):
    outputs: Any
    state: Any
    ends: list[Tensor]


def _run_first(steps: Steps, state: Any) -> _Run:
    """The first step, as when it is to be reversed; the cell may change the state that it is given."""
    leaves, structure = flatten(state)
    before = [
        leaf.detach().requires_grad_(may_need_grad(leaf)) if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    pieces = [
        piece.detach().requires_grad_(piece.requires_grad) if isinstance(piece, Tensor) else piece
        for piece in steps.pieces(0)
    ]
    ends = [leaf for leaf in (*before, *pieces) if isinstance(leaf, Tensor) and leaf.requires_grad]
    handed = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in before]
    return _Run(*steps.run(0, pieces, unflatten(handed, structure)), ends)


def _reverse(run: _Run) -> None:
    """Goes backward through a step, to states and inputs alone: gradients of parameters do not count."""
    leaves = (*flatten(run.outputs)[0], *flatten(run.state)[0])
    roots = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    if roots and run.ends:
        torch.autograd.grad(roots, run.ends, [torch.ones_like(root) for root in roots], allow_unused=True)


def _noting(saved: dict[int, int]) -> Callable[[Tensor], Tensor]:
    """What to do with a tensor that autograd saves: note address and size of its memory."""

    def note(tensor: Tensor) -> Tensor:
        saved[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # with its graph, it would keep itself alive for ever

    return note


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _changes(before: Snapshot | None, after: Snapshot | None) -> int:
    """Bytes of the generators and buffers that differ."""
    if before is None or after is None or before is after:
        return 0
    drew = after.generators is not before.generators
    buffers = (copy for buffer, copy in after.buffers.items() if copy is not before.buffers[buffer])
    return sum(map(nbytes, buffers)) + sum(nbytes(state) for state in after.generators if drew)
