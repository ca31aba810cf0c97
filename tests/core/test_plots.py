"""Charts, judged by their pixels."""

import subprocess
import sys

import lightning.pytorch as pl
import pytest
import torch

pytest.importorskip("matplotlib")

from graves_core.media import log_images
from graves_core.plots import COLOURS, LINE, Curve, histogram_chart, line_chart

BLUE, VERMILION, GREEN = COLOURS[:3]
AREA = "#8FBFDD"


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


PAIR = {"a": (numbers(5), numbers(5))}


def pixels_of(picture, colour, tolerance=0):
    """Where a picture has a colour."""
    wanted = torch.tensor(list(bytes.fromhex(colour[1:])))
    return ((picture.int() - wanted[:, None, None]).abs() <= tolerance).all(0)


def rows_of(picture, colour):
    return pixels_of(picture, colour).nonzero()[:, 0].double()


def chart(*curves, **arguments):
    named = {f"curve {index}": curve for index, curve in enumerate(curves)}
    return line_chart(named, "across", "up", **arguments)


def plot_area(picture):
    """The picture without the legend above."""
    return picture[:, 70:]


POWER = Curve([10.0 ** (i / 20) for i in range(61)], [10.0 ** (-i / 10) for i in range(61)])


@pytest.mark.parametrize(
    "picture",
    [
        chart(POWER),
        chart(POWER, POWER, title="title", log_x=True, levels={"level": 0.5}),
        histogram_chart({"a": (numbers(9), numbers(9))}),
        histogram_chart({str(i): (numbers(9), numbers(9)) for i in range(11)}, discrete=["3"]),
    ],
    ids=["bare", "rich", "one panel", "eleven panels"],
)
def test_charts_are_colour_images_of_readable_width(picture):
    assert picture.dtype == torch.uint8
    assert picture.shape[0] == 3
    assert 600 <= picture.shape[2] <= 900
    assert picture.is_contiguous()


def test_charts_are_dark_on_white_up_to_their_edges():
    picture = chart(POWER, title="title", levels={"level": 0.5})
    for edge in (picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]):
        assert (edge == 255).all()


def test_every_curve_has_its_colour():
    picture = chart(Curve([0, 1], [0, 1]), Curve([0, 1], [1, 2]))
    assert pixels_of(picture, BLUE).sum() > 500
    assert pixels_of(picture, VERMILION).sum() > 500
    assert not pixels_of(picture, GREEN).any()


def test_the_same_numbers_give_the_same_picture_and_others_another():
    assert torch.equal(chart(Curve([0, 1], [0, 1])), chart(Curve([0, 1], [0, 1])))
    assert not torch.equal(chart(Curve([0, 1, 2], [0, 1, 2])), chart(Curve([0, 1, 2], [0, 1.1, 2])))
    data = {"a": (numbers(50), numbers(50, seed=1))}
    assert torch.equal(histogram_chart(data), histogram_chart(data))
    assert not torch.equal(histogram_chart(data), histogram_chart({"a": (numbers(50), numbers(50, seed=2))}))


@pytest.mark.parametrize("text", ["title", "x_label", "y_label", "curve", "level"])
def test_every_text_is_drawn(text):
    def draw(word):
        words = dict.fromkeys(["title", "x_label", "y_label", "curve", "level"], "aaa") | {text: word}
        curve, level = words.pop("curve"), words.pop("level")
        return line_chart({curve: Curve([0, 1], [0, 1])}, levels={level: 0.5}, **words)

    assert not torch.equal(draw("aaa"), draw("abc"))


@pytest.mark.parametrize("index", [0, 1])
def test_labels_of_histograms_are_drawn(index):
    labels = ["aaa", "aaa"]
    before = histogram_chart(PAIR, labels=tuple(labels))
    labels[index] = "abc"
    assert not torch.equal(before, histogram_chart(PAIR, labels=tuple(labels)))


def bend(picture):
    """How far the blue pixels lie from a straight line, in pixels."""
    y, x = pixels_of(plot_area(picture), BLUE).nonzero().double().T
    design = torch.stack([x, torch.ones_like(x)], 1)
    line = torch.linalg.lstsq(design, y[:, None]).solution
    return float((design @ line - y[:, None]).abs().max())


