"""MemoryAccessChart: what is in the picture, and that there is one."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from memory_models import NETS, QUIET, bits, chunks, classes, fit, loader, make
from torch import Tensor

from graves_core.strips import Strip
from graves_memory.callbacks import access
from graves_memory.callbacks.access import MemoryAccessChart
from graves_memory.callbacks.access_chart import access_chart
from graves_memory.callbacks.accesses import Accesses, Link, accesses

pytest.importorskip("matplotlib")


def dense(*weights: tuple[list[float], list[float]]) -> list[dict[str, Tensor]]:
    """A record of one sequence and one head: write and read weights of all rows, step by step."""
    return [
        {"write_weights": torch.tensor([[write]]), "read_weights": torch.tensor([[read]])}
        for write, read in weights
    ]


def test_rows_stand_in_the_order_of_their_first_writing_and_then_of_their_first_reading() -> None:
    steps = dense(
        ([0.0, 0.0, 0.9, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.2]),
        ([0.5, 0.0, 0.9, 0.0, 0.0], [0.0, 0.3, 0.0, 0.0, 0.0]),
    )
    found = accesses(steps)
    assert found.rows.tolist() == [2, 0, 4, 1]  # row 3 is never touched
    torch.testing.assert_close(found.writes, torch.tensor([[0.9, 0.9], [0.0, 0.5], [0.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(found.reads, torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.2, 0.0], [0.0, 0.3]]))


def test_a_reading_is_joined_to_the_last_writing_of_its_row() -> None:
    steps = dense(
        ([1.0, 0.0], [0.0, 1.0]),  # row 1 has not been written
        ([0.0, 0.0], [1.0, 0.0]),
        ([1.0, 0.0], [0.0, 0.0]),
        ([0.0, 1.0], [1.0, 1.0]),
    )
    assert accesses(steps).links(0.1) == [Link(0, 0, 1), Link(0, 2, 3), Link(1, 3, 3)]


def test_small_weights_do_not_count() -> None:
    found = accesses(dense(([0.04, 0.5], [0.5, 0.04])), threshold=0.05)
    assert found.rows.tolist() == [1, 0]
    assert found.links(0.05) == []


def test_the_largest_weight_of_any_head_counts() -> None:
    step = {name: torch.tensor([[[0.2, 0.0], [0.6, 0.1]]]) for name in ("write_weights", "read_weights")}
    found = accesses([step])
    torch.testing.assert_close(found.writes, torch.tensor([[0.6], [0.1]]))


def test_a_sparse_record_is_that_of_all_rows() -> None:
    """Heads may name the same rows, and one head may name a row twice."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(9, (4, 2, 3, 5), generator=draw)  # steps, sequences, heads, kept
    weights = torch.rand(rows.shape, generator=draw)
    full = torch.zeros(4, 2, 3, 9).scatter_add_(3, rows, weights)
    sparse = [
        {"write_rows": r, "write_weights": w, "read_rows": r + 90, "read_weights": w}
        for r, w in zip(rows, weights, strict=True)
    ]
    blank = torch.zeros(2, 3, 90)
    everything = [
        {"write_weights": torch.cat([f, blank], -1), "read_weights": torch.cat([blank, f], -1)} for f in full
    ]
    for sequence in (0, 1):
        found, expected = accesses(sparse, sequence), accesses(everything, sequence)
        torch.testing.assert_close(tuple(found), tuple(expected))


