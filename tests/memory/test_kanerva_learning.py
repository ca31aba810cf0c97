"""What the models of images learn on black and white digits; takes a minute or two of processor time each."""

import pytest
import torch
from torch import Tensor

from graves_core import DigitsDataModule
from graves_memory.layers.images.likelihoods import BinaryPixels
from graves_memory.layers.images.mlp import MLPImageDecoder, MLPImageEncoder
from graves_memory.layers.kanerva import AddressNetwork, KanervaMemory
from graves_memory.module.dynamic import DynamicKanervaMachine
from graves_memory.module.images import ImageEpisodeModel
from graves_memory.module.kanerva import KanervaMachine
from graves_memory.module.vae import ImageVAE

SHAPE, ITEMS, BATCH = (1, 8, 8), 16, 16
Parts = tuple[MLPImageEncoder, MLPImageDecoder, BinaryPixels]


def parts() -> Parts:
    return MLPImageEncoder(SHAPE, 128), MLPImageDecoder(SHAPE, 16, size=128), BinaryPixels(levels=17)


def digits() -> tuple[Tensor, Tensor]:
    """The first 1,500 images and the other 297."""
    data = DigitsDataModule()
    images = torch.cat([data.read(part)[0] for part in ("train", "test")])
    return images[:1500], images[1500:]


def episodes(images: Tensor, generator: torch.Generator) -> Tensor:
    rows = [torch.randperm(len(images), generator=generator)[:ITEMS] for _ in range(BATCH)]
    return images[torch.stack(rows)]


def trained(model: ImageEpisodeModel, steps: int) -> ImageEpisodeModel:
    images, generator = digits()[0], torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        loss = model.objective(model.losses(episodes(images, generator)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def nats_of_test(model: ImageEpisodeModel) -> float:
    images, generator = digits()[1], torch.Generator().manual_seed(1)
    found = [model.losses(episodes(images, generator), generator).nelbo.mean() for _ in range(20)]
    return float(torch.stack(found).mean())


@pytest.mark.slow
def test_a_memory_explains_images_a_tenth_better_than_an_autoencoder_of_the_same_parts() -> None:
    torch.manual_seed(0)
    autoencoder = nats_of_test(trained(ImageVAE(*parts()), steps=4000))
    machine = KanervaMachine(*parts(), KanervaMemory(16, 16), AddressNetwork(16, 16))
    assert nats_of_test(trained(machine, steps=4000)) < 0.9 * autoencoder


@pytest.mark.slow
def test_every_further_reading_mends_more_of_a_damaged_image() -> None:
    torch.manual_seed(0)
    memory = KanervaMemory(16, 16, covariance="scalar", train_noise=False)
    model = trained(DynamicKanervaMachine(*parts(), memory), steps=2000)
    images, generator, share = digits()[1], torch.Generator().manual_seed(2), 0.2
    wrong = torch.zeros(4)
    for _ in range(40):
        clean = episodes(images, generator)
        memory = model.write(clean, generator)
        pixels = model.prepare(clean)
        flipped = torch.rand(pixels.shape, generator=generator) < share
        damaged = torch.where(flipped, 1 - pixels, pixels)
        read = model.read(memory, (16 * damaged).to(torch.uint8), 3, reliability=1 - share)
        for number, result in enumerate([damaged, *read]):
            wrong[number] += ((result > 0.5) != (pixels > 0.5)).float().mean()
    assert (wrong.diff() < 0).all()
