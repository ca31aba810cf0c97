"""What a LightningModule must have for the callbacks of this folder, and what they make of it."""

from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule

from graves_bfn.callbacks.examples import Examples
from graves_bfn.codecs.base import Codec
from graves_bfn.flows.arrays import Data, Shape, first
from graves_bfn.flows.base import Flow, GenerationStep
from graves_bfn.flows.losses import Network
from graves_bfn.flows.times import TimeGrid
from graves_bfn.guidance.networks import ConditionedNetwork
from graves_bfn.module.draws import DrawsSamples
from graves_bfn.nets.extra_inputs import ClassCondition, ExtraInputs
from graves_bfn.samplers.base import Sampler
from graves_bfn.samplers.messages import MessageSampler

STEPS = 100
"""Steps per sample for a model that does not say."""


class FlowModel:
    """A LightningModule as the callbacks see it.

    Any will do that has these attributes:

    - `flow`, a `Flow`;
    - `network`, which the flow can call with its inputs and times;
    - `codec`, a `Codec`, which can be given to the callback instead.

    What it may have besides, as a `BFN` has, is used: `sampler`, `sample_steps` and `grid`; the `shape` and
    the `extra_inputs` of its network; and a method `shown(condition=..., valid=...)`, which returns the
    network with what it is told about the examples, for networks that want that in a way of their own.

    Args:
        module: the model.
        codec: takes the place of the model's.
        user: who asks, for the error.

    Raises:
        TypeError: naming the attributes that are missing or of another kind.
    """

    def __init__(self, module: LightningModule, codec: Codec | None, user: str) -> None:
        codec = getattr(module, "codec", None) if codec is None else codec
        flow, network = getattr(module, "flow", None), getattr(module, "network", None)
        fits = {
            "flow, a Flow": isinstance(flow, Flow),
            "network, a callable": callable(network),
            "codec, a Codec (or give it as codec to the callback)": isinstance(codec, Codec),
        }
        missing = [wanted for wanted, present in fits.items() if not present]
        if missing:
            raise TypeError(f"{user}: {type(module).__name__} must have the attribute {'; '.join(missing)}")
        self.module = module
        self.flow = cast(Flow, flow)
        self.network = cast(Network, network)
        self.codec = cast(Codec, codec)
        extra = getattr(network, "extra_inputs", None)
        self.extra_inputs = extra if isinstance(extra, ExtraInputs) else ExtraInputs()

    @property
    def sampler(self) -> Sampler:
        """How the model generates."""
        sampler = getattr(self.module, "sampler", None)
        return sampler if isinstance(sampler, Sampler) else MessageSampler()

    @property
    def sample_steps(self) -> int:
        """Steps per sample."""
        return int(getattr(self.module, "sample_steps", STEPS))

    @property
    def grid(self) -> TimeGrid | None:
        """When messages end in losses of finitely many."""
        grid = getattr(self.module, "grid", None)
        return grid if isinstance(grid, TimeGrid) else None

    @property
    def recalls(self) -> bool:
        """Whether the network is shown what it expected before."""
        return self.extra_inputs.self_conditioning

    @property
    def classes(self) -> int | None:
        """How many classes the network can be told; None when it is told something else or nothing."""
        condition = self.extra_inputs.condition
        return condition.num_classes if isinstance(condition, ClassCondition) else None

    def generator(self, seed: int) -> torch.Generator:
        """A source of random numbers on the model's device."""
        return torch.Generator(self.module.device).manual_seed(seed)

    def examples(self, batch: Any, generator: torch.Generator | None = None) -> Examples:
        """What a batch holds."""
        codec = self.codec
        return Examples(codec.encode(batch, generator=generator), codec.condition(batch), codec.valid(batch))

    def shown(self, examples: Examples) -> Network:
        """The network with what it is told of examples, for losses."""
        condition, valid = examples.condition, examples.valid
        own: Any = getattr(self.module, "shown", None)
        if own is not None:
            return cast(Network, own(condition=condition, valid=valid))
        if not hasattr(self.network, "extra_inputs"):
            return self.network
        return ConditionedNetwork(
            self.network, None if self.extra_inputs.condition is None else condition, valid
        )

    def generate(
        self,
        like: Examples,
        num_steps: int | None,
        sampler: Sampler | None,
        generator: torch.Generator,
    ) -> Iterator[GenerationStep]:
        """Generates as many data as there are examples, under their conditions and of their lengths."""
        module, network = self.module, self.shown(like)
        if isinstance(module, DrawsSamples):
            network = module.shown(condition=like.condition, valid=like.valid, guidance_scale=None)
        return (sampler or self.sampler).generate(
            self.flow,
            network,
            self._shape(like),
            num_steps or self.sample_steps,
            self_conditioning=self.recalls,
            generator=generator,
            device=module.device,
        )

    def draw(
        self,
        like: Examples,
        num_steps: int | None,
        sampler: Sampler | None,
        generator: torch.Generator,
    ) -> Data:
        """The finished data of `generate`, padded like the examples."""
        (last,) = deque(self.generate(like, num_steps, sampler, generator), maxlen=1)
        return like.padded(last.output.mode)

    def _shape(self, like: Examples) -> Shape:
        """That of the network if it has one, else that of the data."""
        shape: Any = getattr(self.network, "shape", None)
        if isinstance(shape, dict):
            return {name: (like.number, *sizes) for name, sizes in shape.items()}
        if isinstance(shape, tuple | list):
            return (like.number, *shape)
        if isinstance(like.x, dict):
            return {name: tuple(values.shape) for name, values in like.x.items()}
        return tuple(first(like.x).shape)