def test_nothing_recorded_is_refused() -> None:
    with pytest.raises(ValueError, match="the network recorded nothing"):
        accesses([])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the callback hands over to be drawn."""
    found: list[Any] = []

    def spy(*arguments: Any) -> Tensor:
        found.append(arguments)
        return access_chart(*arguments)

    monkeypatch.setattr(access, "access_chart", spy)
    return found


@pytest.mark.parametrize("name", [name for name in NETS if name != "lstm"])
def test_a_picture_of_the_chosen_sequence_is_left(name: str, drawn: list[Any], tmp_path: Path) -> None:
    val = [bits(rows=2, seed=5), bits(rows=3, steps=7, seed=6)]
    chart = MemoryAccessChart(batch=1, sequence=2, steps=6)
    trainer = fit(make(name), [bits()], val, callbacks=[chart], default_root_dir=tmp_path)
    ((panels, found, title, *_),) = drawn
    own = {key: values[2, :6] for key, values in val[1].items()}
    low, high = own["inputs"].min(), own["inputs"].max()
    torch.testing.assert_close(panels["inputs"].values, ((own["inputs"] - low) / (high - low)).T)
    assert torch.equal(panels["targets"].values, (own["targets"] * own["mask"][:, None]).T)
    p = panels["answers"].values.T
    assert torch.equal(p > 0, own["mask"][:, None].expand(p.shape))
    wrong = ((p > 0.5) != own["targets"].bool())[own["mask"]].sum()
    assert title == f"{wrong} of 15 bits wrong"
    assert found.writes.shape == found.reads.shape == (len(found.rows), 6)
    assert (tmp_path / "images" / f"memory_step={trainer.global_step}.png").stat().st_size > 1000


def test_tokens_and_classes_have_a_row_where_they_occur() -> None:
    tokens = torch.tensor([[4, 1, 4, 0]])
    targets = torch.tensor([[-100, -100, 2, 0]])
    logits = torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 9.0], [0, 9.0, 0]])
    own = {"tokens": tokens[0], "targets": targets[0]}
    inputs = access.input_panels(own, "abcde")["inputs"]
    assert (inputs.symbols, inputs.values.argmax(0).tolist()) == (["e", "b", "a"], [0, 1, 0, 2])
    panels, wrong, due = access.answer_panels(own, logits, "abcde")
    assert (wrong, due) == (1, 2)
    assert panels["targets"].symbols == ["c", "a"]
    p = logits.softmax(1)
    expected = torch.tensor([[0, 0, p[2, 2], p[3, 2]], [0, 0, p[2, 0], p[3, 0]]])
    torch.testing.assert_close(panels["answers"].values, expected)


def test_images_are_shown_as_they_are() -> None:
    images = torch.randint(256, (3, 1, 5, 5), dtype=torch.uint8)
    panels = access.input_panels({"images": images}, None)
    assert panels["images"] is images
    found = Accesses(torch.tensor([0]), torch.ones(1, 3), torch.ones(1, 3))
    assert access_chart(panels, found, "title").float().std() > 0


def test_a_chart_shows_the_rows_that_were_written_first() -> None:
    many = Accesses(torch.arange(200), torch.eye(200)[:, :9], torch.zeros(200, 9))
    strip = {"inputs": Strip(torch.eye(9), [""] * 9)}
    few = Accesses(*(part[:50] for part in many))
    high, low = access_chart(strip, many, "a", most=64), access_chart(strip, few, "a", most=64)
    assert low.shape[1] < high.shape[1] < 1500


def test_nothing_touched_is_drawn_as_an_empty_memory() -> None:
    nothing = Accesses(torch.arange(0), torch.zeros(0, 4), torch.zeros(0, 4))
    assert access_chart({"inputs": Strip(torch.eye(4), "abcd")}, nothing, "nothing").shape[2] == 880


@pytest.mark.parametrize("name", ["ntm", "sam"])
def test_training_does_not_notice(name: str, tmp_path: Path) -> None:
    parts, val = chunks(bits(steps=8), 2), [bits(rows=2, seed=9)]
    alone, watched = make(name), make(name)
    fit(alone, parts, val, val_check_interval=1)
    charts = [MemoryAccessChart()]
    fit(watched, parts, val, val_check_interval=1, callbacks=charts, default_root_dir=tmp_path)
    torch.testing.assert_close(watched.state_dict(), alone.state_dict(), rtol=0, atol=0)


def test_charts_are_drawn_after_every_so_many_epochs(drawn: list[Any], tmp_path: Path) -> None:
    chart = MemoryAccessChart(every_n_epochs=2)
    arguments = {"callbacks": [chart], "default_root_dir": tmp_path, "max_epochs": 5}
    fit(make(), [bits()], [bits(rows=2)], **arguments)
    assert len(drawn) == 2


def test_classes_are_drawn_by_validate_alone(drawn: list[Any], tmp_path: Path) -> None:
    trainer = pl.Trainer(**QUIET | {"callbacks": [MemoryAccessChart()], "default_root_dir": tmp_path})
    trainer.validate(make(answers="classes"), loader([classes()]), verbose=False)
    assert drawn[0][2].endswith("of 4 answers wrong")


def test_a_module_without_a_memory_is_refused() -> None:
    from lightning.pytorch.demos.boring_classes import BoringModel

    with pytest.raises(TypeError, match="BoringModel must have the attribute net, a MemoryNetwork"):
        pl.Trainer(**QUIET | {"callbacks": [MemoryAccessChart()]}).fit(BoringModel())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs must be at least 1, not 0"),
        ({"rows": 0}, "rows must be at least 1, not 0"),
        ({"sequence": -1}, "sequence must be at least 0, not -1"),
        ({"threshold": 1.0}, "threshold must be at least 0 and less than 1, not 1.0"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryAccessChart(**wrong)
