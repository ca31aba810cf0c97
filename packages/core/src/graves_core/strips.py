"""Sequences as strips: which symbol at which step, and with what probability."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from graves_core.plots import INK, LINE, SMALL, TEXT, TITLE, new_figure, pixels

ROW, LOW, MARGIN = 0.16, 0.08, 0.34
"""Inches: the height of a symbol with a name, that of one without, and what a panel needs besides."""


class Strip(NamedTuple):
    """Numbers from 0 to 1 per symbol and step.

    Attributes:
        values: 0 is drawn white, 1 dark.
        symbols: what the rows are; empty names for those that need none.
    """

    values: Float[Tensor, "symbols time"]
    symbols: Sequence[str]


def strip_chart(strips: Mapping[str, Strip], title: str) -> UInt8[Tensor, "3 height width"]:
    """Draws strips below one another over common time steps. Needs `pip install "graves-core[plots]"`.

    Args:
        strips: at least one, by name, all with equally many steps.
        title: a line above.

    Raises:
        ImportError: when matplotlib is not installed.

    Example:
        >>> import torch
        >>> strip_chart({"inputs": Strip(torch.eye(3), "abc")}, "three letters").shape[2]
        880
    """
    heights = [strip_height(strip) for strip in strips.values()]
    figure = new_figure("strip_chart", sum(heights) + 0.5)
    panels = figure.subplots(len(strips), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for panel, (name, strip) in zip(panels, strips.items(), strict=True):
        draw_strip(panel, name, strip)
    panels[-1].set_xlabel("time step", fontsize=TEXT, color=INK)
    figure.suptitle(title, fontsize=TITLE, color=INK)
    return pixels(figure)


def strip_height(strip: Strip) -> float:
    """Inches that a strip takes, with its title.

    Args:
        strip: to be drawn.
    """
    return MARGIN + (ROW if any(strip.symbols) else LOW) * len(strip.symbols)


def draw_strip(panel: Any, name: str, strip: Strip) -> None:
    """Draws a strip into axes of matplotlib; step `t` is at `t` across.

    Args:
        panel: the axes.
        name: a line above.
        strip: what to draw.
    """
    rows, steps = strip.values.shape
    edges = np.arange(steps + 1) - 0.5, np.arange(rows + 1) - 0.5
    style = {"cmap": "Blues", "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidth": min(1, 40 / steps)}
    panel.pcolormesh(*edges, strip.values.float().cpu().numpy(), **style)
    panel.invert_yaxis()
    named = any(strip.symbols)
    panel.set_yticks(range(rows) if named else [], strip.symbols if named else [])
    panel.set_title(name, fontsize=TEXT, color=INK, loc="left", pad=3)
    panel.tick_params(labelsize=SMALL, labelcolor=INK, color=LINE, length=0)
    for spine in panel.spines.values():
        spine.set(color=LINE, linewidth=0.6)
