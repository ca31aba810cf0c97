"""The neural Turing machine against a statement in numpy."""

import numpy as np
import torch
from dense_reference import ntm, shifted, spread

from graves_memory.equations import ntm as equations
from graves_memory.layers.ntm import NTM

EXACT = {"rtol": 1e-9, "atol": 1e-11}


def small(**given: int) -> NTM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 5, "rows": 6, "width": 4, "heads": 2} | given
    return NTM(3, 2, **sizes).double()


def test_a_sequence_of_steps_equals_the_statement() -> None:
    net = spread(small())
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    outputs, state = net(x)
    for b in range(2):
        step = ntm(net)
        for t in range(9):
            output, expected = step(x[t, b].numpy())
            np.testing.assert_allclose(outputs[t, b].detach(), output, **EXACT)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(state, name)[b].detach(), value, **EXACT)


def test_a_shift_is_a_circular_convolution() -> None:
    weights, shifts = torch.rand(2, 3, 5).double(), torch.rand(2, 3, 3).double().softmax(-1)
    expected = [[shifted(weights[b, h].numpy(), shifts[b, h].numpy()) for h in range(3)] for b in range(2)]
    np.testing.assert_allclose(equations.shifted(weights, shifts), np.array(expected), **EXACT)


def test_a_shift_of_plus_one_moves_to_the_next_row_and_round_the_end() -> None:
    weights = torch.eye(5)[None, [0, 4]]
    found = equations.shifted(weights, torch.tensor([0.0, 0, 1]).expand(1, 2, 3))
    assert found.argmax(-1).tolist() == [[1, 0]]


def test_a_gate_of_zero_stays_and_of_one_goes() -> None:
    content, before = torch.rand(1, 2, 5), torch.rand(1, 2, 5)
    found = equations.interpolated(content, before, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(found, torch.stack([before[0, 0], content[0, 1]])[None])


def test_weights_are_a_distribution() -> None:
    _, state = spread(small(), 4.0)(torch.randn(30, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(state.weights.sum(-1), torch.ones(2, 4, dtype=torch.float64))


def test_gradients_are_those_of_finite_differences() -> None:
    net = spread(small(hidden_size=3, rows=4, width=2, heads=1))
    x = torch.randn(4, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x)[0], [x])
