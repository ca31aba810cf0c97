"""KF-RTRL: its equations, and that it is right on average."""

import itertools

import numpy as np
import pytest
import torch
from general_cells import built_in, data, each_step, flat, loss_of, through_time, whole_gradients
from reference_setting import Setting

from graves_core.spec import build
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.learners.kronecker import KFRTRL
from graves_rnn_training.layers.learners.uoro import UORO

EPSILON = 1e-5
REFERENCE = {"units": 3, "features": 2, "steps": 3, "batch": 1, "dense": True}


def by_hand(setting: Setting, signs: np.ndarray) -> np.ndarray:
    """The summed gradient of [weight_hh | weight_ih | bias] by loops over single numbers."""
    w = {name: value.numpy() for name, value in setting.weights.items()}
    total = np.zeros((setting.units, setting.units + setting.features + 1))
    for b in range(setting.batch):
        hidden, u, a = np.zeros(setting.units), np.zeros(total.shape[1]), np.zeros((setting.units,) * 2)
        for t in range(setting.steps):
            x, (c1, c2) = setting.inputs[t, b].numpy(), signs[t, b]
            source = np.concatenate([hidden, x, [1.0]])
            hidden = np.tanh(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ hidden + w["bias_hh"])
            d = 1 - hidden**2
            moved = np.diag(d) @ w["weight_hh"] @ a
            p1 = np.sqrt((np.sqrt((moved**2).sum()) + EPSILON) / (np.sqrt((u**2).sum()) + EPSILON))
            p2 = np.sqrt((np.sqrt((d**2).sum()) + EPSILON) / (np.sqrt((source**2).sum()) + EPSILON))
            u, a = c1 * p1 * u + c2 * p2 * source, c1 / p1 * moved + c2 / p2 * np.diag(d)
            delta = hidden - setting.targets[t, b].numpy()
            for i, j in itertools.product(range(setting.units), range(len(u))):
                total[i, j] += sum(delta[k] * a[k, i] for k in range(setting.units)) * u[j]
    return total


@pytest.mark.parametrize("sizes", [{}, REFERENCE], ids=["masked", "dense"])
def test_gradients_are_those_of_the_equations(sizes: dict) -> None:
    setting = Setting("vanilla", **sizes)
    draw = torch.Generator().manual_seed(11)
    signs = torch.randint(2, (setting.steps, setting.batch, 2), generator=draw).double() * 2 - 1
    cell = built_in(setting)
    learner = KFRTRL(cell)
    state = learner.initial_state(setting.batch)
    for x, target, c in zip(setting.inputs, setting.targets, signs, strict=True):
        output, state = learner(x, state, signs=c)
        loss_of(output, target).backward()
    expected = torch.from_numpy(by_hand(setting, signs.numpy()))
    by_hidden, by_input, bias = expected.split((setting.units, setting.features, 1), 1)
    found = whole_gradients(setting, cell)
    for name, value in {"weight_hh": by_hidden, "weight_ih": by_input}.items():
        torch.testing.assert_close(found[name], value * setting.masks[name], rtol=0, atol=1e-12)
    for name in ("bias_ih", "bias_hh"):
        torch.testing.assert_close(found[name], bias[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_the_mean_over_all_signs_is_the_exact_gradient(sparsity: float) -> None:
    torch.manual_seed(4)
    cell = VanillaCell(2, 4, sparsity=sparsity).double()
    inputs, targets = data(steps=4, batch=1, features=2)
    every = list(itertools.product((-1.0, 1.0), repeat=8))
    signs = torch.tensor(every, dtype=torch.float64).view(-1, 4, 2).transpose(0, 1)
    learner, number = KFRTRL(cell), len(every)
    state = learner.initial_state(number)
    for x, target, c in zip(inputs, targets, signs, strict=True):
        output, state = learner(x.expand(number, -1), state, signs=c)
        (loss_of(output, target.expand(number, -1)) / number).backward()
    found = torch.cat([value.grad.flatten() for _, value in cell.learned()])
    torch.testing.assert_close(found, flat(through_time(cell, inputs, targets)), rtol=0, atol=1e-12)


def test_it_has_less_noise_than_uoro() -> None:
    """Over 80 draws the squared error is less than half."""
    torch.manual_seed(0)
    cell, (inputs, targets) = VanillaCell(2, 4).double(), data(steps=5, batch=1, features=2)
    exact, errors = flat(through_time(cell, inputs, targets)), []
    for make in (KFRTRL, UORO):
        total = torch.zeros((), dtype=torch.float64)
        for _ in range(80):
            cell.zero_grad()
            total += (flat(each_step(make(cell), inputs, targets)) - exact).pow(2).sum()
        errors.append(total)
    assert errors[0] < errors[1] / 2


def test_backward_may_come_later() -> None:
    cell, (inputs, targets) = VanillaCell(3, 4).double(), data()
    torch.manual_seed(0)
    expected = flat(each_step(KFRTRL(cell), inputs, targets)).clone()
    cell.zero_grad()
    torch.manual_seed(0)
    learner = KFRTRL(cell)
    state, loss = learner.initial_state(2), torch.zeros((), dtype=torch.float64)
    for x, target in zip(inputs, targets, strict=True):
        output, state = learner(x, state)
        loss = loss + loss_of(output, target)
    loss.backward()
    found = torch.cat([value.grad.flatten() for value in cell.parameters()])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_sequence_that_starts_anew_forgets() -> None:
    learner, (inputs, _) = KFRTRL(VanillaCell(3, 4).double()), data()
    _, state = learner(inputs[0], learner.initial_state(2))
    state = learner.reset(state, torch.tensor([True, False]))
    assert not any(tensor[0].any() for tensor in (state.hidden, *state.traces))
    assert all(tensor[1].any() for tensor in (state.hidden, *state.traces))


def test_memory_is_a_vector_and_a_square_matrix() -> None:
    assert KFRTRL(VanillaCell(3, 4)).trace_bytes(2) == 2 * 4 * (3 + 4 + 1 + 16)


def test_other_cells_are_refused() -> None:
    with pytest.raises(TypeError, match="KFRTRL needs a VanillaCell, got GRUCell; UORO takes any cell"):
        KFRTRL(GRUCell(3, 4))


def test_it_is_rebuilt_from_its_spec() -> None:
    assert build(KFRTRL(VanillaCell(3, 4), max_trace_bytes=5000).spec).max_trace_bytes == 5000
