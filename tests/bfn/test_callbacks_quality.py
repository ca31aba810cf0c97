"""How samplers are compared with real data, and what is left for people to see."""

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import Foreign, Rows, Sure, Table, files, images, table, trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from small_models import MODELS, data
from torch import Tensor

from graves_bfn import (
    BFNQuality,
    ListedGrid,
    MessageSampler,
    NoiseBackSampler,
    ODESolver,
    PowerGrid,
    SDESolver,
)
from graves_bfn.callbacks.models import FlowModel
from graves_bfn.callbacks.sampler_names import sampler_names
from graves_bfn.callbacks.sheets import labelled_lines
from graves_bfn.callbacks.sweeps import Sweep
from graves_bfn.quality import FrechetQuality, NGramQuality, SampleQuality


class MeanGap(SampleQuality):
    """How far the means are apart."""

    name = "mean_gap"

    def __init__(self) -> None:
        pass

    def compare(self, samples: Tensor, real: Tensor) -> float:
        return float((samples.double().mean() - real.double().mean()).abs())


class Counting(SampleQuality):
    """Remembers how many examples it compares."""

    name = "counting"

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int]] = []

    def compare(self, samples: Tensor, real: Tensor) -> float:
        self.numbers.append((len(samples), len(real)))
        return 1.0


def scored(root: Path, model: Any, rows: Any, callback: BFNQuality, **settings: Any) -> dict[str, float]:
    (logged,) = trainer(root, callback, **settings).test(model, rows, verbose=False)
    return {name: value for name, value in logged.items() if "quality" in name}


def short(quality: SampleQuality | None = None, **arguments: Any) -> BFNQuality:
    return BFNQuality(
        quality,
        **({"samplers": [MessageSampler()], "steps": [2], "num_samples": 3, "chart": False} | arguments),
    )


def test_values_are_distances_from_test_data_and_the_floor_is_that_of_test_data(tmp_path: Path) -> None:
    """All samples are white, and all test data black: their means are 1 apart, and the data's own 0."""
    logged = scored(tmp_path, Sure(50.0), Rows(images(torch.zeros(8)), 3), short(MeanGap()))
    assert logged == {"test/quality_MessageSampler_n=2": 1.0, "test/quality_floor": 0.0}


def test_every_sampler_is_compared_at_every_number_of_steps(tmp_path: Path) -> None:
    samplers = [SDESolver(order=1), SDESolver(order=2), ODESolver()]
    callback = short(MeanGap(), samplers=samplers, steps=[3, 2])
    logged = scored(tmp_path, Foreign(), Rows(images(torch.zeros(8)), 3), callback)
    names = ["SDESolver(order=1)", "SDESolver(order=2)", "ODESolver"]
    wanted = {f"test/quality_{name}_n={n}" for name in names for n in (2, 3)}
    assert logged.keys() == wanted | {"test/quality_floor"}


def test_samples_and_the_floors_examples_are_equally_many_and_meet_the_same_others(tmp_path: Path) -> None:
    quality = Counting()
    scored(tmp_path, Foreign(), Rows(images(torch.zeros(11)), 4), short(quality, num_samples=4))
    assert quality.numbers == [(4, 7)] * 2


def test_few_test_data_limit_the_number_of_samples_and_that_is_said(tmp_path: Path) -> None:
    quality = Counting()
    with pytest.warns(UserWarning, match="BFNQuality draws 3 samples, not 4: half as many"):
        scored(tmp_path, Foreign(), Rows(images(torch.zeros(7)), 4), short(quality, num_samples=4))
    assert quality.numbers == [(3, 4)] * 2


def test_a_single_test_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="BFNQuality needs at least 2 test examples, got 1"):
        scored(tmp_path, Foreign(), Rows(images(torch.zeros(1)), 4), short())


def test_values_repeat_and_leave_the_global_generator_alone(tmp_path: Path) -> None:
    rows, logged = Rows(images(torch.arange(12)), 5), []
    model = Foreign()
    for seed in (1, 2):
        torch.manual_seed(seed)
        logged.append(scored(tmp_path, model, rows, short(MeanGap())))
        drawn = torch.rand(())
        torch.manual_seed(seed)
        assert torch.rand(()) == drawn
    assert logged[0] == logged[1]


def test_all_samplers_start_from_the_same_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def draw(self: FlowModel, like: Any, num_steps: Any, sampler: Any, generator: torch.Generator) -> Tensor:
        starts.append(generator.get_state())
        return like.x

    monkeypatch.setattr(FlowModel, "draw", draw)
    callback = short(MeanGap(), samplers=[MessageSampler(), ODESolver()], steps=[2, 3], batch_size=2)
    scored(tmp_path, Foreign(), Rows(images(torch.zeros(8)), 4), callback)
    batches = [starts[i : i + 2] for i in range(0, 8, 2)]  # of each sampler and number of steps
    assert all(torch.equal(batch[0], batches[0][0]) for batch in batches)
    assert all(torch.equal(batch[1], batches[0][1]) for batch in batches)
    assert not torch.equal(*batches[0])


def test_samples_have_the_conditions_of_test_data(tmp_path: Path) -> None:
    shown: list[int] = []

    class Told(Foreign):
        def shown(self, *, condition: Tensor, valid: Any) -> Any:
            shown.extend(condition.tolist())
            return self.network

    scored(tmp_path, Told(), Rows(images(torch.zeros(8)), 4), short(MeanGap(), batch_size=2))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    assert shown[:3] == order[:3].tolist()


