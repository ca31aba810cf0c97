"""Whether columns are compared rightly, and what is left for people to see."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_models import Foreign, Rows, Table, files, images, table, trainer
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graves_bfn import BFNMarginals
from graves_bfn.callbacks.columns import columns_of, table_lines
from graves_bfn.callbacks.distances import (
    chance_distance,
    is_counted,
    marginal_distance,
    variation_distance,
    wasserstein_distance,
)
from graves_bfn.callbacks.models import FlowModel
from graves_core import DiabetesDataModule, ResumableLoader
from graves_core.batches import mix_seed

VALUES = st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=7)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(VALUES, VALUES)
def test_wasserstein_distance_is_the_mean_gap_of_sorted_values(a: list[float], b: list[float]) -> None:
    """Of sets that are repeated until they are equally large."""
    size = math.lcm(len(a), len(b))
    x, y = (np.sort(np.repeat(np.array(v, dtype=np.float64), size // len(v))) for v in (a, b))
    distance = wasserstein_distance(torch.tensor(a), torch.tensor(b))
    assert float(distance) == pytest.approx(np.abs(x - y).mean(), abs=1e-9)


def test_variation_distance_is_half_the_sum_of_the_gaps_between_shares() -> None:
    distance = variation_distance(torch.tensor([0, 0, 1, 2]), torch.tensor([1, 3]))
    assert float(distance) == (0.5 + 0.25 + 0.25 + 0.5) / 2


def test_few_whole_numbers_are_counted_and_others_are_not() -> None:
    assert is_counted(torch.arange(15), torch.arange(5, 20))
    assert not is_counted(torch.arange(15), torch.arange(6, 21))
    assert not is_counted(torch.zeros(3), torch.zeros(3))


def test_shifted_columns_are_as_many_deviations_apart_in_any_unit() -> None:
    real = draw(500)
    real = (real - real.mean()) / real.std(correction=0)
    for unit in (1.0, 1000.0):
        assert float(marginal_distance(unit * (real + 0.5), unit * real)) == pytest.approx(0.5, abs=1e-5)


def test_a_constant_column_is_compared_in_its_own_unit() -> None:
    assert float(marginal_distance(torch.full((3,), 2.5), torch.ones(4))) == 1.5


@pytest.mark.parametrize(
    "make", [torch.randn, lambda n, generator: torch.randint(0, 6, (n,), generator=generator)]
)
@pytest.mark.parametrize("numbers", [(40, 40), (30, 200)])
def test_the_distance_by_chance_is_that_of_two_draws_of_one_distribution(make: Any, numbers: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [[make(n, generator=generator) for n in numbers] for _ in range(400)]
    distances = torch.stack([marginal_distance(*pair) for pair in pairs])
    expected = torch.stack([chance_distance(*pair) for pair in pairs]).mean()
    # 8 %: the formula is asymptotic, and the deviation is measured on the same few values
    assert abs(distances.mean() / expected - 1) < 0.08 + 4 * distances.std() / distances.mean() / 20


def test_columns_have_the_names_that_the_data_module_gives_them(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.datamodule = DiabetesDataModule(batch_size=4)
    run.datamodule.setup()
    batch = next(iter(run.datamodule.val_dataloader()))
    columns = columns_of(run, batch)
    assert list(columns) == ["bmi", "bp", *(f"s{i}" for i in range(1, 7)), "age", "sex", "progression"]
    assert torch.equal(columns["s1"], batch["measurements"][:, 2])


def test_columns_without_names_are_numbered(tmp_path: Path) -> None:
    columns = columns_of(trainer(tmp_path), {"a": torch.zeros(3, 2), "b": torch.zeros(3, 1)})
    assert list(columns) == ["a[0]", "a[1]", "b"]
    assert list(columns_of(trainer(tmp_path), torch.zeros(3, 2))) == ["data[0]", "data[1]"]


def test_columns_of_the_same_name_keep_their_fields(tmp_path: Path) -> None:
    data = {"a": torch.zeros(3, 2), "a[1]": torch.ones(3, 1)}
    assert list(columns_of(trainer(tmp_path), data)) == ["a[0]", "a[1]", "a[1].a[1]"]


def test_the_values_of_a_picture_are_one_column(tmp_path: Path) -> None:
    columns = columns_of(trainer(tmp_path), {"picture": torch.zeros(3, 4, 5), "text": torch.zeros(3, 40)})
    assert {name: len(values) for name, values in columns.items()} == {"picture": 60, "text": 120}


def test_padding_is_in_no_column(tmp_path: Path) -> None:
    valid = {"a": torch.tensor([[True, False], [True, False], [False, False]])}
    columns = columns_of(trainer(tmp_path), {"a": torch.arange(6).view(3, 2), "b": torch.ones(3, 1)}, valid)
    assert {name: values.tolist() for name, values in columns.items()} == {"a[0]": [0, 2], "b": [1, 1, 1]}


def test_tables_are_written_in_aligned_columns() -> None:
    lines = table_lines({"size": torch.tensor([0.5, 123456.0]), "kind": torch.tensor([1, 10])})
    assert lines == ["     size  kind", "      0.5     1", "1.235e+05    10"]


class Copy(Table):
    """Draws the mean of the data."""

    def network(self, inputs: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        kind = torch.tensor([0.0, 50.0, 0.0]).expand_as(inputs["kind"])
        return {"sizes": torch.zeros_like(inputs["sizes"])[..., None], "kind": kind}


def test_what_is_logged_is_the_mean_distance_over_columns(tmp_path: Path) -> None:
    """A network that is sure of class 1 is off by the share of the others."""
    pytest.importorskip("matplotlib")
    rows = table(50)
    run = trainer(tmp_path, BFNMarginals(num_samples=20, num_steps=4))
    run.validate(Copy(), Rows(rows, 7), verbose=False)
    callback = run.callbacks[0]
    x = samples_of(callback, rows)
    kinds = torch.stack([row["kind"] for row in rows]).flatten()
    sizes = torch.stack([row["sizes"] for row in rows])
    distances = [1 - (kinds == 1).double().mean()]
    for i in range(2):
        spread = sizes[:, i].double().std(correction=0)
        distances.append(wasserstein_distance(x["sizes"][:, i], sizes[:, i]) / spread)
    logged = run.callback_metrics
    assert float(logged["val/marginal_distance"]) == pytest.approx(float(sum(distances) / 3), rel=1e-5)
    assert 0 < logged["val/marginal_floor"] < logged["val/marginal_distance"]
    assert files(tmp_path) == ["marginals_step=0.png"]


def samples_of(callback: BFNMarginals, rows: list[Any]) -> dict[str, Tensor]:
    """What a callback draws, in the units of the data."""
    model = FlowModel(Copy(), None, "Test")
    batch = next(iter(ResumableLoader(rows, 50, shuffle=False)))
    like = model.examples(batch).cycled(callback.num_samples)
    with torch.no_grad():
        return model.codec.decode(model.draw(like, 4, None, model.generator(mix_seed(0, 0))))


def test_histograms_have_fewer_bins_for_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        "graves_bfn.callbacks.marginals.histogram_chart",
        lambda pairs, bins, discrete: drawn.append((list(pairs), bins, discrete)) or torch.zeros(1),
    )
    data = {"a": draw(64), "b": torch.arange(64) % 2}
    samples = {name: torch.cat([values] * 20) for name, values in data.items()}
    for bins in (None, 50):
        BFNMarginals(bins=bins)._chart(data, samples, {"a": 0.123, "b": 0.0})
    assert drawn == [(["a  (0.12)", "b  (0.00)"], bins, ["b  (0.00)"]) for bins in (8, 50)]


def test_whole_numbers_are_spread_over_their_intervals_for_histograms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(
        "graves_bfn.callbacks.marginals.histogram_chart",
        lambda pairs, bins, discrete: drawn.update(pairs=pairs) or torch.zeros(1),
    )
    years = torch.arange(100)
    BFNMarginals()._chart({"year": years}, {"year": years}, {"year": 0.0})
    for values in drawn["pairs"]["year  (0.00)"]:
        assert torch.equal(values.round().long(), years)
        assert (values != years).any()


def test_nothing_is_drawn_in_epochs_between(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    callback = BFNMarginals(num_samples=4, num_steps=2, every_n_epochs=2)
    run = trainer(tmp_path, callback, max_epochs=3)
    run.fit(Foreign(), Rows(images(torch.arange(8)), 4))
    assert files(tmp_path) == ["marginals_step=4.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bins": 0}, "bins must be at least 1, not 0"),
        ({"num_samples": 0}, "num_samples must be at least 1, not 0"),
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        ({"every_n_epochs": 0}, "every_n_epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNMarginals(**arguments)
