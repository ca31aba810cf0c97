"""Sums over examples of squared gradients, against a loop over the examples."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graves_bayes.layers.example_squares import ExampleSquares, capturable
from graves_bayes.layers.sampled import posterior_over, sampled_weights


class Text(nn.Module):
    """An embedding and an output layer that share a matrix, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4, padding_idx=0)
        self.norm = nn.LayerNorm(4)
        self.hidden = nn.Linear(4, 4)
        self.output = nn.Linear(4, 7, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.hidden(self.norm(self.embedding(x))).tanh()))


CASES: dict[str, Any] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        lambda: torch.randn(6, 4),
    ),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.Tanh(), nn.Conv2d(4, 3, 3, stride=2), nn.Flatten()
        ),
        lambda: torch.randn(5, 2, 6, 6),
    ),
    "sequence": (lambda: nn.Conv1d(2, 3, 2, dilation=2), lambda: torch.randn(5, 2, 6)),
    "steps": (lambda: nn.Linear(4, 3), lambda: torch.randn(5, 7, 4)),
    "text": (Text, lambda: torch.randint(0, 7, (5, 6), generator=torch.Generator().manual_seed(2))),
}


def error(net: nn.Module, inputs: Tensor) -> Tensor:
    """Of each example."""
    return net(inputs).flatten(1).pow(3).sum(1)


@pytest.mark.parametrize("name", CASES)
def test_squares_equal_those_of_one_example_after_the_other(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = CASES[name][0], CASES[name][1]()
    net = make()
    posterior = posterior_over(net, estimator="squared", sigma=0.3)
    squares = ExampleSquares(posterior, list(capturable(net).values()))
    assert posterior.captured == frozenset(range(len(posterior.names)))
    expected = [torch.zeros_like(p) for p in posterior.parameters_of_network]
    with sampled_weights(posterior):
        for example in inputs:
            gradients = torch.autograd.grad(error(net, example[None]).sum(), posterior.parameters_of_network)
            for total, gradient in zip(expected, gradients, strict=True):
                total += gradient.square() / len(inputs)
        squares._captured.clear()
        error(net, inputs).mean().backward()
    squares.add_(len(inputs), factor=len(inputs))
    got = [scale.grad for scale in posterior.log_sigma]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    batch_squared = posterior.parameters_of_network[0].grad.square()  # type: ignore[union-attr]
    assert not torch.allclose(batch_squared, expected[0], rtol=0.1)


def test_a_backward_pass_counts_as_one_example_where_layers_do_not_tell() -> None:
    torch.manual_seed(0)
    net, inputs = nn.LSTM(2, 3, bidirectional=True, batch_first=True), torch.randn(4, 5, 2)
    posterior = posterior_over(net, estimator="squared")
    expected = torch.zeros_like(net.weight_hh_l0)
    with sampled_weights(posterior, torch.Generator().manual_seed(1)):
        for example in inputs:
            gradient = torch.autograd.grad(net(example[None])[0].sum(), net.weight_hh_l0)[0]
            expected += gradient.square()
    posterior.zero_grad()
    with sampled_weights(posterior, torch.Generator().manual_seed(1)):
        for example in inputs:
            net(example[None])[0].sum().backward()
    torch.testing.assert_close(posterior.log_sigma[1].grad, expected)
    posterior.convert_squares_()
    torch.testing.assert_close(posterior.log_sigma[1].grad, expected * 0.075**2)


def test_rows_that_are_no_examples_are_refused() -> None:
    net = nn.Linear(4, 3)
    posterior = posterior_over(net, estimator="squared")
    squares = ExampleSquares(posterior, [net])
    with sampled_weights(posterior):
        net(torch.randn(5, 2, 4).flatten(0, 1)).sum().backward()
    with pytest.raises(ValueError, match="the 5 examples along the first axis"):
        squares.add_(5, 1.0)


def test_attention_and_batch_normalisation_cannot_tell_examples_apart() -> None:
    net = nn.ModuleDict({"a": nn.MultiheadAttention(4, 2), "n": nn.BatchNorm1d(4), "l": nn.Linear(4, 4)})
    assert list(capturable(net)) == ["l"]


def test_nothing_is_noted_after_removal() -> None:
    net = nn.Linear(4, 3)
    posterior = posterior_over(net, estimator="squared")
    squares = ExampleSquares(posterior, [net])
    squares.remove()
    with sampled_weights(posterior):
        net(torch.randn(1, 4)).sum().backward()
    squares.add_(1, 1.0)
    torch.testing.assert_close(posterior.log_sigma[0].grad, net.weight.grad.square())