def test_texts_are_compared_by_ngrams_and_all_else_by_frechet_distance(tmp_path: Path) -> None:
    for name, title in (("text", "3gram distance"), ("binary", "frechet distance")):
        callback = short(num_samples=8)
        scored(tmp_path, MODELS[name](), data(name, batch_size=8), callback, limit_test_batches=2)
        assert (tmp_path / "texts" / "quality_step=0.txt").read_text().startswith(f"{title} of 8 samples")


def test_the_fields_of_tables_are_compared_side_by_side(tmp_path: Path) -> None:
    logged = scored(tmp_path, Table(), Rows(table(12), 5), short(FrechetQuality()))
    assert all(value >= 0 for value in logged.values())
    assert files(tmp_path) == ["quality_step=0.txt"]


def test_pictures_and_a_chart_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    callback = BFNQuality(MeanGap(), steps=[2, 3], shown=4)
    logger = CSVLogger(tmp_path, name="run", version="a")
    scored(tmp_path, Foreign(), Rows(images(torch.zeros(8)), 3), callback, logger=logger)
    kept = ["quality_samples_step=0.png", "quality_step=0.png", "quality_step=0.txt"]
    assert [name for name in files(tmp_path / "run" / "a") if "quality" in name] == kept
    with Image.open(tmp_path / "run" / "a" / "images" / "quality_samples_step=0.png") as sheet:
        assert sheet.width > 500
    assert "test/quality_ODESolver_n=3" in (tmp_path / "run" / "a" / "metrics.csv").read_text()


def test_texts_are_shown_by_number_of_steps_and_sampler(tmp_path: Path) -> None:
    callback = short(NGramQuality(1), samplers=[MessageSampler(), ODESolver()], steps=[2, 3], shown=2)
    scored(tmp_path, MODELS["text"](), data("text", batch_size=8), callback, limit_test_batches=1)
    lines = (tmp_path / "texts" / "quality_samples_step=0.txt").read_text().splitlines()
    assert [line[:16].rstrip() for line in lines if not line.startswith("   ")][:6] == [
        "2 steps",
        "  MessageSampler",
        "  MessageSampler",
        "  ODESolver",
        "  ODESolver",
        "",
    ]
    start = lines.index("test data")
    real = [data_line for batch in real_texts() for data_line in batch]
    assert [line[2:] in real for line in lines[start + 1 :]] == [True, True]


def real_texts() -> list[list[str]]:
    module = data("text", batch_size=8)
    module.setup("test")
    return [[module.spec.decode(row) for row in batch.tolist()] for batch in module.test_dataloader()]


def test_nothing_is_shown_on_demand(tmp_path: Path) -> None:
    scored(tmp_path, Foreign(), Rows(images(torch.zeros(8)), 3), short(MeanGap(), shown=0))
    assert files(tmp_path) == ["quality_step=0.txt"]


SWEEP = Sweep("mean_gap", 9, 0.125, {("a", 5): 0.5, ("a", 10): 0.25, ("b", 5): 4.0, ("b", 10): 3.0}, {})


def test_the_table_is_markdown_with_a_row_per_sampler() -> None:
    assert SWEEP.table() == [
        "mean gap of 9 samples; real data in their place: 0.125",
        "",
        "| steps | 5 | 10 |",
        "| --- | ---: | ---: |",
        "| network calls | 6 | 11 |",
        "| a | 0.5 | 0.25 |",
        "| b | 4 | 3 |",
    ]


def test_the_chart_is_over_network_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def line_chart(curves: Any, x_label: str, y_label: str, **settings: Any) -> Tensor:
        drawn.update(settings, curves=curves, labels=(x_label, y_label))
        return torch.zeros(3, 1, 1, dtype=torch.uint8)

    monkeypatch.setattr("graves_bfn.callbacks.sweeps.line_chart", line_chart)
    SWEEP.chart()
    assert drawn["curves"] == {"a": ([6, 11], [0.5, 0.25], None), "b": ([6, 11], [4.0, 3.0], None)}
    assert drawn["labels"] == ("network calls", "mean gap")
    assert drawn["levels"] == {"real data": 0.125}
    assert drawn["log_y"]  # 4 is 32 times 0.125


def test_lines_stand_column_by_column() -> None:
    cells = [[["1"], ["2", "3"]], [["4"], ["5"]]]
    assert labelled_lines(cells, ["a", "bb"], ["x", "y"]) == [
        *["x", "  a   1", "  bb  4", ""],
        *["y", "  a   2", "  a   3", "  bb  5"],
    ]


def test_samplers_of_one_class_are_named_by_what_differs() -> None:
    samplers = [
        MessageSampler(),
        MessageSampler(PowerGrid(2.0)),
        MessageSampler(temperature=0.5),
        ODESolver(),
    ]
    assert sampler_names(samplers) == [
        "MessageSampler(grid=None,temperature=1.0)",
        "MessageSampler(grid=PowerGrid(2.0),temperature=1.0)",
        "MessageSampler(grid=None,temperature=0.5)",
        "ODESolver",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": []}, r"steps must be at least one number, all at least 1, not \[\]"),
        ({"steps": [0, 5]}, r"steps must be at least one number, all at least 1, not \[0, 5\]"),
        ({"num_samples": 0}, "num_samples must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"shown": -1}, "shown must be at least 0, not -1"),
        ({"samplers": []}, "samplers must be at least one, got none"),
        (
            {"samplers": [ODESolver(), ODESolver()]},
            r"samplers must all be different, got \['ODESolver', 'ODES",
        ),
        (
            {"samplers": [NoiseBackSampler(ListedGrid([0.0, 1.0]))]},
            "num_steps must be 1, as ListedGrid has, not 5",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNQuality(**arguments)
