"""A readout with random feedback."""

import pytest
import torch

from graves_core.spec import build
from graves_rnn_training.layers.feedback import FeedbackLinear


def test_logits_and_gradients_of_its_weights_are_those_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    readout, outputs, towards = FeedbackLinear(5, 3).double(), torch.randn(4, 5).double(), torch.randn(4, 3)
    found = readout(outputs)
    torch.testing.assert_close(found, outputs @ readout.linear.weight.T + readout.linear.bias)
    (found * towards).sum().backward()
    torch.testing.assert_close(readout.linear.weight.grad, towards.double().T @ outputs)
    torch.testing.assert_close(readout.linear.bias.grad, towards.double().sum(0))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 4, 5)])
def test_errors_come_back_through_the_feedback(shape: tuple[int, ...]) -> None:
    readout = FeedbackLinear(5, 3)
    outputs, towards = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 3)
    (readout(outputs) * towards).sum().backward()
    torch.testing.assert_close(outputs.grad, towards @ readout.feedback)


def test_feedback_stays_when_weights_move_and_is_in_checkpoints() -> None:
    readout = FeedbackLinear(5, 3)
    before = readout.feedback.clone()
    optimizer = torch.optim.SGD(readout.parameters(), lr=1.0)
    readout(torch.randn(2, 5)).sum().backward()
    optimizer.step()
    assert torch.equal(readout.feedback, before)
    again = build(readout.spec)
    assert not torch.equal(again.feedback, before)
    again.load_state_dict(readout.state_dict())
    assert torch.equal(again.feedback, before)


def test_the_seed_decides_the_feedback() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(FeedbackLinear(5, 3).feedback)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_seed_of_its_own_draws_the_feedback_alone() -> None:
    torch.manual_seed(0)
    one = FeedbackLinear(5, 3, feedback_seed=4)
    two = FeedbackLinear(5, 3, feedback_seed=4)
    assert torch.equal(one.feedback, two.feedback)
    assert not torch.equal(one.linear.weight, two.linear.weight)


def test_feedback_is_as_large_as_a_linear_layers_weights() -> None:
    """Uniform in +-1/sqrt(n) has the standard deviation 1/sqrt(3 n); of 50,000 draws within 1 %."""
    torch.manual_seed(0)
    feedback = FeedbackLinear(500, 100).feedback
    assert feedback.abs().max() <= 500**-0.5
    torch.testing.assert_close(feedback.std(), torch.tensor(1500**-0.5), rtol=0.01, atol=0)


def test_autocast_is_followed() -> None:
    readout, outputs = FeedbackLinear(5, 3), torch.randn(4, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = readout(outputs)
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    expected = readout.feedback.sum(0).expand(4, -1)
    torch.testing.assert_close(outputs.grad, expected, rtol=0.02, atol=0.01)
