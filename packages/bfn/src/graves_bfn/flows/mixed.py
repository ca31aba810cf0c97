"""Data of several kinds at once: named fields, each with a flow of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graves_bfn.flows.base import Estimate, Flow
from graves_bfn.flows.gaussian import GaussianFlow
from graves_bfn.flows.losses import Params
from graves_bfn.flows.outputs import OutputDistribution
from graves_bfn.flows.schedules import Schedule
from graves_bfn.flows.single import SingleFlow


@dataclass(frozen=True)
class MixedOutput:
    """An output distribution per field; everything is a dict by field."""

    fields: dict[str, OutputDistribution]

    @property
    def mean(self) -> dict[str, Any]:
        """The expected data of each field."""
        return {name: output.mean for name, output in self.fields.items()}

    @property
    def mode(self) -> dict[str, Any]:
        """The most probable data of each field."""
        return {name: output.mode for name, output in self.fields.items()}

    def sample(self, noise: Mapping[str, Tensor]) -> dict[str, Any]:
        """Data of each field drawn with the numbers for it."""
        return {name: output.sample(noise[name]) for name, output in self.fields.items()}

    def tempered(self, temperature: float) -> "MixedOutput":
        """Every field at that temperature."""
        return MixedOutput({name: output.tempered(temperature) for name, output in self.fields.items()})


class MixedFlow(Flow):
    """Bayesian flow for data of several kinds: a dict of named fields, each with its own flow and schedule.

    Data, shapes, beliefs, noise, network inputs and outputs, and masks are dicts by field; one network sees
    all fields. Losses are the sum over fields, in nats, so that no field needs a weight.

    Args:
        flows: the flow of each field, at least one; none of them mixed itself.

    Raises:
        ValueError: when there is none, a name holds a dot, or a flow is mixed.

    Source: Graves et al. 2023, section 3 (any product of data types); Song et al. 2023, GeoBFN.

    Example:
        >>> from graves_bfn import ContinuousFlow, DiscreteFlow
        >>> flow = MixedFlow({"height": ContinuousFlow(0.1), "colour": DiscreteFlow(3, 2.0)})
        >>> x = {"height": torch.zeros(4, 1), "colour": torch.zeros(4, 2, dtype=torch.long)}
        >>> network = lambda inputs, t: {"height": torch.zeros(4, 1, 1), "colour": torch.zeros(4, 2, 3)}
        >>> flow.reconstruction_loss(network, x).shape
        torch.Size([4])
    """

    def __init__(self, flows: dict[str, SingleFlow]) -> None:
        if not flows:
            raise ValueError("flows must hold at least one field, not none")
        for name, flow in flows.items():
            if not name or "." in name:
                raise ValueError(f"flows must have names without dots, not {name!r}")
            if not isinstance(flow, SingleFlow):
                raise ValueError(f"flows[{name!r}] must be a SingleFlow, not a {type(flow).__name__}")
        self.flows = dict(flows)

    def _each(self, call: Callable[..., Any], *values: Any) -> dict[str, Any]:
        """Calls with the flow of each field and what the given dicts hold for it; None stands for no dict.

        Raises:
            ValueError: when a dict has other fields.
        """
        for value in values:
            if value is not None and value.keys() != self.flows.keys():
                raise ValueError(f"there must be fields {sorted(self.flows)}, not {sorted(value)}")
        return {
            name: call(flow, *(None if value is None else value[name] for value in values))
            for name, flow in self.flows.items()
        }

    @property
    def outputs_per_variable(self) -> dict[str, int]:
        """Those of each field."""
        return self._each(lambda flow: flow.outputs_per_variable)

    @property
    def inputs_per_variable(self) -> dict[str, int]:
        """Those of each field."""
        return self._each(lambda flow: flow.inputs_per_variable)

    def prior(
        self, shape: Mapping[str, tuple[int, ...]], *, device: torch.device | str | None = None
    ) -> Params:
        """The prior of each field."""
        return self._each(lambda flow, sizes: flow.prior(sizes, device=device), shape)

    def message_noise_shape(self, shape: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """That of each field."""
        return self._each(lambda flow, sizes: flow.message_noise_shape(sizes), shape)

    def message_noise(
        self,
        shape: Mapping[str, tuple[int, ...]],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Standard normal numbers for one message about each field."""
        return self._each(
            lambda flow, sizes: flow.message_noise(sizes, generator=generator, device=device), shape
        )

    def output_noise(
        self,
        shape: Mapping[str, tuple[int, ...]],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Numbers of the kind that each field's output distribution draws with."""
        return self._each(
            lambda flow, sizes: flow.output_noise(sizes, generator=generator, device=device), shape
        )

    def send(
        self,
        x: Mapping[str, Tensor],
        alpha: Mapping[str, Any],
        *,
        noise: Mapping[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """A message about each field."""
        return self._each(
            lambda flow, x, alpha, noise: flow.send(x, alpha, noise=noise, generator=generator),
            x,
            alpha,
            noise,
        )

    def update(self, params: Params, y: Mapping[str, Tensor], alpha: Mapping[str, Any]) -> Params:
        """Bayes' rule for each field."""
        return self._each(lambda flow, *values: flow.update(*values), params, y, alpha)

    def receive(self, params: Params, x: Any, s: float, t: float, noise: Any) -> Params:
        """Messages about each field."""
        return self._each(lambda flow, beliefs, x, n: flow.receive(beliefs, x, s, t, n), params, x, noise)

    def sample_params(
        self,
        x: Mapping[str, Tensor],
        t: Float[Tensor, " batch"],
        *,
        noise: Mapping[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Params:
        """The beliefs about each field."""
        return self._each(
            lambda flow, x, noise: flow.sample_params(x, t, noise=noise, generator=generator), x, noise
        )

    def network_inputs(self, params: Params) -> dict[str, Tensor]:
        """What the network sees of each field."""
        return self._each(lambda flow, beliefs: flow.network_inputs(beliefs), params)

    def estimate_inputs(self, output: MixedOutput) -> dict[str, Tensor]:
        """What the network expects of each field."""
        return self._each(lambda flow, part: flow.estimate_inputs(part), output.fields)

    def expectation(self, params: Params) -> dict[str, Tensor]:
        """What the beliefs expect of each field."""
        return self._each(lambda flow, beliefs: flow.expectation(beliefs), params)

    def reveal(self, params: Params, x: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Params:
        """The beliefs of somebody who has been told; fields that `known` does not name stay unknown."""
        return self._each(lambda flow, *values: flow.reveal(*values), params, x, self._full(known, x))

    def point_mean(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Certain data of each field."""
        return self._each(lambda flow, x: flow.point_mean(x), x)

    def revealed_output(
        self, output: MixedOutput, x: Mapping[str, Tensor], known: Mapping[str, Tensor]
    ) -> MixedOutput:
        """Each field corrected where its data are known."""
        parts = (output.fields, x, self._full(known, x))
        return MixedOutput(self._each(lambda flow, *values: flow.revealed_output(*values), *parts))

    def output_distribution(
        self, outputs: Mapping[str, Tensor], params: Params, t: Float[Tensor, " batch"]
    ) -> MixedOutput:
        """What the network says about each field."""
        return MixedOutput(
            self._each(lambda flow, *values: flow.output_distribution(*values, t), outputs, params)
        )

    def guide(
        self,
        unconditional: Mapping[str, Tensor],
        conditional: Mapping[str, Tensor],
        scale: float,
        rescale: float = 0.0,
    ) -> dict[str, Tensor]:
        """Each field guided; `rescale` acts on fields that are not classes."""
        return self._each(
            lambda flow, u, c: flow.guide(u, c, scale, rescale if isinstance(flow, GaussianFlow) else 0.0),
            unconditional,
            conditional,
        )

    def beliefs_about(
        self, mean: Mapping[str, Tensor] | None, t: float, noise: Mapping[str, Tensor]
    ) -> Params:
        """Beliefs about each field."""
        return self._each(lambda flow, mean, noise: flow.beliefs_about(mean, t, noise), mean, noise)

    def solve(
        self,
        params: Params,
        now: Estimate,
        before: Estimate | None,
        t: float,
        noise: Mapping[str, Tensor] | None,
    ) -> Params:
        """A step of each field."""

        def step(flow: SingleFlow, beliefs: Params, mean: Any, earlier: Any, noise: Any) -> Params:
            previous = None if before is None else Estimate(before.time, earlier)
            return flow.solve(beliefs, Estimate(now.time, mean), previous, t, noise)

        return self._each(step, params, now.mean, None if before is None else before.mean, noise)

    def leaves(self, params: Params) -> tuple[Params, list[Tensor]]:
        """Those of all fields, in the order of the flows."""
        pairs = self._each(lambda flow, beliefs: flow.leaves(beliefs), params)
        beliefs = {name: pair[0] for name, pair in pairs.items()}
        return beliefs, [leaf for _, leaves in pairs.values() for leaf in leaves]

    def nudge(self, params: Params, gradients: list[Tensor], s: float, t: float) -> Params:
        """Each field moved up its gradient."""
        left = iter(gradients)
        by_field = self._each(lambda flow, beliefs: [next(left) for _ in flow.leaves(beliefs)[1]], params)
        return self._each(lambda flow, *values: flow.nudge(*values, s, t), params, by_field)

    def expected_cost(
        self, x: Mapping[str, Tensor], output: MixedOutput, s: float, t: float, where: Any
    ) -> Tensor:
        """The sum over fields; fields that `where` does not name count nothing."""
        parts = (x, output.fields, self._full(where, x))
        costs = self._each(lambda flow, x, part, here: flow.expected_cost(x, part, s, t, here), *parts)
        return _total(costs)

    def continuous_cost(
        self, x: Mapping[str, Tensor], output: MixedOutput, t: Tensor, where: Mapping[str, Any] | None
    ) -> Float[Tensor, " batch"]:
        """The sum over fields."""
        parts = (x, output.fields, self._named(where))
        return _total(self._each(lambda flow, x, part, here: flow.continuous_cost(x, part, t, here), *parts))

    def message_cost(
        self,
        x: Mapping[str, Tensor],
        output: MixedOutput,
        accuracies: Callable[[Schedule], Tensor],
        where: Mapping[str, Any] | None,
        sender_noise: Mapping[str, Tensor] | None,
        generator: torch.Generator | None,
    ) -> Float[Tensor, " batch"]:
        """The sum over fields."""

        def cost(flow: SingleFlow, x: Tensor, part: Any, here: Any, noise: Tensor | None) -> Tensor:
            return flow.message_cost(x, part, accuracies, here, noise, generator)

        return _total(self._each(cost, x, output.fields, self._named(where), sender_noise))

    def clean_cost(
        self, x: Mapping[str, Tensor], output: MixedOutput, where: Mapping[str, Any] | None
    ) -> Float[Tensor, " batch"]:
        """The sum over fields."""
        parts = (x, output.fields, self._named(where))
        return _total(self._each(lambda flow, x, part, here: flow.clean_cost(x, part, here), *parts))

    def _named(self, where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Masks with None, everywhere, for the fields that have none."""
        return None if where is None else {**dict.fromkeys(self.flows), **where}

    def _full(self, known: Mapping[str, Tensor], x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks with False for the fields that have none."""
        return {name: torch.zeros_like(x[name], dtype=torch.bool) for name in self.flows} | dict(known)


def _total(costs: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(costs.values())).sum(0)
