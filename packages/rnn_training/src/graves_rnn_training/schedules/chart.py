"""A picture of a schedule: what is run and what is kept, in the order of execution."""

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from graves_core.plots import COLOURS, DPI, GRID, INK, LINE, SMALL, TEXT, TITLE, WIDTH
from graves_rnn_training.schedules.plan import Plan
from graves_rnn_training.schedules.trace import Kind, Trace, traced, units_in_use

KINDS: dict[Kind, str] = {"hidden": COLOURS[0], "internal": COLOURS[1]}
BACKWARD = COLOURS[2]
MOST = 20_000
"""Operations that a picture can show."""


def schedule_chart(plan: Plan, title: str | None = None) -> UInt8[Tensor, "3 height width"]:
    """Draws the course of a plan. Needs `pip install "graves-rnn-training[plots]"`.

    Across are the operations in their order, each step forward and each step backward being one; up are the
    time steps of the network. A line that rises is a run forward, a dot is a step backward, and a bar is a
    state that is kept as long as the bar. Below is how much memory is in use, with the plan's units dashed.

    Args:
        plan: what to draw; a few dozen steps look best.
        title: a line above; what the plan is and costs by default.

    Returns:
        The picture, 880 pixels wide.

    Raises:
        ValueError: when the plan has too many operations for a picture.
        ImportError: when matplotlib is not installed.

    Example:
        >>> from graves_rnn_training.schedules.plan import make_plan
        >>> schedule_chart(make_plan(20, 4, strategy="hidden")).shape[2]
        880
    """
    if plan.forwards + plan.steps > MOST:
        raise ValueError(f"plan must have at most {MOST} operations, not {plan.forwards + plan.steps}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('schedule_chart needs: pip install "graves-rnn-training[plots]"') from error
    figure: Any = Figure((WIDTH, 3.6), DPI, layout="constrained", facecolor="white")
    course, memory = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    trace = traced(plan)
    _draw_course(course, trace, plan.steps)
    _draw_memory(memory, trace, plan)
    handles, names = course.get_legend_handles_labels()
    _legend(figure, handles, names, title or _described(plan))
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].transpose(2, 0, 1).copy())


def _described(plan: Plan) -> str:
    return (
        f"{plan.steps} steps in {plan.units} units of memory: {plan.forwards / plan.steps:.2f} runs per step"
    )


def _draw_course(axes: Any, trace: Trace, steps: int) -> None:
    from matplotlib.collections import LineCollection

    thin = min(1.0, 40 / steps)
    for kind, colour in KINDS.items():
        bars = [[(a, step), (b, step)] for own, step, a, b in trace.states if own == kind]
        if bars:
            lines = LineCollection(bars, colors=colour, linewidths=0.3 + 1.7 * thin, label=f"{kind} state")
            axes.add_collection(lines)
    runs = [[(time, first), (time + count, first + count)] for time, first, count in trace.runs]
    lines = LineCollection(runs, colors=INK, linewidths=0.4 + 0.5 * thin, label="forward", zorder=3)
    axes.add_collection(lines)
    x, y = zip(*((time + 0.5, step - 0.5) for time, step in trace.reversals), strict=True)
    size = 0.8 + 1.7 * thin
    axes.plot(x, y, "o", color=BACKWARD, markersize=size, markeredgewidth=0, label="backward", zorder=4)
    axes.set_ylim(-0.02 * steps, 1.02 * steps)
    axes.set_ylabel("time step", fontsize=TEXT, color=INK)
    _clean(axes)


def _draw_memory(axes: Any, trace: Trace, plan: Plan) -> None:
    below: Any = 0
    for kind, units in units_in_use(plan, trace).items():
        base = below + np.zeros_like(units)
        below = base + units
        axes.stairs(
            below, np.arange(len(units) + 1), baseline=base, fill=True, color=KINDS[kind], linewidth=0
        )
    axes.axhline(plan.units, color=LINE, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    axes.set_xlim(0, len(below))
    axes.set_ylim(0, 1.15 * plan.units)
    axes.set_xlabel("operations, in the order of execution", fontsize=TEXT, color=INK)
    axes.set_ylabel("memory", fontsize=TEXT, color=INK)
    _clean(axes)


def _clean(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_facecolor("white")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, labelcolor=INK, color=LINE, length=2.5)
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=LINE)


def _legend(figure: Any, handles: list[Any], names: list[str], title: str) -> None:
    """Names what is drawn, above it and below the title."""
    quiet = {"frameon": False, "labelcolor": INK, "handlelength": 1.4, "columnspacing": 1.2}
    fonts = {"fontsize": TEXT, "title": title, "title_fontsize": TITLE}
    legend = figure.legend(handles, names, loc="outside upper center", ncols=len(names), **quiet, **fonts)
    legend.get_title().set_color(INK)
    for handle in legend.legend_handles:
        handle.set(**({"markersize": 4} if handle.get_label() == "backward" else {"linewidth": 1.8}))
