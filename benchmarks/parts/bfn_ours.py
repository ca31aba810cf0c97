"""The flows of graves-bfn through their public methods."""

from collections.abc import Iterator

import torch
from parts.bfn_cases import STEPS, Case
from torch import Tensor

from graves_bfn import ContinuousFlow, DiscreteFlow, DiscretisedFlow


def flow_of(case: Case) -> ContinuousFlow | DiscretisedFlow | DiscreteFlow:
    """The flow for data of this kind."""
    if case.kind == "continuous":
        return ContinuousFlow(case.accuracy)
    return (DiscretisedFlow if case.kind == "discretised" else DiscreteFlow)(case.levels, case.accuracy)


class Ours:
    def __init__(self, case: Case, x: Tensor, outputs: Tensor) -> None:
        self.flow = flow_of(case)
        self.case, self.x, self.outputs = case, x, outputs
        self.variables = x[0].numel()
        self.end = torch.ones(case.batch)
        self.generation = self.generations()

    def network(self, inputs: Tensor, t: Tensor) -> Tensor:
        return self.outputs

    def generations(self) -> Iterator[object]:
        """The steps of one generation after the other."""
        while True:
            yield from self.flow.generate(self.network, self.case.shape, STEPS)

    def loss(self) -> Tensor:
        if self.case.messages:
            loss = self.flow.discrete_time_loss(self.network, self.x, STEPS)
        else:
            loss = self.flow.continuous_time_loss(self.network, self.x)
        return loss.mean()

    def step(self) -> object:
        return next(self.generation)

    def final(self) -> Tensor:
        beliefs = self.flow.sample_params(self.x, self.end)
        return self.flow.predict(self.network, beliefs, self.end).mode
