"""Grids and picture files, read back by Pillow."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_core.pictures import image_grid, save_gif, save_png, visible_scale


def numbers(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@given(
    count=st.integers(1, 10),
    channels=st.sampled_from([1, 3]),
    columns=st.one_of(st.none(), st.integers(1, 12)),
    padding=st.integers(0, 3),
)
def test_every_image_stands_at_its_place(count, channels, columns, padding):
    images = numbers(count, channels, 4, 5)
    grid = image_grid(images, columns, padding, pad_value=7)
    across = (grid.shape[2] - padding) // (5 + padding)
    assert columns is None or across == min(columns, count)
    covered = torch.full_like(grid, 7)
    for index, image in enumerate(images):
        top = padding + index // across * (4 + padding)
        left = padding + index % across * (5 + padding)
        covered[:, top : top + 4, left : left + 5] = image
    assert torch.equal(grid, covered)


def test_a_grid_is_as_square_as_can_be():
    assert image_grid(numbers(16, 1, 4, 4), padding=0).shape == (1, 16, 16)
    assert image_grid(numbers(5, 1, 4, 4), padding=0).shape == (1, 8, 12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_png_files_hold_every_pixel(tmp_path, channels, scale):
    from PIL import Image

    image = numbers(channels, 6, 4)
    path = save_png(image, tmp_path / "new" / "folder" / "image.png", scale)
    with Image.open(path) as read:
        assert read.size == (4 * scale, 6 * scale)
        pixels = torch.tensor(list(read.getdata())).reshape(6 * scale, 4 * scale, channels)
    assert torch.equal(pixels[::scale, ::scale].permute(2, 0, 1), image.long())
    assert torch.equal(pixels[scale - 1 :: scale, scale - 1 :: scale].permute(2, 0, 1), image.long())


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_files_hold_every_frame(tmp_path, channels):
    from PIL import Image

    frames = torch.stack([torch.full((channels, 6, 4), value, dtype=torch.uint8) for value in (0, 90, 255)])
    path = save_gif(frames, str(tmp_path / "frames.gif"), milliseconds=70, scale=2)
    with Image.open(path) as read:
        assert (read.n_frames, read.size, read.info["duration"]) == (3, (8, 12), 70)
        assert read.info["loop"] == 0
        shown = []
        for index in range(3):
            read.seek(index)
            shown.append(read.convert("L").getpixel((3, 3)))
    assert shown == pytest.approx([0, 90, 255], abs=2)


def test_small_images_are_enlarged_as_far_as_they_fit():
    assert visible_scale(numbers(1, 28, 30)) == 17
    assert visible_scale(numbers(3, 2000, 10)) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: image_grid(numbers(0, 1, 4, 4)), "at least one image, got 0"),
        (lambda _: image_grid(numbers(2, 1, 4, 4), columns=0), "columns must be at least 1 or None, got 0"),
        (lambda _: image_grid(numbers(2, 1, 4, 4), padding=-1), "padding must be at least 0, got -1"),
        (
            lambda _: image_grid(numbers(2, 1, 4, 4), pad_value=256),
            "pad_value must be from 0 to 255",
        ),
        (lambda path: save_png(numbers(2, 4, 4), path / "x.png"), "1 or 3 channels, got 2"),
        (lambda path: save_png(numbers(1, 4, 4), path / "x.png", 0), "scale must be at least 1, got 0"),
        (lambda path: save_gif(numbers(0, 1, 4, 4), path / "x.gif"), "frames must hold at least one image"),
        (lambda path: save_gif(numbers(2, 1, 4, 4), path / "x.gif", 5), "milliseconds must be at least 10"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())
