"""Pruning of networks and runs."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from noisy_models import QUIET, Regressor, loader
from torch import nn

from graves_bayes.callbacks.pruning import SignalToNoisePruning
from graves_bayes.callbacks.variational import VariationalInference
from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.pruned import export_pruned, fraction_left, prune_, pruned_mask
from graves_bayes.layers.sampled import posterior_over, sampled_weights
from graves_core import ExactResume, Spec
from graves_core.testing import assert_exact_resume


class Module(Spec, Regressor):
    """The regressor, which can be made again from a checkpoint."""


def make() -> Module:
    torch.manual_seed(0)
    return Module()


def network() -> tuple[nn.Module, WeightPosterior]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    return net, posterior_over(net, sigma=0.2)


def test_lambda_0_prunes_nothing() -> None:
    net, posterior = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prune_(posterior, 0.0)
    assert posterior.weights == 66
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_weights_below_lambda_sigmas_become_0() -> None:
    net, posterior = network()
    kept = {name: value.detach().abs() >= 0.8 * 0.2 for name, value in net.named_parameters()}
    prune_(posterior, 0.8)
    for name, value in net.named_parameters():
        assert torch.equal(value != 0, kept[name])
    assert float(fraction_left(posterior)) == pytest.approx(posterior.weights / 66)


def test_pruned_weights_are_not_sampled_and_do_not_learn() -> None:
    net, posterior = network()
    prune_(posterior, 0.8)
    pruned = [~mask.bool() for mask in posterior.mask]
    with sampled_weights(posterior):
        net(torch.ones(3, 5)).square().sum().backward()
        for value, gone in zip(net.parameters(), pruned, strict=True):
            assert not value[gone].any()
            assert value[~gone].all()
    posterior.add_complexity_gradient_()
    for value, gone in zip(net.parameters(), pruned, strict=True):
        assert not value.grad[gone].any()


def test_survivors_alone_make_prior_and_complexity() -> None:
    net, posterior = network()
    prune_(posterior, 0.8)
    left = torch.cat([value[value != 0] for value in net.parameters()]).detach().double()
    scale = ((left - left.mean()).square().mean() + 0.2**2).sqrt()
    expected = len(left) * (math.log(float(scale)) - math.log(0.2))
    assert float(posterior.complexity()) == pytest.approx(expected, rel=1e-4)


def test_a_second_step_keeps_the_first() -> None:
    net, posterior = network()
    prune_(posterior, 0.8, include="0.*")
    first = [(value == 0).clone() for value in net.parameters()]
    prune_(posterior, 0.8, include="2.*")
    for value, gone in zip(net.parameters(), first, strict=True):
        assert not value[gone].any()
    assert net[0].weight.count_nonzero() > 0
    assert (net[2].weight == 0).any()


@pytest.mark.parametrize("threshold", [-1.0, math.nan])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    net, posterior = network()
    with pytest.raises(ValueError, match="threshold"):
        prune_(posterior, threshold)
    with pytest.raises(ValueError, match="threshold"):
        export_pruned(net, posterior, threshold)


def test_nothing_left_is_refused() -> None:
    with pytest.raises(ValueError, match="no weight"):
        prune_(network()[1], math.inf)


def test_an_export_loads_into_a_plain_network() -> None:
    net, posterior = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    mask = pruned_mask(posterior, 0.8)
    with sampled_weights(posterior):
        state = export_pruned(net, posterior, 0.8)
    plain = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    plain.load_state_dict(state)
    for name, value in plain.named_parameters():
        assert torch.equal(value, before[name] * mask[name])
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_an_export_has_all_keys_of_tied_weights_and_buffers() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    state = export_pruned(net, posterior_over(net, exclude="1.*"), 2.0)
    assert list(state) == list(net.state_dict())
    assert torch.equal(state["0.weight"], state["2.weight"])
    assert torch.equal(state["1.running_var"], torch.ones(4))


class Watch(pl.Callback):
    """Notes how many weights of the body are 0 after each epoch."""

    def __init__(self) -> None:
        self.zeros: list[int] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.zeros.append(int(sum((p == 0).sum() for p in pl_module.parameters())))


def fit(*callbacks: pl.Callback, **arguments: Any) -> pl.Trainer:
    trainer = pl.Trainer(**(QUIET | {"max_epochs": 5} | arguments), callbacks=list(callbacks))
    trainer.fit(make(), loader())
    return trainer


def test_steps_take_place_when_they_are_due_and_last() -> None:
    watch = Watch()
    pruning = SignalToNoisePruning([0.5, 2.0], first_epoch=1, every_n_epochs=2)
    trainer = fit(VariationalInference(sigma=0.3, seed=0), pruning, watch)
    first, second, third, fourth, fifth = watch.zeros
    assert first == 0
    assert 0 < second == third < fourth == fifth
    assert trainer.callback_metrics["pruning/kept"] == pytest.approx(1 - fifth / 41)
    assert trainer.callback_metrics["pruning/mask_bits"] > 0


def test_a_killed_run_goes_on_with_its_mask(tmp_path: Path) -> None:
    """Killed within an epoch before and after a step of pruning, and between two epochs."""
    assert_exact_resume(
        make,
        loader,
        kill_at_steps=[5, 8, 12, 13],
        max_steps=20,
        root=tmp_path,
        make_callbacks=lambda: [
            VariationalInference(sigma=0.3),
            SignalToNoisePruning([0.5, 1.0], first_epoch=1),
            ExactResume(),
        ],
    )


def test_a_checkpoint_holds_the_mask(tmp_path: Path) -> None:
    trainer = fit(VariationalInference(sigma=0.3), SignalToNoisePruning([1.0]))
    trainer.save_checkpoint(tmp_path / "pruned.ckpt")
    saved = torch.load(tmp_path / "pruned.ckpt", weights_only=True)
    state = saved["callbacks"]["VariationalInference"]["posterior"]["mask"]
    for value, mask in zip(saved["state_dict"].values(), state, strict=True):
        assert mask.dtype == torch.bool
        assert not mask.all()
        assert torch.equal(value != 0, mask)


def test_ranks_prune_alike(tmp_path: Path) -> None:
    class Keep(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            torch.save(pl_module.state_dict(), tmp_path / f"{trainer.global_rank}.pt")

    fit(
        VariationalInference(sigma=0.3),
        SignalToNoisePruning([1.0]),
        Keep(),
        devices=2,
        strategy="ddp_fork",
        max_epochs=3,
    )
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert any((value == 0).any() for value in one.values())


def test_a_run_without_posterior_is_told() -> None:
    with pytest.raises(ValueError, match="VariationalInference"):
        fit(SignalToNoisePruning())
    with pytest.raises(ValueError, match="delta"):
        fit(VariationalInference(posterior="delta", prior_scale=1.0), SignalToNoisePruning())


@pytest.mark.parametrize(
    ("name", "value"),
    [("thresholds", []), ("thresholds", [-0.1]), ("first_epoch", -1), ("every_n_epochs", 0)],
)
def test_arguments_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        SignalToNoisePruning(**{name: value})
