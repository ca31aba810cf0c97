"""InfluenceDensity tells how much is stored, how large it is, and what SnAp leaves out."""

from typing import Any

import pytest
import torch
from online_models import HIDDEN, SYMBOLS, batch, chunks, fit, make
from torch.nn.functional import one_hot

from graves_rnn_training.callbacks.influence import InfluenceDensity, reach
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.encoders import OneHotEncoder
from graves_rnn_training.layers.learners.snap import SnAp
from graves_rnn_training.layers.learners.stack import LearnerStack
from graves_rnn_training.layers.readouts import LinearReadout
from graves_rnn_training.module.online import OnlineRNN


def logged(model: OnlineRNN, data: Any, **arguments: Any) -> dict[str, float]:
    metrics = fit(model, [data], callbacks=[InfluenceDensity(**arguments)]).callback_metrics
    return {name: float(value) for name, value in metrics.items() if name.startswith("influence")}


def exact_influence(model: OnlineRNN, data: dict[str, torch.Tensor]) -> torch.Tensor:
    """ds/dtheta at the end, by autograd, for each sequence."""
    cell = model.learner.cell
    hidden = torch.zeros(len(data["inputs"]), HIDDEN)
    for inputs in data["inputs"].T.long():
        hidden = cell(one_hot(inputs, SYMBOLS).float(), hidden)
    weights = [weight for _, weight in cell.learned()]
    rows = [
        torch.cat([part.flatten() for part in torch.autograd.grad(value, weights, retain_graph=True)])
        for value in hidden.flatten()
    ]
    return torch.stack(rows).view(*hidden.shape, -1)


def stored_by_snap(inputs: int, units: int, density: float) -> tuple[float, float]:
    """Numbers that order 1 stores for a GRU, and parameters: both biases of a gate share a number."""
    weights = 3 * units * inputs + 3 * units * units * density
    return weights + 4 * units, weights + 6 * units


@pytest.mark.parametrize(("name", "density"), [("rtrl", 1.0), ("bptt", 0.0)])
def test_density_is_the_share_of_the_full_influence_that_is_stored(name: str, density: float) -> None:
    assert logged(make(name), batch())["influence/density"] == pytest.approx(density)


def test_snap_of_order_1_stores_about_one_unit_of_all() -> None:
    kept, parameters = stored_by_snap(SYMBOLS, HIDDEN, 0.5)
    expected = kept / (HIDDEN * parameters)
    assert logged(make("snap"), batch())["influence/density"] == pytest.approx(expected)


def test_megabytes_are_those_of_the_traces() -> None:
    model = make("rtrl")
    parameters = sum(weight.numel() for weight in model.learner.parameters())
    values = logged(model, batch(rows=3))
    assert values["influence/megabytes"] == pytest.approx(3 * HIDDEN * parameters * 4 / 1e6)


def test_magnitude_is_the_mean_size_of_what_is_stored() -> None:
    model, data = make("rtrl"), batch(silent=(0, 1, 2, 3, 4))
    expected = exact_influence(model, data).abs().mean()
    assert logged(model, data)["influence/magnitude"] == pytest.approx(float(expected), rel=1e-4)


def test_kept_and_dropped_are_mean_sizes_inside_and_outside_of_the_pattern() -> None:
    model, data = make("bptt"), batch(silent=(0, 1, 2, 3, 4))
    sizes = exact_influence(model, data).abs().mean(0)
    values = logged(model, data, orders=[1, 2])
    for order in (1, 2):
        # autograd over the last `order` steps reaches exactly the pattern, for generic weights and inputs
        pattern = reached_within(model.learner.cell, order)
        assert 0 < pattern.float().mean() < 1
        inside, outside = float(sizes[pattern].mean()), float(sizes[~pattern].mean())
        assert values[f"influence/kept_{order}"] == pytest.approx(inside, rel=1e-4)
        assert values[f"influence/dropped_{order}"] == pytest.approx(outside, rel=1e-4)


def reached_within(cell: GRUCell, steps: int) -> torch.Tensor:
    """Where the influence is other than zero so many steps after a random state."""
    torch.manual_seed(0)
    state = torch.randn(1, HIDDEN)
    for _ in range(steps):
        state = cell(torch.randn(1, SYMBOLS), state)
    weights = [weight for _, weight in cell.learned()]
    rows = [torch.autograd.grad(value, weights, retain_graph=True) for value in state[0]]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]) != 0


def test_patterns_grow_until_everything_is_reached() -> None:
    cell = GRUCell(3, 12, sparsity=0.75)
    sizes = [int(pattern.sum()) for pattern in reach(cell, [1, 2, 3, 20, 21])]
    assert sizes[0] < sizes[1] < sizes[2] <= sizes[3] == sizes[4]


@pytest.mark.parametrize("name", ["snap", "uoro"])
def test_training_does_not_notice(name: str) -> None:
    streams = chunks(batch(steps=8), 2)
    models = make(name), make(name)
    for model, callbacks in zip(models, ([InfluenceDensity(1, orders=[1])], []), strict=True):
        torch.manual_seed(3)
        fit(model, streams, callbacks=callbacks)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(models[0]._state, models[1]._state, rtol=0, atol=0)


def test_stacks_are_measured_layer_by_layer() -> None:
    stack = LearnerStack([SnAp(GRUCell(SYMBOLS, 5)), SnAp(GRUCell(5, 5))])
    model = OnlineRNN(stack, LinearReadout(5, 3), OneHotEncoder(SYMBOLS))
    lower, upper = stored_by_snap(SYMBOLS, 5, 1.0), stored_by_snap(5, 5, 1.0)
    expected = (lower[0] + upper[0]) / (5 * lower[1] + 5 * upper[1])
    assert logged(model, batch())["influence/density"] == pytest.approx(expected)
    with pytest.raises(TypeError, match="not for those of a LearnerStack"):
        logged(model, batch(), orders=[1])


def test_an_exact_influence_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="max_trace_bytes=1,000 allows less"):
        logged(make("snap"), batch(), orders=[1], max_bytes=1000)


@pytest.mark.parametrize("wrong", [{"every_n_batches": 0}, {"orders": [1, 0]}, {"max_bytes": 0}])
def test_wrong_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1, not 0"):
        InfluenceDensity(**wrong)
