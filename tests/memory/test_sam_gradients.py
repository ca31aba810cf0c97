"""The sparse access memory beside the same equations with a dense memory of its own at every step."""

import pytest
import torch
from sparse_replay import (
    dense_replay,
    dense_start,
    gradients,
    largest_difference,
    small_sam,
)

SETTINGS = {
    "collisions": {},
    "one head": {"heads": 1},
    "all rows are read": {"rows": 4, "reads": 4},
    "no strengths": {"strengths": False},
    "no clip": {"clip": None},
    "small clip": {"clip": 0.3},
    "trained start": {"learn_start": True},
    "everywhere": {"search": "exact"},
}


def both(net, steps=15, batch=2, seed=1):
    torch.manual_seed(seed)
    x = torch.randn(steps, batch, 3, dtype=torch.float64, requires_grad=True)
    goal = torch.randn(steps, batch, 4, dtype=torch.float64)
    with net.recording() as record:
        outputs, state = net(x)
    found = gradients(net, (outputs * goal).sum(), x)
    expected_outputs, dense = dense_replay(net, x, record, dense_start(net, batch, net.start))
    expected = gradients(net, (expected_outputs * goal).sum(), x)
    return outputs, expected_outputs, found, expected, state, dense


@pytest.mark.parametrize("setting", SETTINGS)
def test_outputs_and_gradients_are_those_of_a_dense_replay(setting):
    outputs, expected_outputs, found, expected, _, _ = both(small_sam(**SETTINGS[setting]))
    assert max(gradient.abs().max() for gradient in expected) > 0.1
    torch.testing.assert_close(outputs, expected_outputs, rtol=0, atol=1e-10)
    assert largest_difference(found, expected) < 1e-10
