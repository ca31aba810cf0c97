"""RFLO: immediate influences that fade."""

import numpy as np
import pytest
import torch
from general_cells import LeakyCell, built_in, data, each_step, flat, torch_cell, whole_gradients
from reference_setting import NAMES, Kind, Setting, jacobians
from torch import Tensor, nn

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell
from graves_rnn_training.layers.feedback import FeedbackLinear
from graves_rnn_training.layers.learners.rflo import RFLO

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.func computes them")
KINDS: tuple[Kind, ...] = ("vanilla", "gru", "lstm")


def by_hand(setting: Setting, decay: float) -> Tensor:
    """Sum of delta^T J with J <- I + decay J over all entries."""
    state, influence = setting.start(), torch.zeros(1, dtype=torch.float64)
    total = torch.zeros(len(setting.kept()), dtype=torch.float64)
    for x, target in zip(setting.inputs, setting.targets, strict=True):
        state, _, immediate = jacobians(setting, setting.weights, x, state)
        influence = immediate + decay * influence
        delta = state[:, : setting.units] - target
        total += torch.einsum("bs,bsp->p", delta, influence[:, : setting.units])
    return total


@pytest.mark.parametrize("decay", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("sizes", [{}, {"shared": True}, {"dense": True}], ids=["masked", "shared", "dense"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_influence_is_a_fading_sum(kind: Kind, sizes: dict[str, bool], decay: float) -> None:
    setting = Setting(kind, **sizes)
    cell = built_in(setting)
    each_step(RFLO(cell, decay=decay), setting.inputs, setting.targets)
    found = whole_gradients(setting, cell)
    found = torch.cat([found[name].flatten() for name in NAMES])
    torch.testing.assert_close(found, by_hand(setting, decay), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_any_cell_has_the_same_gradient_as_its_fast_form(kind: Kind) -> None:
    setting = Setting(kind, dense=True)
    fast, general = built_in(setting), wrap_cell(torch_cell(setting))
    each_step(RFLO(fast), setting.inputs, setting.targets)
    each_step(RFLO(general), setting.inputs, setting.targets)
    for name in NAMES:
        one, two = fast.get_parameter(name).grad, general.module.get_parameter(name).grad
        torch.testing.assert_close(one.view_as(two), two, rtol=0, atol=1e-12)


class Murray(OnlineCell):
    """h' = (1 - alpha) h + alpha tanh(W [x, h])."""

    def __init__(self, alpha: float) -> None:
        super().__init__(3, 4, 4)
        self.alpha = alpha
        self.weight = nn.Parameter(torch.randn(4, 7))

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        drive = torch.cat([inputs, state], 1) @ self.weight.T
        return (1 - self.alpha) * state + self.alpha * drive.tanh()


def test_leaky_units_with_feedback_learn_by_the_rule_of_the_paper() -> None:
    """p_ij <- (1 - alpha) p_ij + alpha phi'(a_i) v_j, and W_ij moves along -(B^T error)_i p_ij."""
    torch.manual_seed(0)
    alpha, cell, readout = 0.3, Murray(0.3).double(), FeedbackLinear(4, 2).double()
    learner, (inputs, targets) = RFLO(cell, decay=1 - alpha), data(batch=1, outputs=2)
    state = learner.initial_state(1)
    weight, feedback = cell.weight.detach().numpy(), readout.feedback.numpy()
    own, bias = readout.linear.weight.detach().numpy(), readout.linear.bias.detach().numpy()
    hidden, trace, expected = np.zeros(4), np.zeros((4, 7)), np.zeros((4, 7))
    for x, target in zip(inputs, targets, strict=True):
        output, state = learner(x, state)
        ((readout(output) - target).pow(2).sum() / 2).backward()
        source = np.concatenate([x[0].numpy(), hidden])
        rate = np.tanh(weight @ source)
        trace = (1 - alpha) * trace + alpha * (1 - rate**2)[:, None] * source
        hidden = (1 - alpha) * hidden + alpha * rate
        error = own @ hidden + bias - target[0].numpy()
        expected += (feedback.T @ error)[:, None] * trace
    np.testing.assert_allclose(cell.weight.grad.numpy(), expected, atol=1e-12)


def test_without_decay_only_the_last_step_counts() -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = LeakyCell().double(), data()
    learner = RFLO(cell, decay=0.0)
    found = flat(each_step(learner, inputs, targets))
    cell.zero_grad()
    state = torch.zeros(2, cell.state_size, dtype=torch.float64)
    for x, target in zip(inputs, targets, strict=True):
        state = cell(x, state.detach())
        ((cell.output(state) - target).pow(2).sum() / 2).backward()
    expected = torch.cat([value.grad.flatten() for value in cell.parameters()])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\], got"):
        RFLO(VanillaCell(3, 4), decay=decay)
