"""Networks with a posterior, sent as messages."""

import math

import pytest
import torch
from torch import nn

pytest.importorskip("constriction")

from graves_bayes.layers.coded_network import CodedNetwork
from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.pruned import prune_
from graves_bayes.layers.sampled import posterior_over, sampled_weights
from graves_bayes.variational.message import decode


def setting() -> tuple[nn.Module, WeightPosterior, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))
    posterior = posterior_over(net, sigma=0.1, groups="layer")
    with torch.no_grad():
        for scale in posterior.log_sigma:
            scale.add_(torch.randn_like(scale) * 0.5)
    posterior.refit_prior_()
    x = torch.randn(300, 6)
    return net, posterior, x, net(x).argmax(1)


def coded(net: nn.Module, posterior: WeightPosterior, x: torch.Tensor) -> CodedNetwork:
    return CodedNetwork(posterior, lambda: net(x).log_softmax(-1))


def test_another_side_decodes_weights_and_labels() -> None:
    """The receiver has a network with weights of its own, and knows prior and grid."""
    net, posterior, x, y = setting()
    sender = coded(net, posterior, x)
    message = sender.encode(y, torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    other = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))
    receiver = coded(other, posterior_over(other), x)
    received = decode(message.words, receiver.predict, sender.prior, sender.grid)
    assert torch.equal(received.labels, y)
    assert torch.equal(received.weights, sender.decode(message.words).weights)


def test_the_sender_s_bits_come_back() -> None:
    net, posterior, x, y = setting()
    sender = coded(net, posterior, x)
    message = sender.encode(y, torch.Generator().manual_seed(0))
    borrowed = sender.decode(message.words).borrowed
    drawn = torch.randint(2**32, (len(borrowed),), generator=torch.Generator().manual_seed(0))
    assert drawn.numpy().astype("uint32").tolist() == borrowed.tolist()


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_message_is_as_long_as_the_description(threshold: float) -> None:
    """Over 30 messages; the bound is 4 standard errors, one per cent and the coder's 64 bits."""
    net, posterior, x, y = setting()
    prune_(posterior, threshold)
    sender = coded(net, posterior, x)
    lengths = torch.tensor(
        [float(sender.encode(y, torch.Generator().manual_seed(seed)).net_bits) for seed in range(30)]
    )
    errors = []
    for _ in range(300):
        with sampled_weights(posterior), torch.no_grad():
            errors.append(nn.functional.cross_entropy(net(x), y, reduction="sum"))
    error = torch.stack(errors)
    expected = float(error.mean() + posterior.complexity()) / math.log(2)
    spread = float((lengths.var() / 30 + error.var() / math.log(2) ** 2 / 300).sqrt())
    assert abs(float(lengths.mean()) - expected) < 4 * spread + 0.01 * expected + 64


def test_pruned_weights_are_not_sent() -> None:
    net, posterior, x, y = setting()
    prune_(posterior, 1.5)
    sender = coded(net, posterior, x)
    received = sender.decode(sender.encode(y).words)
    assert len(received.weights) == posterior.weights < 136


def test_the_network_stays_as_it_is() -> None:
    net, posterior, x, y = setting()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sender = coded(net, posterior, x)
    sender.decode(sender.encode(y).words)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_other_families_are_refused() -> None:
    net = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="posterior"):
        coded(net, posterior_over(net, posterior="laplace"), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="prior"):
        coded(net, posterior_over(net, prior="laplace"), torch.zeros(1, 2))
