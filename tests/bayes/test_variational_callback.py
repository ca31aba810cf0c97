"""VariationalInference in a Trainer: gradients, shares, samples, what is logged and what is refused."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from variational_models import ManualRegressor, Regressor, Rows, fit, loader, make

from graves_bayes.callbacks.variational import VariationalInference
from graves_bayes.callbacks.variational_run import sample
from graves_bayes.layers.sampled import posterior_over


def by_hand(batch: Tensor, seen: Tensor, **settings: Any) -> list[Tensor]:
    """Gradients of mean error and complexity per example, of means and scales, given a sample.

    Only the first matrix is variational.
    """
    module = make()
    posterior = posterior_over(module, include="net.0.weight", **settings)
    weight = module.net[0].weight
    mean, rho = weight.detach().clone(), posterior.log_sigma[0].detach()
    weight.data.copy_(seen)
    module.error(batch).mean().backward()
    of_scale = weight.grad * (seen - mean)
    prior_mean, prior_scale = posterior.prior_groups.of(0)
    weight.grad += (mean - prior_mean) / prior_scale**2 / 10
    return [weight.grad, of_scale + (rho.mul(2).exp() / prior_scale**2 - 1) / 10]


def test_the_first_step_has_the_gradients_of_the_description_length() -> None:
    callback = VariationalInference(include="net.0.weight", sigma=0.2)
    module, watch, _ = fit(callback, max_steps=1)
    expected = by_hand(Rows().rows[:4], module.seen[0], sigma=0.2)
    torch.testing.assert_close(watch.seen[0], expected)


def test_the_complexity_is_paid_once_an_epoch_whatever_the_batches() -> None:
    """With an error of 0 and no learning, an epoch's gradients are those of the whole complexity."""

    class Free(Regressor):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.error(batch).sum() * 0

    for reduction, size, parts, weights in (
        ("sum", 4, 1, [4, 4, 2]),
        ("sum", 2, 2, [2, 2, 1]),
        ("mean", 4, 1, [1, 1, 1]),
        ("mean", 2, 2, [1, 1, 0.5]),
    ):
        torch.manual_seed(0)
        module = Free(lr=0.0)
        callback = VariationalInference(reduction=reduction, sigma=0.2)  # type: ignore[arg-type]
        _, watch, _ = fit(callback, module, loader(size), accumulate_grad_batches=parts)
        assert callback.posterior is not None
        callback.posterior.zero_grad()
        module.zero_grad()
        callback.posterior.add_complexity_gradient_(0.1)
        expected = module.net[0].weight.grad
        assert expected is not None
        for gradients, weight in zip(watch.seen, weights, strict=True):
            torch.testing.assert_close(gradients[0], expected * weight)


def test_micro_batches_have_samples_of_their_own_and_the_means_come_back() -> None:
    module, _, _ = fit(VariationalInference(), data=loader(2), accumulate_grad_batches=5)
    assert len({weight.flatten()[0].item() for weight in module.seen}) == 5


def test_accumulated_gradients_are_means_over_the_micro_batches() -> None:
    callback = VariationalInference(include="net.0.weight")
    module, watch, _ = fit(callback, data=loader(2, rows=4), accumulate_grad_batches=2)
    parts = [by_hand(batch, seen) for batch, seen in zip(Rows(4).rows.split(2), module.seen, strict=True)]
    expected = [torch.stack(pair).mean(0) for pair in zip(*parts, strict=True)]
    share = 10 / 4  # `by_hand` reckons with ten examples
    posterior = posterior_over(make(), include="net.0.weight")
    posterior.add_complexity_gradient_((share - 1) / 10)
    extra = [posterior.parameters_of_network[0].grad, posterior.log_sigma[0].grad]
    torch.testing.assert_close(watch.seen[0], [a + b for a, b in zip(expected, extra, strict=True)])


