"""Sequences as strips: which symbol at which step, and with what probability."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from graves_core.plots import DPI, INK, LINE, SMALL, TEXT, TITLE, WIDTH

ROW, MARGIN = 0.16, 0.34
"""Inches: the height of a symbol, and what a panel needs besides."""


class Strip(NamedTuple):
    """Numbers from 0 to 1 per symbol and step.

    Attributes:
        values: 0 is drawn white, 1 dark.
        symbols: what the rows are.
    """

    values: Float[Tensor, "symbols time"]
    symbols: Sequence[str]


def strip_chart(strips: Mapping[str, Strip], title: str) -> UInt8[Tensor, "3 height width"]:
    """Draws strips below one another over common time steps. Needs matplotlib.

    Args:
        strips: at least one, by name, all with equally many steps.
        title: a line above.

    Raises:
        ImportError: when matplotlib is not installed.

    Example:
        >>> strip_chart({"inputs": Strip(torch.eye(3), "abc")}, "three letters").shape[2]
        880
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('strip_chart needs: pip install "graves-rnn-training[plots]"') from error
    heights = [MARGIN + ROW * len(strip.symbols) for strip in strips.values()]
    figure: Any = Figure((WIDTH, sum(heights) + 0.5), DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(len(strips), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for panel, (name, strip) in zip(panels, strips.items(), strict=True):
        _draw(panel, name, strip)
    panels[-1].set_xlabel("time step", fontsize=TEXT, color=INK)
    figure.suptitle(title, fontsize=TITLE, color=INK)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _draw(panel: Any, name: str, strip: Strip) -> None:
    rows, steps = strip.values.shape
    edges = np.arange(steps + 1) - 0.5, np.arange(rows + 1) - 0.5
    style = {"cmap": "Blues", "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidth": min(1, 40 / steps)}
    panel.pcolormesh(*edges, strip.values.float().cpu().numpy(), **style)
    panel.invert_yaxis()
    panel.set_yticks(range(rows), strip.symbols)
    panel.set_title(name, fontsize=TEXT, color=INK, loc="left", pad=3)
    panel.tick_params(labelsize=SMALL, labelcolor=INK, color=LINE, length=0)
    for spine in panel.spines.values():
        spine.set(color=LINE, linewidth=0.6)
