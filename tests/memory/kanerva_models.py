"""Tiny models of images, and episodes for them."""

import functools

import torch
from torch import Tensor

from graves_core import DigitsDataModule
from graves_memory.data.episodes import ImageEpisodesDataModule
from graves_memory.layers.images.likelihoods import BinaryPixels, LogisticPixels, PixelLikelihood
from graves_memory.layers.images.mlp import MLPImageDecoder, MLPImageEncoder
from graves_memory.layers.kanerva import AddressNetwork, KanervaMemory
from graves_memory.module.dynamic import DynamicKanervaMachine
from graves_memory.module.images import ImageEpisodeModel
from graves_memory.module.kanerva import KanervaMachine
from graves_memory.module.vae import ImageVAE

SHAPE = (1, 8, 8)
ADAM = functools.partial(torch.optim.Adam, lr=3e-3)

Parts = tuple[MLPImageEncoder, MLPImageDecoder, PixelLikelihood]


def parts(likelihood: PixelLikelihood | None = None, size: int = 24, code_size: int = 5) -> Parts:
    likelihood = likelihood or BinaryPixels(levels=17)
    decoder = MLPImageDecoder(SHAPE, code_size, likelihood.outputs_per_value, size)
    return MLPImageEncoder(SHAPE, size), decoder, likelihood


def kanerva(likelihood: PixelLikelihood | None = None, read: str = "mean", rows: int = 6) -> KanervaMachine:
    return KanervaMachine(
        *parts(likelihood),
        KanervaMemory(rows, code_size=5, covariance="full"),
        AddressNetwork(rows, size=4, key_size=3, hidden_size=8),
        hidden_size=7,
        read=read,
        optimizer=ADAM,
    )


def dynamic(likelihood: PixelLikelihood | None = None, write_iterations: int = 2) -> DynamicKanervaMachine:
    memory = KanervaMemory(rows=6, code_size=5, covariance="scalar", train_noise=False)
    return DynamicKanervaMachine(*parts(likelihood), memory, write_iterations, optimizer=ADAM)


def vae(likelihood: PixelLikelihood | None = None) -> ImageVAE:
    return ImageVAE(*parts(likelihood), optimizer=ADAM)


MODELS = {"kanerva": kanerva, "dynamic": dynamic, "vae": vae}


def stochastic(name: str) -> ImageEpisodeModel:
    return MODELS[name](BinaryPixels(17, "stochastic"))


def grey(name: str) -> ImageEpisodeModel:
    return MODELS[name](LogisticPixels(17))


def episodes(batch: int = 2, items: int = 3, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(17, (batch, items, *SHAPE), generator=draw).to(torch.uint8)


def data(batch_size: int = 8, length: int = 6, num_workers: int = 0) -> ImageEpisodesDataModule:
    return ImageEpisodesDataModule(
        DigitsDataModule(), length=length, batch_size=batch_size, num_workers=num_workers
    )
