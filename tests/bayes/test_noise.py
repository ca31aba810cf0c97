"""The noise of noisy layers against closed forms, numpy and autograd."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from graves_bayes.layers.noisy_weight import factorised_weight
from graves_bayes.noise.draws import FactorisedNoise, IndependentNoise, draw_noise, signed_sqrt
from graves_bayes.noise.forms import NoisyWeights, materialised, thin_products

P, Q, ROWS = 5, 3, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(p: int = P, q: int = Q, bias: bool = True) -> NoisyWeights:
    draw = generator(1)
    shapes = [(q, p), (q, p), *([(q,), (q,)] if bias else [])]
    return NoisyWeights(
        *(torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes)
    )


def drawn(kind: str, count: int | None = None, p: int = P, q: int = Q):
    return draw_noise(kind, p, q, count, torch.zeros((), dtype=torch.float64), generator(2))


def rows_of_inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(3), dtype=torch.float64).requires_grad_()


def by_numpy(x: Tensor, own: NoisyWeights, noise: FactorisedNoise | IndependentNoise, row: int) -> np.ndarray:
    """Equation 9 for one row, with loops."""
    each = [part.numpy() if len(noise[1].shape) == 1 else part[row].numpy() for part in noise]
    mean, sigma, bias, bias_sigma = (part.detach().numpy() for part in own)
    result = np.zeros(len(mean))
    for j in range(len(mean)):
        result[j] = bias[j] + bias_sigma[j] * each[1][j]
        for i in range(mean.shape[1]):
            one = each[1][j] * each[0][i] if isinstance(noise, FactorisedNoise) else each[0][j, i]
            result[j] += (mean[j, i] + sigma[j, i] * one) * x[row, i].item()
    return result


def test_signed_sqrt_is_the_square_root_with_the_sign() -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    torch.testing.assert_close(signed_sqrt(x) * signed_sqrt(x).abs(), x)


def test_the_variance_of_signed_square_roots_of_normal_numbers() -> None:
    """f(x)^2 = |x|, of variance 1 - 2/pi."""
    n = 200_000
    f = draw_noise("factorised", n, 1, generator=generator()).inputs
    bound = 5 * math.sqrt((1 - 2 / math.pi) / n)
    assert abs(float(f.square().mean()) - math.sqrt(2 / math.pi)) < bound
    assert abs(float(f.mean())) < 5 * math.sqrt(math.sqrt(2 / math.pi) / n)


def test_the_variance_of_an_entry_of_factorised_noise() -> None:
    """An entry squared is |x y|, of mean 2/pi and variance 1 - 4/pi^2."""
    n = 200_000
    noise = draw_noise("factorised", 1, 1, count=n, generator=generator())
    entries = (noise.inputs * noise.outputs).flatten()
    bound = 5 * math.sqrt((1 - 4 / math.pi**2) / n)
    assert abs(float(entries.square().mean()) - 2 / math.pi) < bound


def test_independent_noise_is_standard_normal() -> None:
    noise = draw_noise("independent", 300, 300, generator=generator())
    n = noise.weight.numel()
    assert abs(float(noise.weight.square().mean()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float(noise.weight.mean())) < 5 / math.sqrt(n)
    assert noise.bias.shape == (300,)


def test_inputs_and_outputs_of_equally_wide_layers_have_other_noise() -> None:
    noise = draw_noise("factorised", 8, 8, generator=generator())
    assert not torch.equal(noise.inputs, noise.outputs)


def test_rows_have_noise_of_their_own() -> None:
    noise = draw_noise("factorised", P, Q, count=ROWS, generator=generator())
    assert len(noise.inputs.unique(dim=0)) == len(noise.outputs.unique(dim=0)) == ROWS


def test_narrow_types_get_noise_that_was_drawn_in_single_precision() -> None:
    wide = draw_noise("factorised", P, Q, generator=generator())
    narrow = draw_noise("factorised", P, Q, like=torch.zeros((), dtype=torch.bfloat16), generator=generator())
    assert torch.equal(narrow.inputs, wide.inputs.bfloat16())


@pytest.mark.parametrize("count", [None, ROWS])
@pytest.mark.parametrize("kind", ["factorised", "independent"])
def test_the_materialised_form_is_equation_9(kind: str, count: int | None) -> None:
    x, own, noise = rows_of_inputs(ROWS, P), weights(), drawn(kind, count)
    expected = np.stack([by_numpy(x, own, noise, row) for row in range(ROWS)])
    np.testing.assert_allclose(materialised(x, own, noise).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [None, ROWS])
def test_thin_products_equal_the_materialised_form(count: int | None, bias: bool) -> None:
    own, noise = weights(bias=bias), drawn("factorised", count)
    for shape in ((ROWS, P), (ROWS, 2, P), (ROWS, 2, 3, P)):
        x = rows_of_inputs(*shape)
        torch.testing.assert_close(thin_products(x, own, noise), materialised(x, own, noise))


@pytest.mark.parametrize("count", [None, ROWS])
def test_gradients_of_thin_products_are_those_of_the_materialised_form(count: int | None) -> None:
    x, own, noise = rows_of_inputs(ROWS, P), weights(), drawn("factorised", count)
    forms = (thin_products(x, own, noise), materialised(x, own, noise))
    thin, formed = (torch.autograd.grad(y.pow(3).sum(), [x, *own]) for y in forms)
    torch.testing.assert_close(thin, formed)


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes even small matrices in blocks of two rows."""
    monkeypatch.setattr("graves_bayes.layers.noisy_weight.SMALL", 0)
    monkeypatch.setattr("graves_bayes.layers.noisy_weight.BLOCK", 2 * P)