@pytest.mark.parametrize("antithetic", [False, True])
def test_several_samples_are_averaged(antithetic: bool) -> None:
    callback = VariationalInference(include="net.0.weight", samples=4, antithetic=antithetic)
    module, watch, trainer = fit(callback, max_steps=1)
    assert len(module.seen) == 4
    parts = [by_hand(Rows().rows[:4], seen) for seen in module.seen]
    expected = [torch.stack(pair).mean(0) for pair in zip(*parts, strict=True)]
    torch.testing.assert_close(watch.seen[0], expected)
    if antithetic:
        mean = make().net[0].weight.detach()
        torch.testing.assert_close(module.seen[0] + module.seen[1], 2 * mean)
    assert "loss" in trainer.callback_metrics


def test_the_squared_estimator_equals_a_loop_over_examples() -> None:
    for arguments in ({"data": loader(4)}, {"data": loader(2), "accumulate_grad_batches": 2}):
        callback = VariationalInference(include="net.0.*", estimator="squared", sigma=0.2)
        module, watch, _ = fit(callback, max_steps=1, **arguments)
        clone = make()
        posterior = posterior_over(clone, include="net.0.*", sigma=0.2)
        posterior.add_complexity_gradient_(0.1)
        expected = posterior.log_sigma[0].grad
        assert expected is not None
        for number, example in enumerate(Rows().rows[:4]):
            clone.net[0].weight.data.copy_(module.seen[number // 2 if len(module.seen) > 1 else 0])
            clone.net[0].bias.data.copy_(sampled_bias(callback, number, len(module.seen)))
            gradient = torch.autograd.grad(clone.error(example[None]).sum(), clone.net[0].weight)[0]
            expected += 0.2**2 * gradient.square() / 4
        torch.testing.assert_close(watch.seen[0][2], expected)


def sampled_bias(callback: VariationalInference, number: int, samples: int) -> Tensor:
    """The first bias that an example was seen with."""
    module = make()
    posterior = posterior_over(module, include="net.0.*", sigma=0.2)
    batch = number // 2 if samples > 1 else 0
    sample(posterior, module, callback.state_dict()["seed"], 0, "batch", 0, batch, 0)
    return module.net[0].bias.detach()


def test_squares_need_batches_of_one_where_layers_do_not_tell_examples_apart() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(1, 2, num_layers=2, bidirectional=True, batch_first=True)
            self.out = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x[..., None])[0][:, -1])

    with pytest.raises(ValueError, match=r"a batch of 4 does not tell for net\.rnn\.weight_ih_l0"):
        fit(VariationalInference(estimator="squared"), Regressor(Reader()))
    _, watch, _ = fit(VariationalInference(estimator="squared"), Regressor(Reader()), loader(1))
    assert all(gradient.isfinite().all() for gradient in watch.seen[0])


def test_the_means_are_what_is_evaluated_and_saved() -> None:
    module, _, trainer = fit(VariationalInference(), data=loader(10))
    after = module.net[0].weight.detach().clone()
    module.seen.clear()
    trainer.test(module, loader(10), verbose=False)
    assert torch.equal(module.seen[0], after)
    assert module.state_dict().keys() == make().state_dict().keys()


def test_a_sample_is_evaluated_on_request() -> None:
    module, _, trainer = fit(VariationalInference(evaluation="sample"), data=loader(10))
    after = module.net[0].weight.detach().clone()
    module.seen.clear()
    trainer.test(module, loader(10), verbose=False)
    assert not torch.equal(module.seen[0], after)
    assert torch.equal(module.net[0].weight, after)


def test_manual_optimization_draws_for_each_step_and_gives_each_optimizer_its_part() -> None:
    torch.manual_seed(0)
    callback = VariationalInference()
    module, watch, _ = fit(callback, ManualRegressor(), data=loader(10))
    assert len(watch.seen) == 2
    assert not torch.equal(*module.seen)
    assert callback.posterior is not None
    moved = [(scale - math.log(0.075)).abs().max() > 0 for scale in callback.posterior.log_sigma]
    assert all(moved)


def test_clipping_sees_the_means_alone() -> None:
    class Clipped(Regressor):
        def on_train_batch_end(self, *_: Any) -> None:
            gradients = [p.grad.square().sum() for p in self.parameters() if p.grad is not None]
            self.length = torch.stack(gradients).sum().sqrt()

    torch.manual_seed(0)
    module, watch, _ = fit(VariationalInference(), Clipped(), max_steps=1, gradient_clip_val=1e-3)
    assert module.length == pytest.approx(1e-3, rel=1e-3)
    assert watch.seen[0][4].norm() > 1e-3


