"""What happens to the noise of NoisyLinear in copies, moves and checkpoints, and to what it holds."""

import copy
import io

import pytest
import torch
from noisy_cases import inputs, make, stated
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils.parametrizations import weight_norm

from graves_bayes.layers.noise_control import hold_noise, noise_off, resample_noise, zero_noise
from graves_bayes.layers.noisy_linear import NoisyLinear
from graves_bayes.noise.draws import draw_noise

KINDS = ["factorised", "independent"]


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_in_no_checkpoint_and_no_buffer(kind: str) -> None:
    layer = NoisyLinear(6, 4, kind)
    names = {"weight", "weight_sigma", "bias", "bias_sigma"}
    assert set(layer.state_dict()) == names == {name for name, _ in layer.named_parameters()}
    assert not list(layer.buffers())


def test_a_checkpoint_of_a_linear_layer_loads_as_the_means() -> None:
    plain, layer = nn.Linear(6, 4), NoisyLinear(6, 4)
    told = layer.load_state_dict(plain.state_dict(), strict=False)
    assert told.missing_keys == ["weight_sigma", "bias_sigma"]
    assert torch.equal(layer.weight, plain.weight)


def test_evaluation_mode_does_not_change_the_noise() -> None:
    layer, x = make(), inputs()
    before = layer(x)
    torch.testing.assert_close(layer.eval()(x), before)


def test_noise_that_is_replaced_before_backward_is_still_that_of_the_gradient() -> None:
    layer, x = make(), inputs()
    noise, loss = layer.noise, layer(x).sum()
    layer.resample()
    loss.backward()
    expected = torch.outer(noise.outputs, noise.inputs * x.sum(0))
    torch.testing.assert_close(layer.weight_sigma.grad, expected)


def test_noise_drawn_in_inference_mode_serves_training() -> None:
    layer, x = make(), inputs(20)
    with torch.inference_mode():
        layer.resample()
        layer.hold()
        acted = layer(x)
    layer(x).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), acted.clone())


def change_in_place(layer: NoisyLinear) -> None:
    with torch.no_grad():
        layer.bias_sigma.add_(1)


def load_other(layer: NoisyLinear) -> None:
    layer.load_state_dict(NoisyLinear(6, 4).state_dict())


def swap_data(layer: NoisyLinear) -> None:
    layer.weight.data = torch.ones_like(layer.weight)


def step(fused: bool):
    def run(layer: NoisyLinear) -> None:
        layer(inputs()).sum().backward()
        torch.optim.Adam(layer.parameters(), lr=0.1, fused=fused).step()

    return run


CHANGES = {
    "in place": change_in_place,
    "by loading": load_other,
    "by other data": swap_data,
    "by an optimizer": step(fused=False),
    "by a fused optimizer": step(fused=True),
    "by noise": lambda layer: layer.resample(),
    "by no noise": lambda layer: layer.zero(),
    "by type": lambda layer: layer.float(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_held_follows_changes(name: str) -> None:
    layer, x = make(), inputs()
    layer.hold()
    with torch.no_grad():
        before = layer(x)
    CHANGES[name](layer)
    x = x.to(layer.weight.dtype)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), stated(layer, x))
        assert not torch.allclose(layer(x), before.to(x.dtype), rtol=1e-12, atol=1e-12)


def test_a_held_layer_forms_its_matrix_once() -> None:
    layer = make()
    layer.hold()
    with torch.no_grad():
        layer(inputs())
        kept = layer._held
        layer(inputs(3))
    assert layer._held is kept


def test_what_is_held_is_not_taken_for_that_of_other_tensors_at_the_same_address() -> None:
    layer, twin, x = make(p=300, q=300), make(p=300, q=300), inputs(5, 300)
    twin.noise = layer.noise
    layer.hold()
    with torch.no_grad():
        for number in range(5):
            own = {name: torch.full_like(part, number) for name, part in layer.named_parameters()}
            found = torch.func.functional_call(layer, own, (x,))
            twin.load_state_dict(own)
            del own  # so that the next tensors may get its memory
            torch.testing.assert_close(found, stated(twin, x))


def test_what_is_held_is_not_taken_for_that_of_other_data_at_the_same_address() -> None:
    layer, x = make(p=300, q=300), inputs(5, 300)
    layer.hold()
    with torch.no_grad():
        for number in range(5):
            mean = layer.weight.data
            layer.weight.data = torch.full_like(mean, number)
            torch.testing.assert_close(layer(x), stated(layer, x))
            layer.weight.data = mean


def test_nothing_is_held_of_parametrised_weights() -> None:
    layer, x = make(), inputs()
    weight_norm(layer)
    layer.hold()
    with torch.no_grad():
        layer(x)
        layer.parametrizations.weight.original0.mul_(2)
        torch.testing.assert_close(layer(x), stated(layer, x))


def test_copies_have_the_noise_and_draw_their_own() -> None:
    layer, x = make(), inputs()
    layer.hold()
    with torch.no_grad():
        layer(x)
    twin = copy.deepcopy(layer)
    assert twin._held is None
    torch.testing.assert_close(twin(x), layer(x))
    twin.resample()
    assert not torch.equal(twin(x), layer(x))


def test_a_pickled_layer_keeps_its_noise() -> None:
    layer, x = make(), inputs()
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    torch.testing.assert_close(again(x), layer(x))


def test_noise_moves_with_the_layer() -> None:
    layer = make().to(torch.bfloat16)
    assert {part.dtype for part in layer.noise} == {torch.bfloat16}
    assert {part.device.type for part in layer.to("meta").noise} == {"meta"}


@pytest.mark.parametrize("count", [None, 5])
def test_a_layer_made_without_storage_draws_noise_when_it_gets_some(count: int | None) -> None:
    with torch.device("meta"):
        layer = NoisyLinear(6, 4)
    layer.resample(count=count)
    torch.manual_seed(3)
    layer.to_empty(device="cpu")
    expected = draw_noise("factorised", 6, 4, count, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer.noise, expected, rtol=0, atol=0)


def test_zero_removes_noise_until_the_next_draw() -> None:
    net = nn.Sequential(make(), make(p=4))
    zero_noise(net)
    x = inputs()
    expected = linear(linear(x, net[0].weight, net[0].bias), net[1].weight, net[1].bias)
    torch.testing.assert_close(net(x), expected)
    resample_noise(net)
    assert not torch.allclose(net(x), expected)


def test_noise_off_puts_back_noise_and_hold_even_after_errors() -> None:
    net, x = nn.Sequential(make(), make(p=4)), inputs()
    hold_noise(net)
    before = net(x)

    def fail() -> None:
        with noise_off(net):
            resample_noise(net)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    torch.testing.assert_close(net(x), before)
    assert net[0].holding
    assert net[1].holding


def test_layers_of_a_network_draw_different_noise_from_one_generator() -> None:
    net = nn.Sequential(make(p=4), make(p=4))
    resample_noise(net, torch.Generator().manual_seed(0))
    assert not torch.equal(net[0].noise.inputs, net[1].noise.inputs)
