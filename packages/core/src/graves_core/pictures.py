"""Pictures of tensors: grids, PNG files and animations."""

from math import ceil, sqrt
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor


def image_grid(
    images: UInt8[Tensor, "count channels height width"],
    columns: int | None = None,
    padding: int = 2,
    pad_value: int = 255,
) -> UInt8[Tensor, "channels grid_height grid_width"]:
    """Lays images out in rows, from left to right and from top to bottom, with lines between and around.

    Args:
        images: at least one image.
        columns: images per row; `None` makes the grid as square as can be.
        padding: width of the lines, in pixels.
        pad_value: brightness of the lines, and of places without an image, from 0 to 255.

    Returns:
        The grid as one image.

    Raises:
        ValueError: when there is no image, or an argument is out of range.

    Example:
        >>> import torch
        >>> image_grid(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), columns=3).shape
        torch.Size([1, 62, 92])
    """
    count, channels, height, width = images.shape
    if count == 0:
        raise ValueError("images must hold at least one image, got 0")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1 or None, got {columns}")
    if padding < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    if not 0 <= pad_value <= 255:
        raise ValueError(f"pad_value must be from 0 to 255, got {pad_value}")
    across = min(columns or ceil(sqrt(count)), count)
    down = ceil(count / across)
    cells = images.new_full((down * across, channels, height + padding, width + padding), pad_value)
    cells[:count, :, padding:, padding:] = images
    cells = cells.reshape(down, across, *cells.shape[1:]).permute(2, 0, 3, 1, 4)
    inner = cells.flatten(3, 4).flatten(1, 2)
    grid = images.new_full((channels, inner.shape[1] + padding, inner.shape[2] + padding), pad_value)
    grid[:, : inner.shape[1], : inner.shape[2]] = inner
    return grid


def save_png(image: UInt8[Tensor, "channels height width"], path: Path | str, scale: int = 1) -> Path:
    """Writes an image as a PNG file; the folder is made if need be.

    Args:
        image: 1 channel for grey, 3 for colours.
        path: where to.
        scale: number of pixels, across and down, that show one pixel.

    Returns:
        `path`.

    Raises:
        ValueError: when the number of channels is neither 1 nor 3, or `scale` is less than 1.

    Example:
        >>> import tempfile, torch
        >>> save_png(torch.zeros(1, 8, 8, dtype=torch.uint8), Path(tempfile.mkdtemp()) / "black.png").name
        'black.png'
    """
    path = Path(path)
    picture = _picture(image, scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG")
    return path


def save_gif(
    frames: UInt8[Tensor, "time channels height width"],
    path: Path | str,
    milliseconds: int = 100,
    scale: int = 1,
) -> Path:
    """Writes an animation as a GIF file that repeats for ever; the folder is made if need be.

    Args:
        frames: at least one image, of 1 channel for grey or 3 for colours.
        path: where to.
        milliseconds: how long each frame is shown; GIF counts in steps of 10.
        scale: number of pixels, across and down, that show one pixel.

    Returns:
        `path`.

    Raises:
        ValueError: when there is no frame, or an argument is out of range.
    """
    if len(frames) == 0:
        raise ValueError("frames must hold at least one image, got 0")
    if milliseconds < 10:
        raise ValueError(f"milliseconds must be at least 10, got {milliseconds}")
    path = Path(path)
    first, *others = [_picture(frame, scale) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return path


def visible_scale(image: Tensor, pixels: int = 512) -> int:
    """Chooses the scale at which a small image can be looked at.

    Args:
        image: any tensor whose last two dimensions are height and width.
        pixels: largest height and width of the enlarged image.

    Returns:
        The largest scale that fits; 1 for an image that is larger already.

    Example:
        >>> import torch
        >>> visible_scale(torch.zeros(3, 62, 92))
        5
    """
    return max(1, pixels // max(image.shape[-2:]))


def _picture(image: Tensor, scale: int) -> Any:
    from PIL import Image

    if image.shape[0] not in (1, 3):
        raise ValueError(f"an image must have 1 or 3 channels, got {image.shape[0]}")
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    large = image.detach().cpu().repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    pixels = large.squeeze(0) if len(large) == 1 else large.permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())