def test_a_power_law_is_straight_on_logarithmic_axes_alone():
    assert bend(chart(POWER, log_x=True, log_y=True)) < 5
    assert bend(chart(POWER)) > 50
    assert bend(chart(POWER, log_x=True)) > 50
    assert bend(chart(POWER, log_y=True)) > 50


def test_levels_stand_at_their_values():
    curve = Curve([0, 0.5, 1], [0, 2, 4])
    plain, picture = chart(curve), chart(curve, levels={"two": 2.0})
    lines = pixels_of(picture, LINE).sum(1)
    level = int(lines[: int(0.8 * len(lines))].argmax())  # the axis lies below
    assert pixels_of(plain, LINE).sum(1)[level] < 20 < 200 < lines[level]
    blue = rows_of(plot_area(picture), BLUE) + 70
    assert level == pytest.approx(float((blue.min() + blue.max()) / 2), abs=3)


def test_levels_beyond_the_curves_are_in_the_picture():
    lines = pixels_of(chart(Curve([0, 1], [0, 1]), levels={"ten": 10.0}), LINE).sum(1)
    assert (lines[: int(0.5 * len(lines))] > 200).any()


def test_names_of_close_levels_do_not_overlap():
    grey = "#666666"
    alone = pixels_of(chart(Curve([0, 1], [0, 9]), levels={"mmmm": 1.0}), grey).sum()
    close = pixels_of(chart(Curve([0, 1], [0, 9]), levels={"mmmm": 1.0, " mmmm": 1.001}), grey).sum()
    assert close == pytest.approx(2 * float(alone), rel=0.1)


def test_errors_of_few_points_are_bars_of_their_length():
    x = [0.0, 1.0, 2.0]
    frame = Curve(x, [0.0, 0.0, 10.0])  # fixes the axis
    bars = plot_area(chart(frame, Curve(x, [5.0, 5.0, 5.0], [2.0, 1.0, 2.0])))
    rows = rows_of(bars, VERMILION)
    scale = rows_of(bars, BLUE)
    height = float(scale.max() - scale.min())
    assert float(rows.max() - rows.min()) / height == pytest.approx(0.4, abs=0.03)


def test_errors_of_many_points_are_a_band():
    x = [float(i) for i in range(60)]
    plain, band = chart(Curve(x, x)), chart(Curve(x, x, [9.0] * 60))
    pale = "#CCE2EF"  # a fifth of the blue over white
    assert pixels_of(plain, pale, 2).sum() < 500 < 30_000 < pixels_of(band, pale, 2).sum()


def test_a_single_point_is_drawn():
    picture = chart(Curve([10], [3.0]), log_x=True, log_y=True)
    assert pixels_of(plot_area(picture), BLUE).sum() > 30


def test_long_names_of_curves_stay_inside():
    picture = line_chart({"long name " * 4 + str(i): Curve([0, 1], [0, i]) for i in range(3)}, "x", "y")
    dark = (picture < 200).any(0).any(0).nonzero()
    assert dark.min() > 3
    assert dark.max() < picture.shape[2] - 4


def test_bars_have_the_shares_of_discrete_values():
    data = torch.tensor([0] * 30 + [1] * 10)
    picture = histogram_chart({"kind": (data, data.flip(0))}, discrete=["kind"])[:, 70:]
    left, right = pixels_of(picture, AREA).split([440, 440], dim=1)
    assert float(left.sum() / right.sum()) == pytest.approx(3, rel=0.05)


def test_bars_are_shares_and_not_numbers():
    data = torch.tensor([0, 0, 1])
    once = histogram_chart({"kind": (data, data)}, discrete=["kind"])
    assert torch.equal(once, histogram_chart({"kind": (data.repeat(5), data.repeat(3))}, discrete=["kind"]))


