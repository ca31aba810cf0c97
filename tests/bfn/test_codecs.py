import math

import pytest
import torch

from graves_bfn import BinaryImages, QuantisedImages, Tokens
from graves_core.data import DataSpec

IMAGES = DataSpec("image", (3, 4, 5), levels=256)
TEXT = DataSpec("text", (7,), levels=3, symbols="ab ")


def test_binarisation_follows_the_intensities_and_is_fresh_at_every_access() -> None:
    intensity, count = 64, 40_000
    batch = [torch.full((count, 1, 1, 1), intensity, dtype=torch.uint8), None]
    generator = torch.Generator().manual_seed(0)
    first, second = (BinaryImages().encode(batch, generator=generator) for _ in range(2))
    p = intensity / 255
    for x in (first, second):
        assert abs(x.float().mean() - p) < 4 * math.sqrt(p * (1 - p) / count)
    assert not first.equal(second)


def test_images_change_to_channels_last_and_back() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    codec = QuantisedImages(num_bins=256)
    x = codec.encode([images, None])
    assert x.shape == (2, *codec.data_shape(IMAGES)) == (2, 4, 5, 3)
    assert codec.images(x).equal(images)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_bin_per_level_loses_nothing(levels: int) -> None:
    values = torch.arange(levels, dtype=torch.uint8).reshape(1, 1, 1, -1)
    codec = QuantisedImages(num_bins=levels, levels=levels)
    shown = codec.images(codec.encode([values, None])).flatten()
    assert shown.equal((torch.arange(levels) * 255 / (levels - 1)).round().to(torch.uint8))


def test_probabilities_of_binary_pixels_are_shown_as_grey() -> None:
    shown = BinaryImages().images(torch.tensor([[[[0.0], [0.5], [1.0]]]]))
    assert shown.flatten().tolist() == [0, 128, 255]


def test_tokens_become_their_letters() -> None:
    codec = Tokens("ab ")
    x = codec.encode(torch.tensor([[1, 2, 0]], dtype=torch.uint8))
    assert x.dtype == torch.int64
    assert codec.texts(x) == ["b a"]
    assert codec.data_shape(TEXT) == (7,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BinaryImages(levels=1), "levels must lie in 2..256, not 1"),
        (lambda: QuantisedImages(num_bins=1), "num_bins must be at least 2, not 1"),
        (lambda: Tokens("aa"), "symbols must be at least 2 different characters"),
        (
            lambda: BinaryImages(levels=17).data_shape(IMAGES),
            "levels=17, but the DataModule's values have 256",
        ),
        (lambda: BinaryImages().data_shape(TEXT), "made for image data, but the DataModule yields text"),
        (lambda: Tokens("ab").data_shape(TEXT), "levels=2, but the DataModule's values have 3"),
        (lambda: Tokens("ba ").data_shape(TEXT), "symbols='ba ', but the DataModule's are 'ab '"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
