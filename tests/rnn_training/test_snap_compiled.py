"""Compiled steps and gradients are those that are not compiled."""

import shutil
from pathlib import Path

import pytest
import torch
from general_cells import built_in, each_step
from reference_setting import Kind, Setting

from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.learners.base import OnlineState
from graves_rnn_training.layers.learners.compiled import compiled
from graves_rnn_training.layers.learners.snap import SnAp

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")


@pytest.mark.parametrize(
    ("kind", "order", "in_place"),
    [
        ("gru", 2, True),
        pytest.param("lstm", 1, True, marks=pytest.mark.slow),
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
    learner = SnAp(GRUCell(2, 4, sparsity=0.5), compile=True)
    output, state = learner(torch.randn(3, 2), learner.initial_state(3))
    learner(torch.randn(3, 2), state)
    with pytest.raises(RuntimeError, match=r"backward\(\) came after the learner's next step"):
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


Learners = tuple[Setting, SnAp, SnAp]


@pytest.fixture(scope="module")
def made() -> Learners:
    """A compiled learner that moves its influence on with the gradient, and a plain one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graves_rnn_training.layers.learners.snap_deferred.LITTLE", 100.0)
        setting = Setting("lstm")
        learners = SnAp(built_in(setting), compile=True), SnAp(built_in(setting))
        assert len(learners[0].trace_shapes(2)) == 3 + len(learners[1].trace_shapes(2))
    return setting, *learners


@pytest.fixture
def lstm(made: Learners) -> Learners:
    for learner in made[1:]:
        learner.zero_grad()
    return made


@pytest.mark.parametrize("with_loss", [[0, 1, 2, 3, 4], [4], [1, 2, 4]])
def test_an_influence_that_waits_for_the_gradient_gives_the_same(
    lstm: Learners, with_loss: list[int]
) -> None:
    setting, *learners = lstm
    for learner in learners:
        state = learner.initial_state(2)
        for step, (x, target) in enumerate(zip(setting.inputs, setting.targets, strict=True)):
            output, state = learner(x, state)
            if step in with_loss:
                (output - target).pow(2).sum().backward()
    for one, other in zip(*(learner.parameters() for learner in learners), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_two_losses_of_a_step_go_backward_one_by_one(lstm: Learners) -> None:
    setting, *learners = lstm
    for learner in learners:
        output, _ = learner(setting.inputs[0], learner.initial_state(2))
        output.sum().backward(retain_graph=True)
        output.square().sum().backward()
    for one, other in zip(*(learner.parameters() for learner in learners), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_a_copied_state_goes_on_as_the_original_would(lstm: Learners, tmp_path: Path) -> None:
    setting, learner, _ = lstm
    state = learner.initial_state(2)
    for x in setting.inputs[:3]:
        output, state = learner(x, state)
    output.sum().backward()
    torch.save({"hidden": state.hidden, "traces": list(state.traces)}, tmp_path / "state.pt")
    found = []
    for _ in range(2):
        learner.zero_grad()
        loaded = torch.load(tmp_path / "state.pt", weights_only=True)
        output, _ = learner(setting.inputs[3], OnlineState(loaded["hidden"], tuple(loaded["traces"])))
        output.sum().backward()
        found.append([value.grad.clone() for value in learner.parameters()])
    learner.zero_grad()
    learner(setting.inputs[3], state)[0].sum().backward()
    found.append([value.grad for value in learner.parameters()])
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*found, strict=True))


def test_a_sequence_that_starts_anew_forgets_what_waits(lstm: Learners) -> None:
    setting, *learners = lstm
    for learner in learners:
        state = learner.initial_state(2)
        for x in setting.inputs[:2]:
            _, state = learner(x, state)
        state = learner.reset(state, torch.tensor([True, False]))
        learner(setting.inputs[2], state)[0].sum().backward()
    for one, other in zip(*(learner.parameters() for learner in learners), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_a_late_backward_is_refused_when_the_influence_waits(lstm: Learners) -> None:
    setting, learner, _ = lstm
    output, state = learner(setting.inputs[0], learner.initial_state(2))
    learner(setting.inputs[1], state)
    with pytest.raises(RuntimeError, match=r"backward\(\) came after the learner's next step"):
        output.sum().backward()
