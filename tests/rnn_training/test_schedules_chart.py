"""The picture of a schedule."""

import sys

import pytest
import torch

from graves_rnn_training.schedules.chart import BACKWARD, KINDS, schedule_chart
from graves_rnn_training.schedules.plan import make_plan
from graves_rnn_training.schedules.strategies import Strategy


def pixels(picture: torch.Tensor, colour: str) -> int:
    """How many pixels have exactly this colour."""
    wanted = torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    return int((picture == wanted[:, None, None]).all(0).sum())


@pytest.mark.parametrize(
    ("strategy", "shown"), [("hidden", (True, False)), ("internal", (True, True)), ("mixed", (True, True))]
)
def test_either_kind_of_state_has_its_colour(strategy: Strategy, shown: tuple[bool, bool]) -> None:
    picture = schedule_chart(make_plan(40, 12, strategy=strategy))
    assert picture.shape == (3, 720, 880)
    assert tuple(pixels(picture, colour) > 500 for colour in KINDS.values()) == shown
    assert pixels(picture, BACKWARD) > 50


def test_the_title_can_be_given() -> None:
    plan = make_plan(10, 3, strategy="hidden")
    assert not torch.equal(schedule_chart(plan), schedule_chart(plan, title="ten steps"))


def test_one_step_can_be_drawn() -> None:
    assert pixels(schedule_chart(make_plan(1, 1)), BACKWARD) > 0


def test_too_many_operations_are_refused() -> None:
    with pytest.raises(ValueError, match="plan must have at most 20000 operations, not 501500"):
        schedule_chart(make_plan(1000, 1, strategy="hidden"))


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"graves-rnn-training\[plots\]"):
        schedule_chart(make_plan(10, 3))
