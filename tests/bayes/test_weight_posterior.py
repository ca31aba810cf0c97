"""A posterior over the weights of networks of all kinds."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.sampled import posterior_mean, posterior_over, sampled_weights


class Tied(nn.Module):
    """An embedding whose matrix is that of the output layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.output = nn.Linear(4, 7)
        self.output.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.embedding(x))


NETS: dict[str, Any] = {
    "linear": (lambda: nn.Linear(4, 3), lambda: torch.randn(5, 4)),
    "conv": (lambda: nn.Conv2d(2, 3, 3), lambda: torch.randn(5, 2, 6, 6)),
    "norm": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), lambda: torch.randn(5, 4)),
    "lstm": (lambda: nn.LSTM(4, 3, num_layers=2, bidirectional=True), lambda: torch.randn(6, 5, 4)),
    "transformer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0), lambda: torch.randn(6, 5, 4)),
    "tied": (Tied, lambda: torch.arange(6)),
}

nets = pytest.mark.parametrize("name", NETS)


def made(name: str, **settings: Any) -> tuple[nn.Module, WeightPosterior, Tensor]:
    torch.manual_seed(0)
    make, inputs = NETS[name]
    net = make()
    posterior = posterior_over(net, **settings)
    for scale in posterior.log_sigma:
        nn.init.uniform_(scale, -3, -1)
    posterior.refit_prior_()
    return net, posterior, inputs()


def loss_of(net: nn.Module, inputs: Tensor) -> Tensor:
    output = net(inputs)
    return (output[0] if isinstance(output, tuple) else output).square().sum()


@nets
def test_complexity_is_the_sum_that_torch_gives(name: str) -> None:
    net, posterior, _ = made(name)
    net.double()
    posterior.double()
    posterior.refit_prior_()
    mean = torch.cat([p.detach().flatten() for p in net.parameters()])
    sigma = torch.cat([scale.detach().exp().flatten() for scale in posterior.log_sigma])
    s = (sigma.square() + (mean - mean.mean()).square()).mean().sqrt()
    expected = kl_divergence(Normal(mean, sigma), Normal(mean.mean(), s)).sum()
    assert len(mean) == posterior.weights == sum(p.numel() for p in set(net.parameters()))
    torch.testing.assert_close(posterior.complexity(), expected, rtol=1e-6, atol=1e-6)


@nets
def test_scales_get_the_gradient_of_reparameterised_weights(name: str) -> None:
    net, posterior, inputs = made(name)
    noise = torch.Generator().manual_seed(3)
    draws = [torch.randn(p.shape, generator=noise) for p in posterior.parameters_of_network]
    means = [p.detach().clone().requires_grad_() for p in posterior.parameters_of_network]
    scales = [scale.detach().clone().requires_grad_() for scale in posterior.log_sigma]
    sampled = [m + s.exp() * e for m, s, e in zip(means, scales, draws, strict=True)]
    output = torch.func.functional_call(net, dict(zip(posterior.names, sampled, strict=True)), inputs)
    expected = torch.autograd.grad(
        (output[0] if isinstance(output, tuple) else output).square().sum(), [*means, *scales]
    )
    with sampled_weights(posterior, torch.Generator().manual_seed(3)):
        loss_of(net, inputs).backward()
    got = [leaf.grad for leaf in (*posterior.parameters_of_network, *posterior.log_sigma)]
    torch.testing.assert_close(got, list(expected), rtol=1e-4, atol=1e-4)


