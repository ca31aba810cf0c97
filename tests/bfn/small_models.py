"""Small models of every kind of data, for tests of training."""

import functools
from collections.abc import Callable

import torch

from graves_bfn import (
    BFN,
    BFNMLP,
    BFNConvNet,
    BFNUNet,
    BinaryImages,
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    QuantisedImages,
    Tokens,
)
from graves_core import DigitsDataModule, EnglishTextDataModule

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


MODELS: dict[str, Callable[[], BFN]] = {
    "binary": binary,
    "discretised": discretised,
    "continuous": continuous,
    "text": text,
}


def data(name: str, batch_size: int = 16, num_workers: int = 0) -> DigitsDataModule | EnglishTextDataModule:
    """The embedded data that the model of this name is made for."""
    if name == "text":
        return EnglishTextDataModule(length=16, batch_size=batch_size, num_workers=num_workers)
    return DigitsDataModule(batch_size=batch_size, num_workers=num_workers)


def batch(name: str, rows: int) -> object:
    """One batch of made-up data for the model of this name."""
    generator = torch.Generator().manual_seed(0)
    if name == "text":
        return torch.randint(0, 27, (rows, 16), generator=generator).to(torch.uint8)
    images = torch.randint(0, 17, (rows, 1, 8, 8), generator=generator).to(torch.uint8)
    return [images, torch.zeros(rows, dtype=torch.long)]
