"""What holds for every network: shapes, time, dropout, precision, compilation, gradients, construction."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from torch import Tensor

from graves_bfn import BFNMLP, BFNConvNet, BFNNetwork, BFNTransformer, BFNUNet, BFNVDMUNet
from graves_core.spec import build

Make = Callable[[int, int, float], BFNNetwork]


def mlp(n_in: int, n_out: int, dropout: float) -> BFNNetwork:
    return BFNMLP((4, 6, 2), n_in, n_out, width=16, depth=2, dropout=dropout)


def unet(n_in: int, n_out: int, dropout: float) -> BFNNetwork:
    return BFNUNet((4, 6, 2), n_in, n_out, 16, (1, 2), 1, 2, (2,), dropout, groups=8)


def vdm_unet(n_in: int, n_out: int, dropout: float) -> BFNNetwork:
    return BFNVDMUNet((4, 6, 2), n_in, n_out, channels=16, blocks=2, heads=2, dropout=dropout, groups=8)


def convnet(n_in: int, n_out: int, dropout: float) -> BFNNetwork:
    return BFNConvNet((4, 6, 2), n_in, n_out, width=16, dilations=(1, 1), kernel=95, dropout=dropout)


def transformer(n_in: int, n_out: int, dropout: float) -> BFNNetwork:
    return BFNTransformer((4, 6, 2), n_in, n_out, width=16, depth=2, heads=2, dropout=dropout)


pytestmark = pytest.mark.parametrize("make", [mlp, unet, vdm_unet, convnet, transformer])


def awake(net: BFNNetwork) -> BFNNetwork:
    """Moves the layers that start at zero away from it, as the first training steps do."""
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=generator)
    return net


def probabilities(classes: int) -> Tensor:
    return torch.randn(3, 4, 6, 2, classes, generator=torch.Generator().manual_seed(1)).softmax(-1)


@pytest.mark.parametrize("outputs", [1, 2])
def test_means_give_the_outputs_of_each_variable(make: Make, outputs: int) -> None:
    assert make(1, outputs, 0.0)(torch.randn(3, 4, 6, 2), torch.rand(3)).shape == (3, 4, 6, 2, outputs)


def test_probabilities_give_a_logit_per_class(make: Make) -> None:
    assert make(5, 5, 0.0)(probabilities(5), torch.rand(3)).shape == (3, 4, 6, 2, 5)


def test_two_classes_enter_as_one_scaled_probability(make: Make) -> None:
    net, t = awake(make(1, 1, 0.0)), torch.rand(3)
    p = probabilities(2)[..., :1]
    torch.testing.assert_close(net(p, t), net((2 * p - 1).squeeze(-1), t))


def test_examples_do_not_see_each_other(make: Make) -> None:
    net, x, t = awake(make(1, 1, 0.0)), torch.randn(3, 4, 6, 2), torch.rand(3)
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(x, t), alone, rtol=1e-4, atol=1e-5)


def test_time_and_input_matter(make: Make) -> None:
    net, x = awake(make(1, 1, 0.0)), torch.randn(1, 4, 6, 2)
    early, late = net(x, torch.tensor([0.1])), net(x, torch.tensor([0.8]))
    other = net(torch.randn(1, 4, 6, 2), torch.tensor([0.1]))
    assert (early - late).abs().max() > 1e-3
    assert (early - other).abs().max() > 1e-3


def test_every_output_depends_on_every_input(make: Make) -> None:
    net = awake(make(1, 1, 0.0)).double()
    x = torch.randn(1, 4, 6, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x, torch.tensor([0.5], dtype=torch.float64))[0, 0, 0, 0, 0], x)
    assert (gradient != 0).all()


def test_dropout_acts_in_training_alone(make: Make) -> None:
    net, x, t = awake(make(1, 1, 0.5)), torch.randn(2, 4, 6, 2), torch.rand(2)
    assert not torch.equal(net(x, t), net(x, t))
    net.eval()
    assert torch.equal(net(x, t), net(x, t))


def test_gradients_reach_every_parameter(make: Make) -> None:
    net = awake(make(5, 5, 0.0))
    net(probabilities(5), torch.rand(3)).square().sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_bfloat16_autocast_is_close_to_float32(make: Make) -> None:
    net, x, t = awake(make(1, 2, 0.0)), torch.randn(3, 4, 6, 2), torch.rand(3)
    exact = net(x, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x, t)
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()
    rough.float().sum().backward()


def test_a_bfloat16_network_takes_float32_inputs(make: Make) -> None:
    net, x, t = awake(make(1, 2, 0.0)), torch.randn(3, 4, 6, 2), torch.rand(3)
    exact = net(x, t)
    rough = net.bfloat16()(x, t)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_compiles_without_a_graph_break(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the compiler cannot read shape checks
    net, x, t = awake(make(1, 1, 0.0)).eval(), torch.randn(2, 4, 6, 2), torch.rand(2)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, t), net(x, t))


def test_is_rebuilt_from_its_spec(make: Make) -> None:
    net = make(5, 5, 0.25)
    again = build(net.spec)
    assert type(again) is type(net)
    assert again.spec == net.spec
    again.load_state_dict(net.state_dict())


def test_channels_last_weights_change_nothing(make: Make) -> None:
    net, x, t = awake(make(1, 1, 0.0)), torch.randn(2, 4, 6, 2), torch.rand(2)
    before = net(x, t)
    after = net.to(memory_format=torch.channels_last)(x, t)  # type: ignore[call-overload]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_all_parameters_are_in_the_groups(make: Make) -> None:
    net = make(1, 1, 0.0)
    grouped = [id(p) for group in net.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())
    torch.optim.AdamW(net.parameter_groups(), lr=1e-3)


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 4, 6, 2, 4), (3, 48)])
def test_inputs_of_another_shape_are_refused(make: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"inputs must have the shape .*\(4, 6, 2, 5\).*got"):
        make(5, 5, 0.0)(torch.rand(shape), torch.rand(3))
