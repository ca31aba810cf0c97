"""Charts as images: curves with errors and levels, and distributions of data beside those of samples."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from math import ceil, log10
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Blue, vermilion, green, purple, orange, sky: a palette that colour-blind people can tell apart."""
MARKERS = "osD^vP"
DASHES = ("-", "--", ":", "-.")
INK, LINE, GRID = "#333333", "#8C8C8C", "#E6E6E6"
AREA = {"label": "data", "facecolor": "#8FBFDD", "linewidth": 0, "fill": True}
OUTLINE = {"label": "samples", "edgecolor": COLOURS[1], "linewidth": 1.2, "fill": False}
WIDTH, DPI = 4.4, 200
TITLE, TEXT, SMALL = 9.5, 8.5, 7.5
FEW = 24
"""Curves with up to so many points show each of them, with a bar for its error; longer ones show a band."""


class Curve(NamedTuple):
    """Points of a curve, in the order in which they are joined.

    Attributes:
        x: where.
        y: the values.
        error: how far up and down each value is uncertain, if that is known.

    Example:
        >>> Curve([10, 100], [2.5, 1.5], error=[0.2, 0.1]).error
        [0.2, 0.1]
    """

    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None


def line_chart(
    curves: Mapping[str, Curve],
    x_label: str,
    y_label: str,
    title: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    levels: Mapping[str, float] | None = None,
) -> UInt8[Tensor, "3 height width"]:
    """Draws curves over common axes. Needs `pip install "graves-core[plots]"`.

    Args:
        curves: at least one, by name.
        x_label: what is across, with its unit.
        y_label: what is up, with its unit.
        title: a line above.
        log_x: logarithmic axis across.
        log_y: logarithmic axis up.
        levels: values to compare with (an entropy, a floor), drawn as dashed lines with their names.

    Returns:
        The picture, 880 pixels wide.

    Raises:
        ValueError: when there is nothing to draw, a curve's lengths differ, an error is negative, or a value
            cannot be shown on a logarithmic axis.
        ImportError: when matplotlib is not installed.

    Example:
        >>> curve = Curve([10, 25, 50], [0.9, 0.4, 0.3], error=[0.05, 0.02, 0.02])
        >>> line_chart({"ours": curve}, "steps", "distance", levels={"floor": 0.1}).shape
        torch.Size([3, 580, 880])
    """
    levels = levels or {}
    _check_curves(curves, levels, log_x, log_y)
    figure = new_figure("line_chart", 2.9)
    axes = figure.subplots()
    handles = [_draw_curve(axes, curve, index) for index, curve in enumerate(curves.values())]
    for value in levels.values():
        axes.axhline(value, color=LINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    axes.set_xlabel(x_label, fontsize=TEXT, color=INK)
    axes.set_ylabel(y_label, fontsize=TEXT, color=INK)
    axes.grid(color=GRID, linewidth=0.7)
    _clean(axes, ("left", "bottom"))
    if log_x:
        _log_axis(axes.xaxis, sorted({float(x) for curve in curves.values() for x in curve.x}))
    if log_y:
        _log_axis(axes.yaxis)
    _name_levels(axes, levels)
    _legend(figure, handles, list(curves), title)
    return pixels(figure)


def histogram_chart(
    columns: Mapping[str, tuple[Tensor, Tensor]],
    labels: tuple[str, str] = ("data", "samples"),
    bins: int = 30,
    discrete: Collection[str] = (),
) -> UInt8[Tensor, "3 height width"]:
    """Draws the distributions of data and samples over one another, in a panel for each column.

    Heights are densities, or shares of the values of discrete columns, and both of a panel are to one scale.
    The axis leaves out the outermost 0.5 % on either side; values there are counted in the outer bins.
    Needs `pip install "graves-core[plots]"`.

    Args:
        columns: at least one, by name: the values of the data and those of the samples, in any shape.
        labels: what the two are called.
        bins: how many bins a continuous column has.
        discrete: names of columns whose values are counted one by one, with bars side by side.

    Returns:
        The picture, 880 pixels wide.

    Raises:
        ValueError: when there is nothing to draw, `bins` is less than 1, a value is not finite, or `discrete`
            names no column.
        ImportError: when matplotlib is not installed.

    Example:
        >>> height = torch.linspace(150, 190, 100)
        >>> histogram_chart({"height": (height, height + 5)}, bins=10).shape
        torch.Size([3, 480, 880])
    """
    _check_columns(columns, bins, discrete)
    across = 2 if len(columns) == 4 else min(len(columns), 3 if len(columns) <= 9 else 4)
    down = ceil(len(columns) / across)
    figure = new_figure("histogram_chart", 0.3 + down * (2.1 if across == 1 else 1.2))
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for panel, (name, (data, samples)) in zip(panels, columns.items(), strict=False):
        both = _values(data), _values(samples)
        if name in discrete:
            _draw_shares(panel, *both, across)
        else:
            _draw_densities(panel, *both, bins, across)
        panel.set_title(name, fontsize=TEXT, color=INK)
        panel.set_yticks([])
        panel.set_ylim(bottom=0)
        _clean(panel, ("bottom",))
    for panel in panels[len(columns) :]:
        panel.remove()
    _legend(figure, panels[0].get_legend_handles_labels()[0], list(labels))
    return pixels(figure)


def check_plots(user: str, distribution: str) -> None:
    """Refuses to go on where no chart can be drawn, before any work is lost.

    Args:
        user: who wants to draw.
        distribution: whose extra `plots` brings what is missing, such as "graves-core".

    Raises:
        ImportError: naming the extra that is missing.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ImportError(f'{user} needs: pip install "{distribution}[plots]"')


def new_figure(user: str, height: float) -> Any:
    """A figure of matplotlib, white and as wide as all charts.

    Args:
        user: who wants to draw.
        height: in inches.

    Raises:
        ImportError: when matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{user} needs: pip install "graves-core[plots]"') from error
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")


def pixels(figure: Any) -> UInt8[Tensor, "3 height width"]:
    """A figure of matplotlib as a picture.

    Args:
        figure: what has been drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    colours = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(colours.transpose(2, 0, 1).copy())


def _clean(axes: Any, spines: tuple[str, ...]) -> None:
    """Leaves only some of the four lines around, and makes the rest quiet."""
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=SMALL, labelcolor=INK, color=LINE, length=2.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set(fontsize=SMALL, color=INK)
    for side, spine in axes.spines.items():
        spine.set(visible=side in spines, color=LINE)


def _legend(figure: Any, handles: list[Any], names: list[str], title: str | None = None) -> None:
    """Names what is drawn, above it and in one row if there is room, and below the title."""
    widths = [0.45 + 0.062 * len(name) for name in names]
    columns = len(names) if sum(widths) < WIDTH else max(1, int(WIDTH / max(widths)))
    quiet = {"frameon": False, "labelcolor": INK, "handlelength": 1.8, "columnspacing": 1.4}
    fonts = {"fontsize": TEXT, "title": title, "title_fontsize": TITLE}
    legend = figure.legend(handles, names, loc="outside upper center", ncols=columns, **quiet, **fonts)
    legend.get_title().set_color(INK)


def _draw_curve(axes: Any, curve: Curve, index: int) -> Any:
    """Draws a curve and its errors; returns what stands for it in the legend."""
    x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]
    few = len(x) <= FEW
    style = {"color": colour, "linestyle": dash, "linewidth": 1.6, "zorder": 3}
    if few:
        style |= {"marker": MARKERS[index % len(MARKERS)], "markersize": 4, "markeredgecolor": "white"}
        style |= {"markeredgewidth": 0.6}
    (line,) = axes.plot(x, y, **style)
    error = None if curve.error is None else np.asarray(curve.error, dtype=float)
    if error is not None and few:
        axes.errorbar(x, y, error, fmt="none", ecolor=colour, elinewidth=1, capsize=2, zorder=2.5)
    elif error is not None:
        axes.fill_between(x, y - error, y + error, color=colour, alpha=0.2, linewidth=0, zorder=2)
    return line


def _log_axis(axis: Any, marked: Sequence[float] = ()) -> None:
    """Makes an axis logarithmic, with numbers at `marked` places if they are few and far enough apart."""
    from matplotlib.ticker import FixedLocator, LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    decades = log10(high / low)
    if 2 <= len(marked) <= 9 and all(log10(b / a) > 0.07 * decades for a, b in pairwise(marked)):
        axis.set_major_locator(FixedLocator(marked))
    elif decades < 1:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    short = low >= 5e-5 and high < 1e7
    axis.set_major_formatter((lambda value, _: f"{value:.7g}") if short else LogFormatterMathtext())
    axis.set_minor_formatter(NullFormatter())


def _name_levels(axes: Any, levels: Mapping[str, float]) -> None:
    """Writes names beside their lines, at the right; those of close lines are moved apart."""
    axes.set_ylim(axes.get_ylim())
    to_axes = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[0]
    lowest = -1.0
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        place = max(to_axes.transform((x, value))[1], lowest)
        axes.text(1.015, place, name, transform=axes.transAxes, va="center", fontsize=SMALL, color="#666666")
        lowest = place + 0.07


def _draw_densities(panel: Any, data: Any, samples: Any, bins: int, across: int) -> None:
    ends = np.quantile(data, [0.005, 0.995]), np.quantile(samples, [0.005, 0.995])
    start, end = min(ends[0][0], ends[1][0]), max(ends[0][1], ends[1][1])
    if start == end:
        start, end = start - 0.5, end + 0.5
    edges = np.linspace(start, end, bins + 1)
    for x, style in ((data, AREA), (samples, OUTLINE)):
        panel.stairs(np.histogram(x.clip(start, end), edges, density=True)[0], edges, **style)
    panel.locator_params(axis="x", nbins=12 // across)
    panel.ticklabel_format(axis="x", scilimits=(-1, 4), useMathText=True)


def _draw_shares(panel: Any, data: Any, samples: Any, across: int) -> None:
    """Bars side by side, or outlines over one another where the values are too many for that."""
    values = np.union1d(data, samples)
    places = np.arange(len(values))
    for x, shift, style in ((data, -0.2, AREA), (samples, 0.2, OUTLINE)):
        shares = np.bincount(np.searchsorted(values, x), minlength=len(values)) / len(x)
        if len(values) <= 40 // across:
            panel.bar(places + shift, shares, 0.4, **style)
        else:
            panel.stairs(shares, np.arange(len(values) + 1) - 0.5, **style)
    names = [f"{value:g}" for value in values]
    every = ceil(len(names) * (max(map(len, names)) + 1) * across / 60)
    panel.set_xticks(places[::every], names[::every])


def _values(x: Tensor) -> Any:
    return x.detach().flatten().double().cpu().numpy()


def _check_curves(curves: Mapping[str, Curve], levels: Mapping[str, float], log_x: bool, log_y: bool) -> None:
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    for name, (x, y, error) in curves.items():
        lengths = [len(x), len(y), *([] if error is None else [len(error)])]
        if len(set(lengths)) > 1 or not lengths[0]:
            raise ValueError(f"curve {name!r} must have as many x as y and error, at least 1, not {lengths}")
        if error is not None and min(error) < 0:
            raise ValueError(f"curve {name!r} has a negative error, {min(error)}")
        for axis, values, log in (("x", x, log_x), ("y", y, log_y)):
            if log and min(values) <= 0:
                raise ValueError(f"curve {name!r} has {axis} = {min(values)} on a logarithmic axis")
    for name, level in levels.items():
        if log_y and level <= 0:
            raise ValueError(f"level {name!r} is {level} on a logarithmic axis")


def _check_columns(
    columns: Mapping[str, tuple[Tensor, Tensor]], bins: int, discrete: Collection[str]
) -> None:
    if not columns:
        raise ValueError("columns must hold at least one column, got none")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if unknown := set(discrete) - set(columns):
        raise ValueError(f"discrete must name columns out of {sorted(columns)}, got {sorted(unknown)}")
    for name, pair in columns.items():
        for values in pair:
            if values.numel() == 0 or not values.isfinite().all():
                raise ValueError(f"column {name!r} must hold finite numbers, at least one on either side")