def test_densities_of_the_same_values_cover_each_other():
    x = numbers(500)
    covered = pixels_of(plot_area(histogram_chart({"a": (x, x)})), AREA)
    outline = pixels_of(plot_area(histogram_chart({"a": (x, x)})), VERMILION)
    tops = [column.nonzero()[0, 0] for column in covered.T if column.any()]
    edges = [column.nonzero()[0, 0] for column in outline.T if column.any()]
    assert abs(min(tops) - min(edges)) <= 4


def test_one_outlier_leaves_the_panel_readable():
    x = numbers(1_000)
    wild = torch.cat([numbers(999, seed=1), torch.tensor([1e6])])
    usual = pixels_of(histogram_chart({"a": (x, numbers(1_000, seed=1))}), AREA).sum()
    assert pixels_of(histogram_chart({"a": (x, wild)}), AREA).sum() == pytest.approx(float(usual), rel=0.1)


def test_values_beyond_the_axis_count_in_the_outer_bins():
    x = torch.linspace(0, 1, 2_001)  # 20 in each of 100 bins, and 10 more beyond either end
    heights = pixels_of(plot_area(histogram_chart({"a": (x, x)}, bins=100)), AREA).sum(0)
    shown = heights[heights > 0].double()
    assert float(shown[:8].max() / shown.median()) == pytest.approx(1.5, rel=0.1)
    assert float(shown[-8:].max() / shown.median()) == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize(
    "values", [torch.ones(4), torch.tensor([True, False]), torch.arange(300), numbers(2, 3)]
)
@pytest.mark.parametrize("discrete", [[], ["a"]])
def test_any_values_can_be_drawn(values, discrete):
    picture = histogram_chart({"a": (values, values)}, discrete=discrete)
    assert pixels_of(plot_area(picture), VERMILION).sum() > 300


def test_a_chart_is_logged_at_its_own_size(tmp_path):
    from PIL import Image

    picture = chart(POWER)
    trainer = pl.Trainer(logger=False, default_root_dir=tmp_path)
    with Image.open(log_images(trainer, "chart", picture[None])) as image:
        assert image.size == (picture.shape[2] + 4, picture.shape[1] + 4)


def test_charts_leave_no_global_state():
    code = (
        "import sys, matplotlib\n"
        "from graves_core.plots import Curve, line_chart\n"
        "settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "line_chart({'a': Curve([1, 2], [1, 2])}, 'x', 'y', log_y=True)\n"
        "assert settings() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "call"),
    [("line_chart", lambda: chart(POWER)), ("histogram_chart", lambda: histogram_chart(PAIR))],
)
def test_the_extra_is_named_where_matplotlib_is_missing(monkeypatch, name, call):
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{name} needs: pip install "graves-core\[plots\]"'):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chart(), "curves must hold at least one curve, got none"),
        (lambda: chart(Curve([], [])), r"curve 'curve 0' must have as many x as y.*not \[0, 0\]"),
        (lambda: chart(Curve([1, 2], [1])), r"as many x as y and error, at least 1, not \[2, 1\]"),
        (lambda: chart(Curve([1], [1], [1, 2])), r"as many x as y and error, at least 1, not \[1, 1, 2\]"),
        (lambda: chart(Curve([1], [1], [-0.5])), "curve 'curve 0' has a negative error, -0.5"),
        (lambda: chart(Curve([0], [1]), log_x=True), "curve 'curve 0' has x = 0 on a logarithmic axis"),
        (lambda: chart(Curve([1], [-2]), log_y=True), "curve 'curve 0' has y = -2 on a logarithmic axis"),
        (lambda: chart(POWER, log_y=True, levels={"none": 0.0}), "level 'none' is 0.0 on a logarithmic axis"),
        (lambda: histogram_chart({}), "columns must hold at least one column, got none"),
        (lambda: histogram_chart(PAIR, bins=0), "bins must be at least 1, got 0"),
        (
            lambda: histogram_chart(PAIR, discrete=["b"]),
            r"discrete must name columns out of \['a'\], got \['b'\]",
        ),
        (lambda: histogram_chart({"a": (numbers(5), numbers(0))}), "column 'a' must hold finite numbers"),
        (lambda: histogram_chart({"a": (numbers(5) / 0, numbers(5))}), "column 'a' must hold finite numbers"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
