"""Small models of every kind of data, for tests of training."""

import functools
from collections.abc import Callable

import torch

from graves_bfn import (
    BFN,
    BFNMLP,
    BFNConvNet,
    BFNMixedMLP,
    BFNUNet,
    BinaryImages,
    BoxUnknown,
    ClassColumns,
    ClassCondition,
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    ExtraInputs,
    FieldsCodec,
    FieldShape,
    IntegerColumns,
    MixedFlow,
    PerVariableSchedule,
    PowerGrid,
    QuadraticSchedule,
    QuantisedImages,
    RandomKnown,
    RealColumns,
    SDESolver,
    Tokens,
)
from graves_core import (
    DiabetesDataModule,
    DigitsDataModule,
    EnglishTextDataModule,
    EnglishWordsDataModule,
)
from graves_core.data.base import BaseDataModule
from graves_core.data.diabetes import FIELDS

SGD = functools.partial(torch.optim.SGD, lr=0.1)
IMAGE = (8, 8, 1)


def binary() -> BFN:
    net = BFNUNet(IMAGE, 1, 1, channels=8, multipliers=(1, 2), blocks=1, heads=2, dropout=0.1, groups=4)
    return BFN(DiscreteFlow(2, 4.0), net, BinaryImages(levels=17), optimizer=SGD)


def discretised() -> BFN:
    net = BFNMLP(IMAGE, 1, 2, width=16, depth=1, dropout=0.1)
    return BFN(DiscretisedFlow(17, 0.05), net, QuantisedImages(17, levels=17), optimizer=SGD)


def continuous() -> BFN:
    net = BFNMLP(IMAGE, 1, 1, width=16, depth=1)
    flow = ContinuousFlow(0.05, num_bins=17)
    return BFN(flow, net, QuantisedImages(17, levels=17), optimizer=SGD, train_steps=20)


def text() -> BFN:
    return BFN(
        DiscreteFlow(27, 0.6), BFNConvNet((16,), 27, 27, width=16, dilations=(1, 2)), Tokens(), optimizer=SGD
    )


def conditional() -> BFN:
    extra = ExtraInputs(condition=ClassCondition(10, dropout=0.3))
    net = BFNMLP(IMAGE, 1, 2, width=16, depth=1, extra_inputs=extra)
    codec, sampler = QuantisedImages(17, levels=17), SDESolver()
    return BFN(DiscretisedFlow(17, 0.05), net, codec, optimizer=SGD, sampler=sampler, guidance_scale=2.0)


def inpainting() -> BFN:
    net = BFNMLP(IMAGE, 1, 1, width=16, depth=1, extra_inputs=ExtraInputs(known=True))
    steps = {"train_steps": 10, "grid": PowerGrid(1.5)}
    return BFN(DiscreteFlow(2, 4.0), net, BinaryImages(17), optimizer=SGD, known=BoxUnknown(), **steps)


def words() -> BFN:
    extra = ExtraInputs(self_conditioning=True)
    net = BFNConvNet((8,), 27, 27, width=16, dilations=(1, 2), extra_inputs=extra)
    codec = Tokens("_abcdefghijklmnopqrstuvwxyz", padding="_")
    return BFN(DiscreteFlow(27, schedule=EntropySchedule(27)), net, codec, optimizer=SGD)


def mixed() -> BFN:
    steps = [QuadraticSchedule(400.0 + 100.0 * i) for i in range(8)]
    flows = {
        "measurements": ContinuousFlow(schedule=PerVariableSchedule(steps)),
        "age": DiscretisedFlow(61, 0.05),
        "sex": DiscreteFlow(2, 6.0),
        "progression": DiscretisedFlow(322, 0.05),
    }
    codecs = {
        "measurements": RealColumns(list(FIELDS["measurements"].low), list(FIELDS["measurements"].high)),
        "age": IntegerColumns(19, 79),
        "sex": ClassColumns(2),
        "progression": IntegerColumns(25, 346),
    }
    extra, shapes = ExtraInputs(known=True, self_conditioning=True), {"measurements": (8,)}
    fields = {
        name: FieldShape(shapes.get(name, (1,)), flow.inputs_per_variable, flow.outputs_per_variable)
        for name, flow in flows.items()
    }
    net = BFNMixedMLP(fields, width=16, depth=1, extra_inputs=extra)
    return BFN(MixedFlow(flows), net, FieldsCodec(codecs), optimizer=SGD, known=RandomKnown())


MODELS: dict[str, Callable[[], BFN]] = {
    "binary": binary,
    "discretised": discretised,
    "continuous": continuous,
    "text": text,
    "conditional": conditional,
    "inpainting": inpainting,
    "words": words,
    "mixed": mixed,
}


def data(name: str, batch_size: int = 16, num_workers: int = 0) -> BaseDataModule:
    """The embedded data that the model of this name is made for."""
    loading = {"batch_size": batch_size, "num_workers": num_workers}
    if name == "text":
        return EnglishTextDataModule(length=16, **loading)
    if name == "words":
        return EnglishWordsDataModule(length=8, **loading)
    return DiabetesDataModule(**loading) if name == "mixed" else DigitsDataModule(**loading)


def batch(name: str, rows: int) -> object:
    """One batch of made-up data for the model of this name."""
    generator = torch.Generator().manual_seed(0)
    if name == "text":
        return torch.randint(0, 27, (rows, 16), generator=generator).to(torch.uint8)
    if name == "words":
        letters = torch.randint(1, 27, (rows, 8), generator=generator)
        return letters.masked_fill(torch.arange(8) > torch.arange(rows)[:, None] % 6 + 2, 0).to(torch.uint8)
    if name == "mixed":
        low, high = torch.tensor([FIELDS["measurements"].low, FIELDS["measurements"].high])
        return {
            "measurements": torch.lerp(low, high, torch.rand(rows, 8, generator=generator)),
            "age": torch.randint(19, 80, (rows, 1), generator=generator),
            "sex": torch.randint(0, 2, (rows, 1), generator=generator),
            "progression": torch.randint(25, 347, (rows, 1), generator=generator),
        }
    images = torch.randint(0, 17, (rows, 1, 8, 8), generator=generator).to(torch.uint8)
    return [images, torch.arange(rows) % 10]
