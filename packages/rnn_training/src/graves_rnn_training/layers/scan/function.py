"""The autograd Function whose forward and backward are the two halves of a sweep."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graves_rnn_training.layers.scan.effects import Effects, recorded_autocast
from graves_rnn_training.layers.scan.gradients import Gradients
from graves_rnn_training.layers.scan.graphs import without_hooks
from graves_rnn_training.layers.scan.reductions import Outputs
from graves_rnn_training.layers.scan.steps import Steps
from graves_rnn_training.layers.scan.sweep import Sweep
from graves_rnn_training.layers.scan.trees import detached, flatten, may_need_grad, unflatten
from graves_rnn_training.layers.versions import versions_of
from graves_rnn_training.schedules.plan import Plan


class Job:
    """All about one call that autograd does not know.

    Args:
        steps: what is run.
        state: the initial state.
        outputs: where outputs go.
        shared: the tensors that all steps share and that want a gradient, by name.
        effects: what steps do besides.
        plan: what is stored when.
    """

    def __init__(
        self,
        steps: Steps,
        state: Any,
        outputs: Outputs,
        shared: dict[str, Tensor],
        effects: Effects,
        plan: Plan,
    ) -> None:
        self.steps = steps
        self.state, self.structure = flatten(state)
        self.outputs = outputs
        self.shared = shared
        self.effects = effects
        self.plan = plan
        self.versions = versions_of(shared.values())
        self.autocast = recorded_autocast((*steps.inputs, *self.state, *shared.values()))
        self.sweep: Sweep | None = None
        self.numbers: list[int] = []
        self.parts: list[list[bool]] = []
        self.tree: Any = None

    def run(self) -> tuple[Any, Any]:
        """Runs all steps; returns the reduced outputs and the final state, which know how to go backward."""
        leaves = [leaf for leaf in (*self.steps.inputs, *self.state) if isinstance(leaf, Tensor)]
        results = iter(_Scan.apply(self, *leaves, *self.shared.values()))  # type: ignore[no-untyped-call]
        tree, self.tree = self.tree, None
        leaves, structure = flatten(tree)
        outputs, state = unflatten(
            [next(results) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure
        )
        return outputs, state

    def forward(self, needs: Iterator[bool]) -> list[Tensor]:
        """The first half; returns all tensors of the results, in order."""
        wanted, state = (
            [isinstance(leaf, Tensor) and next(needs) for leaf in leaves]
            for leaves in (self.steps.inputs, self.state)
        )
        self.numbers = [number for number, wants in enumerate(wanted) if wants]
        # without the graphs before them, which must not live as long as this one
        self.steps.inputs = [detached(leaf) for leaf in self.steps.inputs]
        self.state = [detached(leaf) for leaf in self.state]
        self.sweep = Sweep(
            self.steps,
            self.plan.instructions(),
            self.outputs,
            self.effects,
            list(self.shared.values()),
            self.numbers,
            state,
        )
        last = self.sweep.forward(unflatten(self.state, self.structure))
        final = unflatten([detached(leaf) for leaf in last.after], last.structure)
        self.tree = self.outputs.results(), final
        self.parts = [[isinstance(leaf, Tensor) for leaf in flatten(part)[0]] for part in self.tree]
        return [leaf for leaf in flatten(self.tree)[0] if isinstance(leaf, Tensor)]

    def backward(self, gradients: list[Tensor | None]) -> list[Tensor | None]:
        """The second half; returns gradients of all tensors that autograd was given."""
        sweep, self.sweep = self.sweep, None
        if sweep is None:
            raise RuntimeError(
                "a checkpointed scan goes backward once only; call backward on the sum of the losses"
            )
        self._check_versions()
        given = iter(gradients)
        incoming, final = ([next(given) if is_tensor else None for is_tensor in part] for part in self.parts)
        found = Gradients(self.steps, self.outputs, incoming, final, list(self.shared.values()), self.numbers)
        with self.autocast(), without_hooks(self.shared.values()):
            sweep.backward(found)
        inputs = dict(zip(self.numbers, found.inputs, strict=True))
        before = [inputs.get(n) for n, leaf in enumerate(self.steps.inputs) if isinstance(leaf, Tensor)]
        state = [g for g, leaf in zip(found.state, self.state, strict=True) if isinstance(leaf, Tensor)]
        return [*before, *state, *found.totals]

    def _check_versions(self) -> None:
        now = versions_of(self.shared.values())
        for name, version, before in zip(self.shared, now, self.versions, strict=True):
            if version != before:
                raise RuntimeError(
                    f"{name} was changed in place between forward and backward of a checkpointed scan, which "
                    "runs steps again in backward; call backward before the optimizer's step"
                )


class _Scan(torch.autograd.Function):
    """The first half of a sweep forward, the second half backward."""

    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.job = job
        ctx.save_for_backward(*tensors[: len(tensors) - len(job.shared)])
        results = job.forward(iter(ctx.needs_input_grad[1:]))
        ctx.mark_non_differentiable(*(result for result in results if not may_need_grad(result)))
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # refuses inputs and states that were changed in place
        return None, *ctx.job.backward(list(gradients))
