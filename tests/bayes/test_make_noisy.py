"""make_noisy: what is replaced, kept, shared and refused."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from graves_bayes.layers.make_noisy import make_noisy, noisy_copy
from graves_bayes.layers.noise_control import noisy_layers, resample_noise, zero_noise
from graves_bayes.layers.noisy_linear import NoisyLinear


class Shared(nn.Module):
    """A layer with two names, and an output that is tied to an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.out = nn.Linear(4, 7)
        self.out.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(self.embedding(x))))


def test_without_noise_the_network_computes_what_it_computed() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 2, bias=False)))
    x = torch.randn(4, 3)
    before = net(x)
    made = make_noisy(net)
    assert list(made) == ["0", "2.0"]
    assert not torch.allclose(net(x), before)
    zero_noise(net)
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("0", ["0"]), ("2.*", ["2.0"]), (["0", "2.0"], ["0", "2.0"]), ("[02]*", ["0", "2.0"])],
)
def test_patterns_choose_layers_by_name(pattern: str | list[str], names: list[str]) -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 2)))
    make_noisy(net, pattern)
    assert list(noisy_layers(net)) == names


def test_layers_keep_parameters_kind_type_and_mode() -> None:
    net = nn.Sequential(nn.Linear(3, 5)).to(torch.bfloat16).eval()
    weight = net[0].weight
    (layer,) = make_noisy(net, kind="independent").values()
    assert layer.weight is weight
    assert layer.kind == "independent"
    assert {part.dtype for part in (layer.weight_sigma, layer.bias_sigma, *layer.noise)} == {torch.bfloat16}
    assert not layer.training
    torch.testing.assert_close(layer.weight_sigma, torch.full_like(weight, 0.017))


def test_a_layer_with_two_names_is_replaced_once() -> None:
    net = Shared()
    assert list(make_noisy(net, ["second", "out"])) == ["second", "out"]
    assert net.first is net.second


def test_ties_to_other_modules_are_kept() -> None:
    net = Shared()
    make_noisy(net)
    assert net.out.weight is net.embedding.weight


def test_layers_with_tied_weights_share_sigmas() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    make_noisy(net)
    assert net[1].weight_sigma is net[0].weight_sigma
    assert net[1].bias_sigma is not net[0].bias_sigma


def test_frozen_layers_get_frozen_sigmas() -> None:
    net = nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 3))
    make_noisy(net)
    assert [layer.weight_sigma.requires_grad for layer in net] == [False, True]


def test_sigmas_of_all_layers_get_gradients() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    make_noisy(net)
    net(torch.randn(4, 3)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_other_kinds_of_linear_layers_are_left_alone() -> None:
    attention = nn.MultiheadAttention(4, 2)
    net = nn.Sequential(weight_norm(nn.Linear(3, 3)), attention, nn.Linear(3, 3))
    assert list(make_noisy(net)) == ["2"]


def test_a_transformer_layer_is_noisy_in_evaluation_too() -> None:
    """Its shortcut for inference would take the means and leave the noise out."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).eval()
    make_noisy(net, "*.linear?")
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        first = net(x)
        assert torch.equal(net(x), first)
        resample_noise(net)
        assert not torch.allclose(net(x), first)


def test_nothing_to_replace_is_an_error_that_names_the_layers() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"no linear layer matches 'head\.\*'; there are 0, 2"):
        make_noisy(net, "head.*")
    with pytest.raises(ValueError, match=r"no linear layer matches '\*'; there are none"):
        make_noisy(nn.Sequential(nn.ReLU()))


def test_hooks_are_not_lost_silently() -> None:
    net = nn.Sequential(nn.Linear(3, 5))
    net[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="0 has hooks, which would be lost"):
        make_noisy(net)
    assert type(net[0]) is nn.Linear


def test_a_layer_alone_is_copied() -> None:
    linear = nn.Linear(3, 2, bias=False)
    with pytest.raises(TypeError, match="use noisy_copy"):
        make_noisy(linear)
    layer = noisy_copy(linear)
    assert isinstance(layer, NoisyLinear)
    assert layer.bias is None


def test_making_noise_does_not_disturb_global_draws_of_weights() -> None:
    """Only the noise itself is drawn, not means that are thrown away."""
    net = nn.Sequential(nn.Linear(3, 5))
    torch.manual_seed(0)
    make_noisy(net)
    after = torch.rand(())
    torch.manual_seed(0)
    torch.randn(8)
    assert torch.rand(()) == after