@pytest.mark.usefixtures("_large")
def test_the_weight_in_blocks_is_that_of_the_plain_statement() -> None:
    own, noise = weights(q=7), drawn("factorised", q=7)
    weight = factorised_weight(own, noise)
    assert "FactorisedWeight" in type(weight.grad_fn).__name__
    plain = own.weight + own.weight_sigma * torch.outer(noise.outputs, noise.inputs)
    torch.testing.assert_close(weight, plain)


@pytest.mark.usefixtures("_large")
def test_the_gradient_in_blocks_is_that_of_autograd() -> None:
    own, noise = weights(q=7, bias=False), drawn("factorised", q=7)
    plain = own.weight + own.weight_sigma * torch.outer(noise.outputs, noise.inputs)
    found, expected = (
        torch.autograd.grad(w.pow(3).sum(), own[:2]) for w in (factorised_weight(own, noise), plain)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("_large")
def test_first_and_second_derivatives_of_the_weight_pass_a_numerical_check() -> None:
    noise = drawn("factorised", q=7)

    def weight(mean: Tensor, sigma: Tensor) -> Tensor:
        return factorised_weight(NoisyWeights(mean, sigma), noise).sin()

    assert torch.autograd.gradcheck(weight, weights(q=7)[:2])
    assert torch.autograd.gradgradcheck(weight, weights(q=7)[:2])


@pytest.mark.usefixtures("_large")
def test_parts_that_want_no_gradient_get_none() -> None:
    own, noise = weights(), drawn("factorised")
    frozen = NoisyWeights(own.weight.detach(), own.weight_sigma)
    factorised_weight(frozen, noise).sum().backward()
    torch.testing.assert_close(own.weight_sigma.grad, torch.outer(noise.outputs, noise.inputs))


@pytest.mark.usefixtures("_large")
def test_the_gradient_of_the_means_is_not_copied() -> None:
    own, noise = weights(), drawn("factorised")
    seen = []
    weight = factorised_weight(own, noise)
    weight.register_hook(lambda gradient: seen.append(gradient.data_ptr()))
    torch.nn.functional.linear(rows_of_inputs(ROWS, P), weight).sum().backward()
    assert own.weight.grad is not None
    assert own.weight.grad.data_ptr() == seen[0]
