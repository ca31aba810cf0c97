"""The picture of accesses: a row of the memory below another, and time across."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from graves_core.plots import COLOURS, GRID, INK, LINE, SMALL, TEXT, TITLE, new_figure, pixels
from graves_core.strips import MARGIN, Strip, draw_strip, strip_height
from graves_memory.callbacks.accesses import Accesses

WRITE, READ = COLOURS[1], COLOURS[0]
TALL, LOW, NUMBERED = 0.13, 0.07, 32
"""Inches of a row of a small memory and of a large one, and up to how many rows are numbered."""

Panel = Strip | UInt8[Tensor, "time channels height width"]


def access_chart(
    panels: Mapping[str, Strip | Tensor], found: Accesses, title: str, threshold: float = 0.05, most: int = 64
) -> UInt8[Tensor, "3 height width"]:
    """Draws what a network read and said, and below it where it wrote and read at the same steps.

    Needs `pip install "graves-memory[plots]"`.

    Args:
        panels: above, by name: strips, or images `(time, channels, height, width)` as bytes.
        found: what the network did to its memory.
        title: a line above.
        threshold: weights up to which an access is not shown.
        most: how many rows are shown at most, those that were written first.

    Raises:
        ImportError: when matplotlib is not installed.

    Example:
        >>> import torch
        >>> nothing = torch.zeros(1, 3)
        >>> found = Accesses(torch.tensor([5]), torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 0, 0.8]]))
        >>> access_chart({"inputs": Strip(torch.eye(3), "abc")}, found, "remembered").shape[2]
        880
    """
    shown = min(len(found.rows), most)
    heights = [strip_height(panel) if isinstance(panel, Strip) else MARGIN + 0.4 for panel in panels.values()]
    heights.append(MARGIN + max(shown, 1) * (TALL if shown <= NUMBERED else LOW))
    figure = new_figure("access_chart", sum(heights) + 0.75)
    *above, below = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (name, panel) in zip(above, panels.items(), strict=True):
        if isinstance(panel, Strip):
            draw_strip(axes, name, panel)
        else:
            _draw_images(axes, name, panel)
    _draw_memory(below, Accesses(*(part[:shown] for part in found)), threshold)
    hidden = len(found.rows) - shown
    below.set_title(f"rows of the memory{f', {hidden} more not shown' if hidden else ''}", **_left())
    figure.suptitle(title, fontsize=TITLE, color=INK)
    _legend(figure)
    return pixels(figure)


def _draw_memory(axes: Any, found: Accesses, threshold: float) -> None:
    """Squares for writing, dots for reading, and lines from the one to the other."""
    rows, steps = found.writes.shape
    last = {(row, written): read for row, written, read in found.links(threshold)}
    for (row, written), read in last.items():
        axes.plot((written, read), (row, row), color=READ, alpha=0.25, linewidth=1, zorder=2)
    if rows:
        _draw_writes(axes, found.writes.numpy() * (found.writes > threshold).numpy())
    down, across = (found.reads > threshold).nonzero().unbind(1)
    axes.scatter(across, down, 16 * found.reads[down, across], READ, linewidths=0, zorder=4)
    axes.set(xlim=(-0.5, steps - 0.5), ylim=(max(rows, 1) - 0.5, -0.5))
    places = range(rows) if rows <= NUMBERED else range(0, rows, 8)
    axes.set_yticks(places, [str(found.rows[place].item()) for place in places])
    axes.tick_params(labelsize=SMALL, labelcolor=INK, color=LINE, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("time step", fontsize=TEXT, color=INK)
    for spine in axes.spines.values():
        spine.set(color=LINE, linewidth=0.6)


def _draw_writes(axes: Any, weights: Any) -> None:
    """Squares that are the more opaque the larger the weight."""
    from matplotlib.colors import to_rgb

    rows, steps = weights.shape
    image = np.empty((rows, steps, 4))
    image[..., :3] = to_rgb(WRITE)
    image[..., 3] = weights.clip(0, 1)
    extent = (-0.5, steps - 0.5, rows - 0.5, -0.5)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=extent, zorder=3)


def _draw_images(axes: Any, name: str, images: Tensor) -> None:
    """One image below the other's title, as wide as its step."""
    for step, image in enumerate(images.cpu()):
        colours = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
        axes.imshow(colours, aspect="auto", extent=(step - 0.46, step + 0.46, -0.5, 0.5))
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])
    axes.set_title(name, **_left())
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    kinds: Any = [
        Line2D([], [], color=WRITE, marker="s", linestyle="", markersize=5),
        Line2D([], [], color=READ, marker="o", linestyle="", markersize=4),
        Line2D([], [], color=READ, alpha=0.25, linewidth=1),
    ]
    names = ["written", "read", "from the last writing to the reading"]
    style = {"frameon": False, "fontsize": SMALL, "labelcolor": INK, "handletextpad": 0.4}
    figure.legend(kinds, names, loc="outside lower center", ncols=3, **style)


def _left() -> dict[str, Any]:
    return {"fontsize": TEXT, "color": INK, "loc": "left", "pad": 3}
