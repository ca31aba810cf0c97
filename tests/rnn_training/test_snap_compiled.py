"""Compiled steps and gradients are those that are not compiled."""

import shutil

import pytest
import torch
from general_cells import built_in, each_step
from reference_setting import Kind, Setting

from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.learners.compiled import compiled
from graves_rnn_training.layers.learners.snap import SnAp

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")


@pytest.mark.parametrize(
    ("kind", "order", "in_place"),
    [
        ("lstm", 1, True),
        ("gru", 2, True),
        pytest.param("gru", 1, False, marks=pytest.mark.slow),
        pytest.param("lstm", 2, False, marks=pytest.mark.slow),
        pytest.param("vanilla", 2, True, marks=pytest.mark.slow),
    ],
)
def test_compiling_changes_nothing(kind: Kind, order: int, in_place: bool) -> None:
    setting = Setting(kind, shared=True)
    found = []
    for compile in (True, False):
        learner = SnAp(built_in(setting), order, compile=compile, in_place=in_place)
        found.append(each_step(learner, setting.inputs, setting.targets))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=0, atol=1e-12)


def test_a_late_backward_is_refused_when_compiled() -> None:
    learner = SnAp(GRUCell(2, 4), compile=True)
    output, state = learner(torch.randn(3, 2), learner.initial_state(3))
    learner(torch.randn(3, 2), state)
    with pytest.raises(RuntimeError, match="backward\\(\\) came after the learner's next step"):
        output.sum().backward()


def test_one_learner_serves_batches_of_many_sizes() -> None:
    """More than the eight shapes after which torch.compile gives up by default."""
    add = compiled(lambda x: (x + 1,))
    for size in range(1, 12):
        assert add(torch.zeros(size))[0].sum() == size


def test_changed_arguments_are_returned_themselves() -> None:
    def change(x: torch.Tensor, others: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        return {"doubled": others[0].mul_(2), "sum": x + others[0]}

    x, other = torch.ones(3), torch.ones(3)
    found = compiled(change)(x, (other,))
    assert found["doubled"] is other
    assert other.tolist() == [2, 2, 2]
    assert found["sum"].tolist() == [3, 3, 3]
