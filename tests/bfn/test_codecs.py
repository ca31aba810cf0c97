import math

import pytest
import torch

from graves_bfn import BinaryImages, Codec, QuantisedImages, Tokens
from graves_core.data import DataSpec

IMAGES = DataSpec("image", (3, 4, 5), levels=256)
TEXT = DataSpec("text", (7,), levels=3, symbols="ab ")
PADDED = DataSpec("text", (7,), levels=3, symbols="_ab", padding=0)


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


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_decoded_bins_are_the_pixels_of_the_data_module(levels: int) -> None:
    values = torch.arange(levels, dtype=torch.uint8).reshape(1, 1, 1, -1).expand(2, 3, 1, -1)
    codec = QuantisedImages(num_bins=levels, levels=levels)
    assert codec.decode(codec.encode(values)).equal(values)


def test_decoded_binary_pixels_are_paper_or_ink_of_the_data_module() -> None:
    values = torch.tensor([0, 16, 16, 0], dtype=torch.uint8).reshape(1, 1, 2, 2)
    codec = BinaryImages(levels=17)
    assert codec.decode(codec.encode([values, None])).equal(values)


@pytest.mark.parametrize("codec", [BinaryImages(), QuantisedImages()])
def test_labels_of_a_batch_are_its_condition(codec: Codec) -> None:
    images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([4, 0, 9])
    for batch in ([images, labels], (images, labels)):
        condition = codec.condition(batch)
        assert condition is not None
        assert condition.equal(labels)


@pytest.mark.parametrize("codec", [BinaryImages(), QuantisedImages()])
def test_batch_without_labels_has_no_condition(codec: Codec) -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert [codec.condition(batch) for batch in (images, [images], [images, None])] == [None] * 3


def test_padding_is_not_valid() -> None:
    batch = torch.tensor([[1, 2, 0, 0], [2, 1, 1, 2]], dtype=torch.uint8)
    valid = Tokens("_ab", padding="_").valid(batch)
    assert valid is not None
    assert valid.tolist() == [[True, True, False, False], [True, True, True, True]]


def test_without_a_padding_symbol_everything_is_valid() -> None:
    assert Tokens("_ab").valid(torch.zeros(1, 4, dtype=torch.uint8)) is None


def test_padding_is_stripped_from_the_end_of_a_line_alone() -> None:
    x = torch.tensor([[0, 1, 0, 2, 0, 0], [0, 0, 0, 0, 0, 0]])
    assert Tokens("_ab", padding="_").texts(x) == ["_a_b", ""]
    assert Tokens("_ab").texts(x) == ["_a_b__", "______"]


def test_padded_text_fits_with_its_padding_or_with_all_symbols_modelled() -> None:
    assert Tokens("_ab", padding="_").data_shape(PADDED) == Tokens("_ab").data_shape(PADDED) == (7,)


def test_codec_needs_no_more_than_encode_and_data_shape() -> None:
    class Vectors(Codec):
        def encode(self, batch: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
            return batch

        def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
            return spec.shape

    codec, x = Vectors(), torch.ones(2, 3)
    assert codec.decode(x) is x
    assert [codec.condition(x), codec.valid(x), codec.images(x), codec.texts(x)] == [None] * 4
    assert codec.unit == "dim"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BinaryImages(levels=1), "levels must lie in 2..256, not 1"),
        (lambda: QuantisedImages(num_bins=1), "num_bins must be at least 2, not 1"),
        (lambda: Tokens("aa"), "symbols must be at least 2 different characters"),
        (lambda: Tokens("ab", padding="_"), "padding must be one of the symbols 'ab' or None, not '_'"),
        (lambda: Tokens("abc", padding="ab"), "padding must be one of the symbols 'abc' or None, not 'ab'"),
        (lambda: Tokens("_ab", padding="a").data_shape(PADDED), "padding='a', but the DataModule's is '_'"),
        (lambda: Tokens("ab ", padding="a").data_shape(TEXT), "padding='a', but the DataModule's is None"),
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
