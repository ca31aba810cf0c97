"""The authors' released code, from a checkout of github.com/nnaisense/bayesian-flow-networks."""

import sys
from pathlib import Path

import torch
from parts.bfn_cases import STEPS, Case
from torch import Tensor


class Released:
    def __init__(self, case: Case, x: Tensor, outputs: Tensor, checkout: Path) -> None:
        if str(checkout) not in sys.path:
            sys.path.append(str(checkout))
        import model
        import probability

        if case.kind == "discrete":
            flow = model.DiscreteBayesianFlow(case.levels, max_sqrt_beta=case.accuracy**0.5)
            loss = model.DiscreteBayesianFlowLoss(flow, probability.CategoricalFactory())
        else:
            flow = model.CtsBayesianFlow(min_variance=case.accuracy**2)
            continuous = case.kind == "continuous"
            factory = (
                probability.DeltaFactory()
                if continuous
                else probability.DiscretizedNormalFactory(num_bins=case.levels, clip=True)
            )
            loss = model.CtsBayesianFlowLoss(flow, factory, noise_pred=True)
        self.case, self.x, self.outputs, self.variables = case, x, outputs, 1
        self.model = model.BFN(lambda inputs, t: self.outputs, flow, loss)
        self.beliefs, self.message = flow.get_prior_input_params(case.shape, x.device), 0

    def loss(self) -> Tensor:
        return self.model(self.x, n_steps=STEPS if self.case.messages else None)

    def output(self, beliefs: tuple, t: Tensor) -> object:
        flow, factory = self.model.bayesian_flow, self.model.loss.distribution_factory
        return factory.get_dist(self.model.net(flow.params_to_net_inputs(beliefs), t), beliefs, t)

    def step(self) -> object:
        """The body of the loop in their `BFN.sample`, which offers no single step."""
        flow, self.message = self.model.bayesian_flow, self.message % STEPS + 1
        t = torch.ones(self.case.shape) * (self.message - 1) / STEPS
        draw = self.output(self.beliefs, t).sample().reshape(self.case.shape)
        alpha = flow.get_alpha(self.message, STEPS)
        y = flow.get_sender_dist(draw, alpha).sample()
        self.beliefs = flow.update_input_params(self.beliefs, y, alpha)
        return self.beliefs

    def final(self) -> Tensor:
        t = torch.ones(self.case.shape)
        return self.output(self.model.bayesian_flow(self.x, t), t).mode.reshape(self.case.shape)
