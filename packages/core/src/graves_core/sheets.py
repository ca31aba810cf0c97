"""Pictures in rows and columns with names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

WIDTH, CELL, GAP, TEXT = 1200, 200, 12, 18
INK, OUTLINE = "#333333", "#D9D9D9"


def labelled_sheet(
    cells: Sequence[Sequence[UInt8[Tensor, "channels height width"]]],
    rows: Sequence[str],
    columns: Sequence[str],
    cell: int = CELL,
) -> UInt8[Tensor, "3 sheet_height sheet_width"]:
    """Lays pictures of one size out in rows and columns, with names at the left and above.

    Args:
        cells: the pictures of each row, of 1 channel for grey or 3 for colours.
        rows: names of the rows.
        columns: names of the columns.
        cell: pixels across that a picture is enlarged to at most.

    Returns:
        The sheet; the pixels of small pictures are enlarged as far as it is about 1200 pixels wide.

    Example:
        >>> black = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> labelled_sheet([[black, black]], ["a row"], ["one", "two"]).shape[0]
        3
    """
    from PIL import Image, ImageDraw, ImageFont

    font: Any = ImageFont.load_default(TEXT)
    height, width = cells[0][0].shape[1:]
    scale = max(1, min(WIDTH // len(columns), cell) // width)
    across, down = width * scale + GAP, height * scale + GAP
    left = GAP + round(max(font.getlength(name) for name in rows))
    top = 2 * TEXT if any(columns) else GAP
    size = left + across * len(columns) + GAP, top + down * len(rows)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for j, name in enumerate(columns):
        draw.text((left + GAP + j * across + width * scale / 2, top / 2), name, INK, font, "mm")
    for i, (name, row) in enumerate(zip(rows, cells, strict=True)):
        draw.text((left, top + i * down + height * scale / 2), name, INK, font, "rm")
        for j, picture in enumerate(row):
            place = left + GAP + j * across, top + i * down
            draw.rectangle(
                (place[0] - 1, place[1] - 1, place[0] + width * scale, place[1] + height * scale),
                outline=OUTLINE,
            )
            sheet.paste(Image.fromarray(_pixels(picture, scale)), place)
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).contiguous()


def _pixels(picture: Tensor, scale: int) -> np.ndarray:
    large = picture.cpu().expand(3, -1, -1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    pixels: np.ndarray = large.permute(1, 2, 0).contiguous().numpy()
    return pixels