@nets
def test_the_means_come_back_bit_for_bit(name: str) -> None:
    net, posterior, _ = made(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with sampled_weights(posterior):
        torch.testing.assert_close(
            posterior_mean(posterior), {n: before[n] for n in posterior.names}, rtol=0, atol=0
        )
        assert not torch.equal(next(net.parameters()), before[posterior.names[0]])
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    assert posterior.state_dict().keys().isdisjoint(before)


@pytest.mark.parametrize("groups", ["global", "layer"])
@pytest.mark.parametrize("prior", ["gaussian", "laplace", "uniform"])
@pytest.mark.parametrize("family", ["gaussian", "laplace", "delta"])
def test_added_gradients_are_those_of_the_complexity(family: Any, prior: Any, groups: Any) -> None:
    """The best prior moves with the weights, which changes nothing at the minimum."""
    net, posterior, _ = made("norm", posterior=family, prior=prior, groups=groups)
    net.double(), posterior.double()
    posterior.refit_prior_()
    for _ in range(2):
        posterior.add_complexity_gradient_(0.5)
    for leaf in (net.get_parameter("0.weight"), *list(posterior.log_sigma)[:1]):
        costs = []
        for change in (1e-6, -2e-6):
            leaf.data[0, 0] += change
            posterior.refit_prior_()
            costs.append(float(posterior.complexity()))
        leaf.data[0, 0] += 1e-6
        got = 0.0 if leaf.grad is None else float(leaf.grad[0, 0])
        assert got == pytest.approx((costs[0] - costs[1]) / 2e-6, rel=1e-5, abs=1e-6)


def test_layers_have_priors_of_their_own() -> None:
    net = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    with torch.no_grad():
        net[1].weight.mul_(10)
        net[1].bias.mul_(10)
    one, each = (posterior_over(net, groups=groups, sigma=1e-3) for groups in ("global", "layer"))
    scales = each.prior_groups.prior_scale
    assert scales[1] > 5 * scales[0]
    assert each.complexity() < one.complexity()


def test_a_mirrored_sample_lies_on_the_other_side() -> None:
    net, posterior, _ = made("linear")
    mean = net.weight.detach().clone()
    posterior.sample_()
    first = net.weight.detach().clone()
    posterior.sample_(antithetic=True)
    torch.testing.assert_close(net.weight.detach() + first, 2 * mean)


def test_the_same_generator_gives_the_same_sample() -> None:
    net, posterior, _ = made("lstm")
    samples = []
    for seed in (1, 1, 2):
        with sampled_weights(posterior, torch.Generator().manual_seed(seed)):
            samples.append(net.weight_hh_l1.detach().clone())
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_a_sample_holds_for_all_time_steps() -> None:
    torch.manual_seed(0)
    cell = nn.LSTMCell(2, 3)
    posterior = posterior_over(cell)
    with sampled_weights(posterior):
        state = None
        seen = []
        for _ in range(4):
            state = cell(torch.zeros(1, 2), state)
            seen.append(cell.weight_hh.detach().clone())
    assert all(torch.equal(weight, seen[0]) for weight in seen)


def test_pruned_weights_are_zero_cost_nothing_and_do_not_move() -> None:
    net, posterior, inputs = made("linear")
    mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in net.named_parameters()}
    mask["weight"][0] = False
    posterior.set_mask(mask)
    posterior.refit_prior_()
    with sampled_weights(posterior):
        assert not net.weight[0].any()
        loss_of(net, inputs).backward()
    posterior.add_complexity_gradient_()
    assert not net.weight.grad[0].any()
    assert not posterior.log_sigma[0].grad[0].any()
    assert posterior.weights == 15 - 4
    kept = torch.cat([net.weight[1:].flatten(), net.bias]).detach()
    torch.testing.assert_close(posterior.prior_groups.prior_mean[0], kept.mean())
    assert posterior.costs()["weight"][0].sum() == 0


def test_signal_to_noise_is_mean_by_standard_deviation() -> None:
    net, posterior, _ = made("linear", posterior="laplace")
    expected = net.weight.detach().abs() / (posterior.log_sigma[0].detach().exp() * 2**0.5)
    torch.testing.assert_close(posterior.signal_to_noise()["weight"], expected)


def test_a_delta_posterior_does_not_sample() -> None:
    net, posterior, _ = made("linear", posterior="delta")
    before = net.weight.detach().clone()
    with sampled_weights(posterior):
        assert torch.equal(net.weight, before)


def test_half_precision_weights_have_scales_in_single() -> None:
    net = nn.Linear(4, 3).bfloat16()
    posterior = posterior_over(net)
    with sampled_weights(posterior):
        net(torch.ones(2, 4, dtype=torch.bfloat16)).sum().backward()
    posterior.add_complexity_gradient_()
    assert posterior.log_sigma[0].dtype == torch.float32
    assert net.weight.grad.dtype == torch.bfloat16
    assert posterior.log_sigma[0].grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"include": "nothing"}, "include: 'nothing' matches none of weight, bias"),
        ({"exclude": "x*"}, "exclude: 'x\\*' matches none"),
        ({"exclude": "*"}, "at least one parameter"),
        ({"sigma": 0.0}, "sigma must be positive and finite, not 0.0"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        posterior_over(nn.Linear(2, 2), **settings)


def test_an_unknown_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="prior must be one of gaussian, laplace, uniform, not 'cauchy'"):
        WeightPosterior(dict(nn.Linear(2, 2).named_parameters()), prior="cauchy")  # type: ignore[arg-type]
