"""One call of a scan: measures and plans what has to be, then runs it with or without gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.cost import PlanCost, Report
from graves_rnn_training.layers.scan.effects import Effects, Modules
from graves_rnn_training.layers.scan.function import Job
from graves_rnn_training.layers.scan.graphs import check_all_known
from graves_rnn_training.layers.scan.reductions import Outputs
from graves_rnn_training.layers.scan.sizes import StepBytes, measured, remembered
from graves_rnn_training.layers.scan.steps import Steps
from graves_rnn_training.layers.scan.trees import flatten

PLAIN = 512
"""Time steps that are run at once where nothing is stored."""

SAMPLE = 4
"""Time steps that are run to measure what is fast on many at once."""


class Scan:
    """A sequence that is to be run.

    Args:
        steps: makes the steps of the plan from the number of time steps that each has.
        length: number of time steps.
        reductions: what becomes of the outputs.
        shared: the tensors that all steps share and that want a gradient, by name.
        modules: whose buffers may change.
        random: whether steps may draw random numbers.
        owner: what lives as long as the sizes of states are of use.
        label: what they depend on besides.
        fused: whether a segment costs less time than its steps one by one.
    """

    def __init__(
        self,
        steps: Callable[[int], Steps],
        length: int,
        reductions: Any,
        shared: dict[str, Tensor],
        modules: Modules,
        random: bool,
        owner: Any,
        label: Any = None,
        fused: bool = False,
    ) -> None:
        self.steps = steps
        self.length = length
        self.reductions = reductions
        self.shared = shared
        self.modules = modules
        self.random = random
        self.owner = owner
        self.label = label
        self.fused = fused

    def run(self, state: Any, budget: MemoryBudget, report: Report | None = None) -> tuple[Any, Any]:
        """Runs all steps. Returns the reduced outputs and the final state.

        Args:
            state: the initial state.
            budget: how much may be stored.
            report: told what it costs, if gradients are wanted.
        """
        inputs = self.steps(1).inputs
        tensors = (leaf for leaf in (*inputs, *flatten(state)[0]) if isinstance(leaf, Tensor))
        wanted = bool(self.shared) or any(tensor.requires_grad for tensor in tensors)
        if not torch.is_grad_enabled() or not wanted:
            return self._plainly(state)
        cost = self.cost(state, budget, sized=report is not None)
        if report is not None:
            report(cost)
        steps = self.steps(cost.segment)
        outputs = Outputs(self.reductions, steps.rows, steps.segmented)
        return Job(steps, state, outputs, self.shared, self._effects(steps, state), cost.plan).run()

    def cost(self, state: Any, budget: MemoryBudget, sized: bool = False) -> PlanCost:
        """The plan and what it costs, in bytes as well if `sized` or if the budget wants to know."""
        sizes = self._sizes(state) if sized or budget.needs_sizes else None
        return budget.plan(self.length, sizes, self.fused)

    def _plainly(self, state: Any) -> tuple[Any, Any]:
        """Without gradients: nothing is stored."""
        steps = self.steps(min(PLAIN, self.length) if self.fused else 1)
        outputs = Outputs(self.reductions, steps.rows, steps.segmented)
        for index in range(steps.number):
            output, state = steps.run(index, steps.pieces(index), state)
            if index == 0 and torch.is_grad_enabled():
                check_all_known((*flatten(output)[0], *flatten(state)[0]), ())
            outputs.add(*steps.span(index), output)
        return outputs.results(), state

    def _sizes(self, state: Any) -> StepBytes:
        segment = min(SAMPLE, self.length) if self.fused else 1
        steps = self.steps(segment)
        leaves = [*steps.pieces(0), *flatten(state)[0], *self.shared.values()]
        kinds = [(leaf.shape, leaf.dtype, leaf.device) for leaf in leaves if isinstance(leaf, Tensor)]
        training = tuple(module.training for module in self.modules)
        key = self.label, tuple(kinds), training, torch.is_autocast_enabled()
        sizes = remembered(self.owner, key, lambda: measured(steps, state, self._effects(steps, state)))
        return StepBytes(sizes.hidden, -(-sizes.internal // segment), -(-sizes.working // segment))

    def _effects(self, steps: Steps, state: Any) -> Effects:
        tensors = (*steps.inputs, *flatten(state)[0], *self.shared.values())
        return Effects(self.modules, tensors, self.random)
