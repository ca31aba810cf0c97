"""UORO: its equations, and that it is right on average."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from general_cells import (
    LeakyCell,
    built_in,
    data,
    each_step,
    flat,
    loss_of,
    through_time,
    torch_cell,
    whole_gradients,
)
from numpy.typing import NDArray
from reference_setting import NAMES, Kind, Setting, jacobians
from torch import Tensor, nn

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.reset_before import ResetBeforeGRUCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.cells.wrapped import wrap_cell
from graves_rnn_training.layers.learners.base import ForwardLearner
from graves_rnn_training.layers.learners.rflo import RFLO
from graves_rnn_training.layers.learners.uoro import UORO

KINDS: tuple[Kind, ...] = ("vanilla", "gru", "lstm")
EPSILON = 1e-5
Array = NDArray[np.float64]


def signs_for(setting: Setting) -> Tensor:
    draw = torch.Generator().manual_seed(11)
    shape = (setting.steps, setting.batch, setting.state_size)
    return torch.randint(2, shape, generator=draw).double() * 2 - 1


def by_hand(setting: Setting, signs: Tensor) -> tuple[Array, list[tuple[Array, Array]]]:
    """The summed gradient over all entries, and s~ and theta~ of each sequence at the end."""
    states = [setting.start()]
    maps = []
    for x in setting.inputs:
        after, dynamics, immediate = jacobians(setting, setting.weights, x, states[-1])
        maps.append((dynamics.numpy(), immediate.numpy()))
        states.append(after)
    total, ends = np.zeros(len(setting.kept())), []
    for b in range(setting.batch):
        direction, parameters = np.zeros(setting.state_size), np.zeros(len(total))
        for t, (dynamics, immediate) in enumerate(maps):
            nu = signs[t, b].numpy()
            moved, new = dynamics[b] @ direction, nu @ immediate[b]
            norms = [np.sqrt((v**2).sum()) + EPSILON for v in (parameters, moved, new, nu)]
            rho0, rho1 = np.sqrt(norms[0] / norms[1]), np.sqrt(norms[2] / norms[3])
            direction, parameters = rho0 * moved + rho1 * nu, parameters / rho0 + new / rho1
            delta = (states[t + 1][b, : setting.units] - setting.targets[t, b]).numpy()
            total += (delta @ direction[: setting.units]) * parameters
        ends.append((direction, parameters))
    return total, ends


def run(learner: UORO, setting: Setting, signs: Tensor):
    state = learner.initial_state(setting.batch)
    for x, target, nu in zip(setting.inputs, setting.targets, signs, strict=True):
        output, state = learner(x, state, signs=nu)
        loss_of(output, target).backward()
    return state


settings = [
    pytest.param(Setting(kind, **sizes), id=f"{kind}-{name}")
    for kind in KINDS
    for name, sizes in {
        "masked": {},
        "shared masks": {"shared": True},
        "dense": {"units": 3, "features": 2, "steps": 3, "batch": 1, "dense": True},
    }.items()
]


@pytest.mark.parametrize("setting", settings)
def test_gradients_are_those_of_the_equations(setting: Setting) -> None:
    cell, signs = built_in(setting), signs_for(setting)
    state = run(UORO(cell), setting, signs)
    expected, ends = by_hand(setting, signs)
    found = whole_gradients(setting, cell)
    torch.testing.assert_close(
        torch.cat([found[name].flatten() for name in NAMES]), torch.from_numpy(expected), rtol=0, atol=1e-12
    )
    directions = torch.stack([torch.from_numpy(direction) for direction, _ in ends], 1)
    torch.testing.assert_close(state.traces[0], directions, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_any_cell_has_the_same_estimate_as_its_fast_form(kind: Kind) -> None:
    setting = Setting(kind, dense=True)
    signs = signs_for(setting)
    fast, general = built_in(setting), wrap_cell(torch_cell(setting))
    run(UORO(fast), setting, signs)
    run(UORO(general), setting, signs)
    for name in NAMES:
        one, two = fast.get_parameter(name).grad, general.module.get_parameter(name).grad
        torch.testing.assert_close(one.view_as(two), two, rtol=0, atol=1e-12)


def all_signs(steps: int, state: int) -> Tensor:
    """Every sequence of signs, `(steps, sequences, state)`."""
    every = itertools.product((-1.0, 1.0), repeat=steps * state)
    return torch.tensor(list(every), dtype=torch.float64).view(-1, steps, state).transpose(0, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VanillaCell(2, 3),
        lambda: GRUCell(2, 3, sparsity=0.4),
        lambda: LSTMCell(2, 2, sparsity=0.5, shared_gate_mask=False),
        lambda: ResetBeforeGRUCell(2, 3),
        lambda: LeakyCell(2, 3, seen=2),
        lambda: wrap_cell(nn.LSTMCell(2, 2)),
    ],
    ids=["vanilla", "gru", "lstm", "old gru", "leaky", "wrapped lstm"],
)
def test_the_mean_over_all_signs_is_the_exact_gradient(make) -> None:
    torch.manual_seed(4)
    cell: OnlineCell = make().double()
    inputs, targets = data(steps=3, batch=1, features=2, outputs=cell.hidden_size)
    signs = all_signs(3, cell.state_size)
    learner, number = UORO(cell), signs.shape[1]
    state = learner.initial_state(number)
    for x, target, nu in zip(inputs, targets, signs, strict=True):
        output, state = learner(x.expand(number, -1), state, signs=nu)
        (loss_of(output, target.expand(number, -1)) / number).backward()
    found = torch.cat([value.grad.flatten() for _, value in cell.learned()])
    torch.testing.assert_close(found, flat(through_time(cell, inputs, targets)), rtol=0, atol=1e-12)


def test_the_mean_over_all_signs_is_the_influence_itself() -> None:
    setting = Setting("vanilla", units=3, features=2, steps=3, batch=1, dense=True)
    influence = torch.zeros(3, len(setting.kept()), dtype=torch.float64)
    state = setting.start()
    for x in setting.inputs:
        state, dynamics, immediate = jacobians(setting, setting.weights, x, state)
        influence = dynamics[0] @ influence + immediate[0]
    signs = all_signs(3, 3)
    learner = UORO(wrap_cell(torch_cell(setting)))
    carried = learner.initial_state(512)
    for x, nu in zip(setting.inputs, signs, strict=True):
        _, carried = learner(x.expand(512, -1), carried, signs=nu)
    mean = torch.einsum("bs,bp->sp", *carried.traces) / 512
    torch.testing.assert_close(mean, influence, rtol=0, atol=1e-12)


def test_drawn_signs_give_the_exact_gradient_on_average() -> None:
    """Means of 100 batches of 50 estimates on 20 axes: no t value exceeds 4.5 (p = 4e-4 for all together)."""
    torch.manual_seed(0)
    cell = GRUCell(3, 12, sparsity=0.5).double()
    inputs, targets = data(steps=6, batch=1, outputs=12)
    exact = flat(through_time(cell, inputs, targets))
    estimates = []
    for _ in range(100):
        cell.zero_grad()
        found = each_step(UORO(cell), inputs.expand(-1, 50, -1), targets.expand(-1, 50, -1))
        estimates.append(flat(found) / 50)
    off = (torch.stack(estimates) - exact) @ torch.randn(len(exact), 20, dtype=torch.float64)
    assert (off.mean(0) / (off.std(0) / 10)).abs().max() < 4.5


def test_signs_come_from_the_generator_that_is_given() -> None:
    learner, (inputs, _) = UORO(GRUCell(3, 4).double()), data()
    drawn = []
    for _ in range(2):
        generator, state = torch.Generator().manual_seed(5), learner.initial_state(2)
        before = torch.get_rng_state()
        for x in inputs:
            _, state = learner(x, state, generator=generator)
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(state.traces)
    assert all(torch.equal(one, two) for one, two in zip(*drawn, strict=True))


def test_signs_come_from_the_global_generator_otherwise() -> None:
    learner, (inputs, _) = UORO(GRUCell(3, 4).double()), data()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        _, state = learner(inputs[0], learner.initial_state(2))
        drawn.append(state.traces[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_signs_of_a_wrong_shape_are_refused() -> None:
    learner, (inputs, _) = UORO(LSTMCell(3, 4).double()), data()
    with pytest.raises(ValueError, match=r"signs must have the shape \(2, 8\), got \(2, 4\)"):
        learner(inputs[0], learner.initial_state(2), signs=torch.ones(2, 4))


def test_memory_is_a_state_and_the_parameters_for_each_sequence() -> None:
    dense = UORO(ResetBeforeGRUCell(3, 4))
    assert dense.trace_bytes(5) == 5 * 4 * (4 + sum(value.numel() for value in dense.cell.parameters()))


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")


@needs_compiler
@pytest.mark.parametrize("make", [pytest.param(UORO, marks=pytest.mark.slow), RFLO])
def test_compiling_changes_nothing(make: type[ForwardLearner]) -> None:
    setting = Setting("lstm")
    plain, compiled = built_in(setting), built_in(setting)
    torch.manual_seed(0)
    each_step(make(plain), setting.inputs, setting.targets)
    torch.manual_seed(0)
    learner = make(compiled, compile=True)
    each_step(learner, setting.inputs, setting.targets)
    for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-12)
    first, state = learner(setting.inputs[0], learner.initial_state(setting.batch))
    learner(setting.inputs[1], state)
    with pytest.raises(RuntimeError, match="has overwritten the traces"):
        first.sum().backward()


def test_masks_and_dtype_may_change() -> None:
    torch.manual_seed(0)
    cell, (inputs, targets) = GRUCell(3, 4), data()
    learner = UORO(cell)
    each_step(learner, inputs.float(), targets.float())
    cell.prune(0.5)
    learner.double().zero_grad()
    fresh = GRUCell(3, 4).double()
    fresh.load_state_dict(cell.state_dict())
    for ours in (learner, UORO(fresh)):
        torch.manual_seed(1)
        each_step(ours, inputs, targets)
    for one, two in zip(cell.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=0, atol=1e-12)
