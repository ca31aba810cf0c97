"""NoisyLinear against its formula, and under autocast, compiled and in torch.func."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from noisy_cases import inputs, make, stated
from torch import Tensor

from graves_bayes.layers.noisy_linear import NoisyLinear
from graves_bayes.noise.draws import FactorisedNoise, IndependentNoise

KINDS = ["factorised", "independent"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_computing_gives_the_formula(kind: str, rows: int, bias: bool) -> None:
    layer, x = make(kind, bias=bias), inputs(rows)
    expected = stated(layer, x)
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
        layer.hold()
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_formula(kind: str, rows: int) -> None:
    layer, x = make(kind), inputs(rows).requires_grad_()
    found, expected = (
        torch.autograd.grad(y.pow(3).sum(), [x, *layer.parameters()]) for y in (layer(x), stated(layer, x))
    )
    torch.testing.assert_close(found, expected)
    assert all(gradient.abs().sum() > 0 for gradient in found)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_with_noise_of_their_own_compute_as_layers_of_their_own(kind: str) -> None:
    layer, x = make(kind), inputs(5)
    layer.resample(count=5)
    rows, noise = layer(x), layer.noise
    for row in range(5):
        layer.noise = type(noise)(*(part[row] for part in noise))
        torch.testing.assert_close(rows[row], stated(layer, x[row]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_rows_with_noise_of_their_own_are_those_of_single_rows(kind: str) -> None:
    layer, x = make(kind), inputs(5).requires_grad_()
    layer.resample(count=5)
    found = torch.autograd.grad(layer(x).pow(3).sum(), [x, *layer.parameters()])
    noise, loss = layer.noise, torch.zeros((), dtype=torch.float64)
    for row in range(5):
        layer.noise = type(noise)(*(part[row] for part in noise))
        loss = loss + stated(layer, x[row]).pow(3).sum()
    torch.testing.assert_close(found, torch.autograd.grad(loss, [x, *layer.parameters()]))


def test_sequences_of_a_row_share_its_noise() -> None:
    layer, x = make(), inputs(5)
    layer.resample(count=5)
    torch.testing.assert_close(layer(x[:, None].expand(5, 3, 6)), layer(x)[:, None].expand(5, 3, 4))


@pytest.mark.parametrize("shape", [(4, 6), (6,), (1, 5, 6)])
def test_noise_for_another_number_of_rows_is_refused(shape: tuple[int, ...]) -> None:
    layer = make()
    layer.resample(count=5)
    with pytest.raises(ValueError, match="the noise is for 5 rows, and the inputs have the shape"):
        layer(torch.zeros(shape, dtype=torch.float64))


def test_factorised_layers_begin_as_in_the_paper() -> None:
    layer = NoisyLinear(400, 300, sigma0=0.5)
    for mean in (layer.weight, layer.bias):
        assert mean.abs().max() <= 1 / 20
    assert abs(float(layer.weight.detach().std()) * 20 - 1 / math.sqrt(3)) < 0.01
    for sigma in (layer.weight_sigma, layer.bias_sigma):  # both by the number of inputs
        torch.testing.assert_close(sigma, torch.full_like(sigma, 0.5 / 20))


def test_independent_layers_begin_as_in_the_paper() -> None:
    layer = NoisyLinear(300, 400, "independent")
    for mean in (layer.weight, layer.bias):
        assert mean.abs().max() <= math.sqrt(3 / 300)
    assert abs(float(layer.weight.detach().std()) * math.sqrt(300) - 1) < 0.01
    for sigma in (layer.weight_sigma, layer.bias_sigma):
        torch.testing.assert_close(sigma, torch.full_like(sigma, 0.017))


def test_the_same_generator_draws_the_same_noise() -> None:
    layer = make()
    drawn = []
    for _ in range(2):
        layer.resample(torch.Generator().manual_seed(3))
        drawn.append(layer.noise.inputs)
    assert torch.equal(*drawn)


def test_noise_is_the_same_for_all_rows_and_calls() -> None:
    layer, x = make(), inputs(1)
    torch.testing.assert_close(layer(x.expand(9, 6)), layer(x).expand(9, 4))


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_computes_in_the_narrow_type(kind: str, rows: int) -> None:
    layer, x = make(kind).float(), inputs(rows).float()
    expected = stated(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(x)
        with torch.no_grad():
            acted = layer(x)
    assert result.dtype == acted.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(acted.float(), expected, rtol=0.05, atol=0.05)
    result.sum().backward()
    assert layer.weight_sigma.grad.dtype == torch.float32


@pytest.fixture
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks of shapes that tests put around functions, which would be compiled too."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch.compiler.reset()


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("count", [None, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_layer_is_one_graph_and_sees_new_noise(kind: str, count: int | None) -> None:
    layer, x = make(kind, p=300, q=300).float(), inputs(5, 300).float()
    layer.resample(count=count)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    for _ in range(3):
        layer.resample(count=count)
        torch.testing.assert_close(compiled(x), layer(x))
    assert len(graphs) == 1
    with torch.no_grad():
        layer.hold()
        torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.usefixtures("_unchecked")
def test_a_compiled_layer_has_the_same_gradients() -> None:
    layer, x = make(p=300, q=300), inputs(5, 300).requires_grad_()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    gradients = [
        torch.autograd.grad(run(x).square().sum(), [x, *layer.parameters()]) for run in (compiled, layer)
    ]
    torch.testing.assert_close(*gradients)


def test_networks_are_stacked_by_torch_func() -> None:
    """Parameters and noise of many networks in one call, with gradients."""
    layers = [make(p=300, q=300) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(layers)
    x = inputs(5, 300)

    def loss(own: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layers[0], own, (x,)).square().sum()

    layers[0].hold()
    found = torch.func.vmap(torch.func.grad(loss))(parameters)
    for number, layer in enumerate(layers):
        layer.noise = layers[0].noise
        expected = torch.autograd.grad(stated(layer, x).square().sum(), list(layer.parameters()))
        torch.testing.assert_close([found[name][number] for name, _ in layer.named_parameters()], [*expected])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"in_features": 0}, "in_features must be at least 1, not 0"),
        ({"out_features": -1}, "out_features must be at least 1, not -1"),
        ({"kind": "gaussian"}, "kind must be one of factorised, independent, not 'gaussian'"),
        ({"sigma0": -0.5}, "sigma0 must be at least 0 and finite, not -0.5"),
        ({"sigma0": math.nan}, "sigma0 must be at least 0 and finite, not nan"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoisyLinear(**({"in_features": 3, "out_features": 2} | arguments))


def test_noise_of_another_kind_or_shape_is_refused() -> None:
    layer = make()
    with pytest.raises(TypeError, match="noise must be FactorisedNoise, not IndependentNoise"):
        layer.noise = IndependentNoise(torch.zeros(4, 6), torch.zeros(4))
    with pytest.raises(ValueError, match="noise must have the shapes"):
        layer.noise = FactorisedNoise(torch.zeros(4), torch.zeros(6))
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        layer.resample(count=0)
