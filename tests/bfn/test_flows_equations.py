"""Every equation of the flows against a statement of the same thing in float64 numpy or brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from graves_bfn import ContinuousFlow, DiscreteFlow, DiscretisedFlow

SIGMA = 0.07


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(n=st.integers(1, 200), sigma=st.floats(1e-3, 0.9))
def test_gaussian_accuracies_add_up(n: int, sigma: float) -> None:
    flow = ContinuousFlow(sigma)
    total = sum(flow.alpha(i, n) for i in range(1, n + 1))
    assert total == pytest.approx(sigma**-2 - 1)
    assert flow.beta(1.0) == pytest.approx(sigma**-2 - 1)


@given(n=st.integers(1, 200), beta_1=st.floats(0.1, 500), classes=st.integers(2, 9))
def test_discrete_accuracies_add_up(n: int, beta_1: float, classes: int) -> None:
    flow = DiscreteFlow(classes, beta_1)
    for i in (1, n):
        assert flow.alpha(i, n) == pytest.approx(flow.beta(i / n) - flow.beta((i - 1) / n), rel=1e-6)
    assert sum(flow.alpha(i, n) for i in range(1, n + 1)) == pytest.approx(beta_1)


@pytest.mark.parametrize("flow", [ContinuousFlow(SIGMA), DiscretisedFlow(8, SIGMA), DiscreteFlow(4, 3.0)])
def test_beta_rate_is_the_derivative_of_beta(flow: ContinuousFlow) -> None:
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(flow.beta(t).sum(), t)
    torch.testing.assert_close(flow.beta_rate(t.detach()), slope)


def test_alpha_of_tensors_and_of_numbers_agree() -> None:
    steps = torch.arange(1, 11, dtype=torch.float64)
    for flow in (ContinuousFlow(SIGMA), DiscreteFlow(4, 3.0)):
        expected = torch.tensor([flow.alpha(i, 10) for i in range(1, 11)], dtype=torch.float64)
        torch.testing.assert_close(flow.alpha(steps, 10), expected)


def test_gaussian_update_is_bayes_rule_on_a_grid() -> None:
    flow = ContinuousFlow(SIGMA)
    mean, precision, y, alpha = 0.3, 2.5, -0.4, 1.7
    grid = np.linspace(-8, 8, 200_001)
    posterior = norm.pdf(grid, mean, precision**-0.5) * norm.pdf(y, grid, alpha**-0.5)
    posterior /= posterior.sum()
    expected = (posterior * grid).sum()
    variance = (posterior * (grid - expected) ** 2).sum()
    after = flow.update((torch.tensor([mean]), torch.tensor([precision])), torch.tensor([y]), alpha)
    assert after.mean.item() == pytest.approx(expected, abs=1e-6)
    assert 1 / after.precision.item() == pytest.approx(variance, rel=1e-5)


def test_discrete_update_multiplies_probabilities_by_the_exponential_of_the_message() -> None:
    flow, random = DiscreteFlow(5, 2.0), rng()
    z, y = random.normal(size=(2, 3, 5)), random.normal(size=(2, 3, 5))
    theta = np.exp(z) / np.exp(z).sum(-1, keepdims=True) * np.exp(y)
    after = flow.probabilities(flow.update(torch.tensor(z), torch.tensor(y), 1.0))
    np.testing.assert_allclose(after, theta / theta.sum(-1, keepdims=True))


def test_discrete_update_is_bayes_rule_for_the_sender() -> None:
    flow, alpha, classes = DiscreteFlow(4, 2.0), 0.6, 4
    y = rng().normal(size=classes)
    likelihood = [
        norm.pdf(y, alpha * (classes * np.eye(classes)[k] - 1), math.sqrt(alpha * classes)).prod()
        for k in range(classes)
    ]
    after = flow.probabilities(flow.update(flow.prior((1, 1)), torch.tensor(y)[None, None], alpha))
    np.testing.assert_allclose(after[0, 0], likelihood / np.sum(likelihood))


def test_gaussian_flow_distribution_with_given_noise() -> None:
    flow, random = ContinuousFlow(SIGMA), rng()
    x, noise, t = random.normal(size=(4, 3, 2)), random.normal(size=(4, 3, 2)), random.random(4)
    gamma = (1 - SIGMA ** (2 * t))[:, None, None]
    params = flow.sample_params(torch.tensor(x), torch.tensor(t), noise=torch.tensor(noise))
    np.testing.assert_allclose(params.mean, gamma * x + np.sqrt(gamma * (1 - gamma)) * noise, rtol=1e-10)
    np.testing.assert_allclose(params.precision.flatten(), SIGMA ** (-2 * t))


def test_discrete_flow_distribution_and_sender_with_given_noise() -> None:
    flow, random = DiscreteFlow(5, 2.0), rng()
    x, noise, t = random.integers(0, 5, (4, 3)), random.normal(size=(4, 3, 5)), random.random(4)
    beta = (2.0 * t**2)[:, None, None]
    expected = beta * (5 * np.eye(5)[x] - 1) + np.sqrt(beta * 5) * noise
    z = flow.sample_params(torch.tensor(x), torch.tensor(t), noise=torch.tensor(noise))
    np.testing.assert_allclose(z, expected, rtol=1e-12)
    np.testing.assert_allclose(
        flow.send(torch.tensor(x), beta.flatten()[0], noise=torch.tensor(noise))[0], expected[0]
    )


@pytest.mark.parametrize("flow", [ContinuousFlow(SIGMA), DiscretisedFlow(16, SIGMA)])
def test_two_gaussian_messages_have_the_law_of_one(flow: ContinuousFlow) -> None:
    # mean and variance in closed form: the update is affine in the messages
    x, a, b = 0.6, 1.3, 2.1
    first, second = a / (1 + a), b / (1 + a + b)
    mean = (1 - second) * first * x + second * x
    variance = ((1 - second) * first) ** 2 / a + second**2 / b
    gamma = (a + b) / (1 + a + b)
    assert mean == pytest.approx(gamma * x)
    assert variance == pytest.approx(gamma * (1 - gamma))
    e = torch.eye(3, dtype=torch.float64)[1:]  # unit noises show the coefficients of the implementation
    params = flow.prior((3, 1))
    data = torch.full((3, 1), x, dtype=torch.float64)
    noises = torch.cat([torch.zeros(1, 2, dtype=torch.float64), e[:, 1:]])
    for alpha, noise in ((a, noises[:, :1]), (b, noises[:, 1:])):
        params = flow.update(params, flow.send(data, alpha, noise=noise), alpha)
    base = params.mean[0].item()
    assert base == pytest.approx(mean, rel=1e-6)
    assert ((params.mean[1:] - base) ** 2).sum().item() == pytest.approx(variance, rel=1e-5)


def test_two_discrete_messages_have_the_law_of_one() -> None:
    flow, x = DiscreteFlow(4, 3.0), torch.tensor([[2]])
    noise = torch.zeros(1, 1, 4, dtype=torch.float64)
    both = flow.send(x, 0.4, noise=noise) + flow.send(x, 0.9, noise=noise)
    torch.testing.assert_close(both, flow.send(x, 1.3, noise=noise))
    scale = [flow.send(x, a, noise=noise + 1) - flow.send(x, a, noise=noise) for a in (0.4, 0.9, 1.3)]
    torch.testing.assert_close(scale[0] ** 2 + scale[1] ** 2, scale[2] ** 2)


def test_continuous_output_and_losses_with_given_numbers() -> None:
    flow, random = ContinuousFlow(SIGMA), rng()
    x, noise = random.uniform(-1, 1, (6, 3)), random.normal(size=(6, 3))
    eps, t = random.normal(size=(6, 3)), np.array([0.0, 5e-7, 0.01, 0.3, 0.8, 1.0])
    gamma = (1 - SIGMA ** (2 * t))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = gamma * x + np.sqrt(gamma * (1 - gamma)) * noise
        guess = np.clip(mu / gamma - np.sqrt((1 - gamma) / gamma) * eps, -1, 1)
    guess[:2] = 0.0
    expected = -math.log(SIGMA) * ((x - guess) ** 2).sum(1) * SIGMA ** (-2 * t)
    network = lambda mean, t: torch.tensor(eps)[..., None]
    tensors = {"t": torch.tensor(t), "noise": torch.tensor(noise)}
    np.testing.assert_allclose(flow.continuous_time_loss(network, torch.tensor(x), **tensors), expected)

    n, i = 20, np.array([1, 2, 3, 9, 19, 20])
    gamma = (1 - SIGMA ** (2 * (i - 1) / n))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = gamma * x + np.sqrt(gamma * (1 - gamma)) * noise
        guess = np.clip(mu / gamma - np.sqrt((1 - gamma) / gamma) * eps, -1, 1)
    guess[0] = 0.0
    weight = n * (1 - SIGMA ** (2 / n)) / (2 * SIGMA ** (2 * i / n))
    loss = flow.discrete_time_loss(
        network, torch.tensor(x), n, step=torch.tensor(i), noise=torch.tensor(noise)
    )
    np.testing.assert_allclose(loss, weight * ((x - guess) ** 2).sum(1), rtol=1e-5)


def test_continuous_reconstruction_is_a_normal_density_or_a_bin() -> None:
    x, noise = torch.tensor([[0.125, -0.875]]).double(), torch.zeros(1, 2).double()
    network = lambda mean, t: torch.full((1, 2, 1), 0.5).double()
    guess = x - SIGMA / math.sqrt(1 - SIGMA**2) * 0.5
    density = ContinuousFlow(SIGMA).reconstruction_loss(network, x, noise=noise)
    np.testing.assert_allclose(density, -norm.logpdf(x, guess, SIGMA).sum(-1), rtol=1e-5)
    binned = ContinuousFlow(SIGMA, num_bins=8, reconstruction_std=0.05).reconstruction_loss(
        network, x, noise=noise
    )
    guess = guess.clamp(-1, 1).numpy()
    inner = norm.cdf(0.25, guess[0, 0], 0.05) - norm.cdf(0.0, guess[0, 0], 0.05)
    edge = norm.cdf(-0.75, guess[0, 1], 0.05)
    np.testing.assert_allclose(binned, [-math.log(inner) - math.log(edge)], rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_discrete_losses_with_given_numbers(classes: int) -> None:
    flow, random = DiscreteFlow(classes, 2.5), rng()
    x, logits = random.integers(0, classes, (4, 3)), random.normal(size=(4, 3, classes))
    if classes == 2:
        logits[..., 0] = 0
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    outputs = torch.tensor(logits[..., 1:] if classes == 2 else logits)
    network = lambda theta, t: outputs
    t, e_x = random.random(4), np.eye(classes)[x]
    expected = classes * 2.5 * t * ((e_x - p) ** 2).sum((1, 2))
    np.testing.assert_allclose(
        flow.continuous_time_loss(network, torch.tensor(x), t=torch.tensor(t)), expected
    )
    clean = -np.log((p * e_x).sum(-1)).sum(-1)
    np.testing.assert_allclose(flow.reconstruction_loss(network, torch.tensor(x)), clean)

    n, i, noise = 6, np.array([1, 2, 4, 6]), random.normal(size=(2, 4, 3, classes))
    alpha = (2.5 * (2 * i - 1) / n**2)[:, None, None]
    y = alpha * (classes * e_x - 1) + np.sqrt(alpha * classes) * noise
    given_numbers = {"step": torch.tensor(i), "sender_noise": torch.tensor(noise)}

    def log_density(y: np.ndarray, k: int) -> np.ndarray:
        return norm.logpdf(y, alpha * (classes * np.eye(classes)[k] - 1), np.sqrt(alpha * classes))

    sender = norm.logpdf(y, alpha * (classes * e_x - 1), np.sqrt(alpha * classes))
    mixture = np.log(sum(p[..., k] * np.exp(log_density(y, k).sum(-1)) for k in range(classes)))
    expected = n * (sender.sum(-1) - mixture).sum(-1).mean(0)
    joint = flow.discrete_time_loss(network, torch.tensor(x), n, **given_numbers)
    np.testing.assert_allclose(joint, expected, rtol=1e-5)

    high, low = (norm.pdf(y, alpha * m, np.sqrt(alpha * classes)) for m in (classes - 1, -1))
    expected = n * (sender - np.log(p * high + (1 - p) * low)).sum((-1, -2)).mean(0)
    factorised = DiscreteFlow(classes, 2.5, receiver="factorised")
    loss = factorised.discrete_time_loss(network, torch.tensor(x), n, **given_numbers)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_two_classes_show_the_network_the_probability_of_class_0_and_read_the_logit_of_class_1() -> None:
    flow = DiscreteFlow(2, 4.0)
    z = torch.tensor([[[1.0, 3.0]]])
    torch.testing.assert_close(flow.network_inputs(z), torch.tensor([[[1 / (1 + math.exp(2.0))]]]))
    output = flow.output_distribution(torch.tensor([[[2.0]]]), z, torch.ones(1))
    torch.testing.assert_close(output.mean[0, 0, 1], torch.sigmoid(torch.tensor(2.0)))


@pytest.mark.parametrize("steps", [1, 4])
def test_sampling_a_known_answer_returns_it(steps: int) -> None:
    x = torch.tensor([[0, 3, 1], [2, 2, 0]])
    discrete = DiscreteFlow(4, 3.0)
    certain = torch.nn.functional.one_hot(x, 4) * 50.0
    assert discrete.sample(lambda theta, t: certain, (2, 3), steps).equal(x)


def test_categorical_sampling_follows_the_probabilities() -> None:
    flow, count = DiscreteFlow(3, 1.0), 200_000
    p = torch.tensor([0.2, 0.7, 0.1])
    output = flow.output_distribution(p.log().expand(count, 1, 3), flow.prior((count, 1)), torch.ones(count))
    uniform = torch.rand(count, 1, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(output.sample(uniform).flatten(), minlength=3) / count
    assert (shares - p).abs().max() < 4 * math.sqrt(0.25 / count)


def test_gaussian_step_is_the_closed_form_and_the_first_order_sde_step() -> None:
    flow, n = ContinuousFlow(0.2), 7
    noise = torch.tensor(rng().normal(size=(n, 5, 2)))
    network = lambda mean, t: torch.tanh(mean + t[:, None]).unsqueeze(-1)
    steps = list(flow.generate(network, (5, 2), n, noise=noise))
    mu = torch.zeros(5, 2, dtype=torch.float64)
    for i in range(1, n + 1):
        s, t = (1 - 0.2 ** (2 * time / n) for time in (i - 1, i))  # gamma before and after
        guess = steps[i - 1].output.mean
        r = (1 - t) / (1 - s)
        closed = r * mu + (1 - r) * guess + math.sqrt((1 - r) * (1 - t)) * noise[i - 1]
        torch.testing.assert_close(steps[i].params.mean.double(), closed, atol=1e-6, rtol=1e-6)
        if s > 0:
            h = 0.5 * math.log(t / (1 - t)) - 0.5 * math.log(s / (1 - s))
            scale_s, scale_t = math.sqrt(s * (1 - s)), math.sqrt(t * (1 - t))
            sde = scale_t / scale_s * math.exp(-h) * mu + t * (1 - math.exp(-2 * h)) * guess
            sde += scale_t * math.sqrt(1 - math.exp(-2 * h)) * noise[i - 1]
            torch.testing.assert_close(closed, sde, atol=1e-12, rtol=1e-12)
        mu = closed