def test_schedules_hold_for_the_scales_too() -> None:
    class Scheduled(Regressor):
        def configure_optimizers(self) -> Any:
            adam = torch.optim.AdamW(self.parameters(), lr=0.1, weight_decay=0.1)
            rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: float(step == 0))
            return {"optimizer": adam, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    callback = VariationalInference(sigma=0.05, sigma_lr_scale=0.5)
    fit(callback, Scheduled(), max_steps=3)
    assert callback.posterior is not None
    moved = (callback.posterior.log_sigma[0] - math.log(0.05)).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05), rtol=1e-3, atol=1e-5)


def test_fixed_scales_stay() -> None:
    callback = VariationalInference(learn_sigma=False, prior="uniform")
    module, _, _ = fit(callback, max_epochs=2)
    assert callback.posterior is not None
    assert all((scale == math.log(0.075)).all() for scale in callback.posterior.log_sigma)
    assert not torch.equal(module.net[0].weight, make().net[0].weight)


def test_the_description_length_is_logged() -> None:
    callback = VariationalInference(classes=10)
    _, _, trainer = fit(callback, data=loader(4))
    logged = trainer.callback_metrics
    assert callback.posterior is not None
    complexity = callback.posterior.complexity()
    torch.testing.assert_close(logged["variational/complexity_nats"], complexity)
    torch.testing.assert_close(logged["variational/bits_per_weight"], complexity / math.log(2) / 41)
    total = logged["variational/error_nats"] + complexity
    torch.testing.assert_close(logged["variational/compression"], total / (10 * math.log(10)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_error_counts_each_example_once(reduction: Any) -> None:
    callback = VariationalInference(posterior="delta", prior="uniform", reduction=reduction)
    module = make(reduction=reduction, lr=0.0)
    expected = module.error(Rows().rows).sum()
    for size, parts in ((4, 1), (2, 2)):
        _, _, trainer = fit(callback, module, data=loader(size), accumulate_grad_batches=parts)
        torch.testing.assert_close(trainer.callback_metrics["variational/error_nats"], expected.detach())


def test_learning_shortens_the_description() -> None:
    callback, lengths = VariationalInference(sigma=0.1, examples=200), []
    module = make()
    for epochs in (1, 60):
        _, _, trainer = fit(callback, module, loader(20, 200), max_epochs=epochs)
        logged = trainer.callback_metrics
        lengths.append(float(logged["variational/error_nats"] + logged["variational/complexity_nats"]))
    assert lengths[1] < 0.8 * lengths[0]


@pytest.mark.parametrize("noise", ["local", "flipout"])
def test_noise_for_each_example_learns_all_scales_and_is_gone_afterwards(noise: Any) -> None:
    callback = VariationalInference(noise=noise)
    module, watch, _ = fit(callback, max_epochs=2)
    initial = make().net[0].weight
    assert torch.equal(module.seen[0], initial)
    assert all(gradient.any() for gradient in watch.seen[0])
    assert callback.posterior is not None
    callback.posterior.sample_()
    assert "forward" not in module.net[0].__dict__
    assert not callback.posterior.kept.apart
    callback.posterior.restore_()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise": "local", "antithetic": True}, "antithetic must be False with noise='local'"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"temperature": -1.0}, "temperature must be at least 0, not -1.0"),
        ({"reduction": "max"}, "reduction must be one of mean, sum, not 'max'"),
        ({"evaluation": "both"}, "evaluation must be one of mean, sample, not 'both'"),
        ({"posterior": "cauchy"}, "posterior must be one of gaussian, laplace, delta, not 'cauchy'"),
        ({"classes": 1}, "classes must be at least 2, not 1"),
    ],
)
def test_wrong_arguments_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VariationalInference(**settings)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="samples must be 1 with manual optimization"):
        fit(VariationalInference(samples=2), ManualRegressor())
    with pytest.raises(ValueError, match=r"include: 'head' matches none of net\.0\.weight"):
        fit(VariationalInference(include="head"))
    with pytest.raises(ValueError, match="examples must be given"):
        fit(VariationalInference(), data=[Rows().rows])
