"""Linear layers whose examples have noise of their own, beside one sample of the weights."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graves_bayes.layers.example_noise import ExampleNoise
from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.sampled import posterior_over, sampled_weights

kinds = pytest.mark.parametrize("kind", ["local", "flipout"])
DRAWS = 1500


def made(kind: Any) -> tuple[nn.Linear, WeightPosterior, ExampleNoise]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    posterior = posterior_over(net)
    for scale in posterior.log_sigma:
        nn.init.uniform_(scale, -2, 0)
    return net, posterior, ExampleNoise(posterior, [net], kind)


def outputs(net: nn.Module, posterior: WeightPosterior, inputs: Tensor) -> Tensor:
    """Of many samples."""
    generator, found = torch.Generator().manual_seed(1), []
    for _ in range(DRAWS):
        with sampled_weights(posterior, generator), torch.no_grad():
            found.append(net(inputs))
    return torch.stack(found)


@kinds
def test_outputs_have_mean_and_variance_of_sampled_weights(kind: Any) -> None:
    net, posterior, _ = made(kind)
    inputs = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]])
    drawn = outputs(net, posterior, inputs)
    variances = [scale.detach().mul(2).exp() for scale in posterior.log_sigma]
    variance = inputs.square() @ variances[0].T + variances[1]
    mean = inputs @ net.weight.T + net.bias
    assert ((drawn.mean(0) - mean).abs() < 4.5 * (variance / DRAWS).sqrt()).all()
    assert ((drawn.var(0) / variance - 1).abs() < 4.5 * math.sqrt(2 / DRAWS)).all()


@kinds
def test_examples_deviate_independently(kind: Any) -> None:
    """The bias is sampled for the batch, so it is left out; the mean product of deviations is 0."""
    torch.manual_seed(0)
    net = nn.Linear(3, 2, bias=False)
    posterior = posterior_over(net, sigma=0.5)
    ExampleNoise(posterior, [net], kind)
    inputs = torch.ones(2, 3)
    off = outputs(net, posterior, inputs) - inputs @ net.weight.T
    product = off[:, 0] * off[:, 1]
    assert (product.mean(0).abs() < 4.5 * product.std(0) / math.sqrt(DRAWS)).all()


@kinds
def test_gradients_are_those_of_the_same_noise(kind: Any) -> None:
    net, posterior, _ = made(kind)
    net.double(), posterior.double()
    inputs = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def error() -> Tensor:
        with sampled_weights(posterior, torch.Generator().manual_seed(5)):
            return net(inputs).pow(3).sum()

    with sampled_weights(posterior, torch.Generator().manual_seed(5)):
        net(inputs).pow(3).sum().backward()
    for leaf in (net.weight, net.bias, posterior.log_sigma[0], posterior.log_sigma[1], inputs):
        place = (0,) * leaf.dim()
        values = []
        for change in (1e-6, -2e-6):
            with torch.no_grad():
                leaf[place] += change
            values.append(float(error().detach()))
        with torch.no_grad():
            leaf[place] += 1e-6
        assert leaf.grad is not None
        assert float(leaf.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-5)


@kinds
def test_the_network_is_as_before_outside_of_samples_and_after_removal(kind: Any) -> None:
    net, posterior, noise = made(kind)
    inputs, before = torch.randn(4, 3), {name: p.detach().clone() for name, p in net.named_parameters()}
    expected = nn.functional.linear(inputs, net.weight, net.bias)
    with sampled_weights(posterior):
        assert torch.equal(net.weight, before["weight"])
        assert not torch.equal(net.bias, before["bias"])
    torch.testing.assert_close(net(inputs), expected)
    noise.remove()
    with sampled_weights(posterior):
        assert not torch.equal(net.weight, before["weight"])
    torch.testing.assert_close(dict(net.named_parameters()), before, rtol=0, atol=0)


def test_local_noise_has_scale_gradients_of_less_variance() -> None:
    spread = {}
    for kind in ("weights", "local"):
        torch.manual_seed(0)
        net, inputs = nn.Linear(3, 2), torch.randn(64, 3)
        posterior = posterior_over(net, sigma=0.5)
        if kind == "local":
            ExampleNoise(posterior, [net], "local")
        gradients = []
        for _ in range(200):
            posterior.zero_grad()
            with sampled_weights(posterior):
                net(inputs).square().mean().backward()
            gradients.append(posterior.log_sigma[0].grad.clone())
        spread[kind] = float(torch.stack(gradients).var(0).mean())
    assert spread["local"] < 0.5 * spread["weights"]


def test_sequences_are_refused() -> None:
    net, posterior, _ = made("local")
    with sampled_weights(posterior), pytest.raises(ValueError, match="a sequence has one sample"):
        net(torch.randn(4, 5, 3))


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"posterior": "laplace"}, "local", "posterior='laplace' does not go with kind='local'"),
        ({"posterior": "delta"}, "flipout", "posterior='delta' does not go with"),
        ({"estimator": "squared"}, "local", "estimator must be 'reparameterised'"),
        ({"include": "bias"}, "local", "layers must have at least one linear layer"),
    ],
)
def test_what_does_not_fit_is_refused(settings: Any, kind: Any, words: str) -> None:
    net = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=words):
        ExampleNoise(posterior_over(net, **settings), [net], kind)
