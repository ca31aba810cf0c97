"""IVON under Lightning's automatic optimization: samples, accumulation, clipping, resume, ranks."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from noisy_models import QUIET, Regressor, data, loader

from graves_bayes.callbacks.ivon_samples import IVONSamples
from graves_bayes.layers.ivon import IVON
from graves_core import ExactResume, Spec
from graves_core.testing import assert_exact_resume


class Learner(Spec, Regressor):
    """Learns with IVON, and notes the weights that its training steps see."""

    betas = (0.9, 0.9)

    def __init__(self, samples: int = 1, lr: float = 0.05, examples: int = 12) -> None:
        super().__init__()
        self.samples = samples
        self.lr = lr
        self.examples = examples
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen.append(self.head.weight.detach().clone())
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return IVON(self.parameters(), self.examples, self.lr, self.betas, samples=self.samples, seed=1)


class Means(pl.Callback):
    """Notes the weights after each batch, and may write what is left at the end to a file."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append(pl_module.head.weight.detach().clone())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.folder is not None:
            curvature = [state["curvature"] for state in trainer.optimizers[0].state.values()]
            told = {"weights": pl_module.state_dict(), "curvature": curvature, "seen": pl_module.seen}
            torch.save(told, self.folder / f"{trainer.global_rank}.pt")


def make(samples: int = 1, lr: float = 0.05, examples: int = 12) -> Learner:
    torch.manual_seed(0)
    return Learner(samples, lr, examples)


def fit(module: Learner, *callbacks: pl.Callback, **arguments: Any) -> Learner:
    trainer = pl.Trainer(**(QUIET | {"max_epochs": 1} | arguments), callbacks=list(callbacks))
    trainer.fit(module, loader())
    return module


def test_training_steps_see_samples_and_leave_means() -> None:
    means = Means()
    module = fit(make(), means)
    assert len(module.seen) == len(means.seen) > 2
    start = make().head.weight
    for sample, mean in zip(module.seen, [start, *means.seen], strict=False):
        assert not torch.equal(sample, mean)
    assert torch.equal(means.seen[-1], module.head.weight)


def test_a_mean_learns() -> None:
    module, before = make(lr=0.05, examples=10_000), make()
    module.betas = (0.9, 0.99999)
    fit(module, max_epochs=40)
    target = data().sum(1, keepdim=True)
    assert (module(data()) - target).square().mean() < 0.2 * (before(data()) - target).square().mean()


def test_a_step_has_as_many_samples_as_are_asked_for() -> None:
    one, three = fit(make()), fit(make(samples=3))
    assert len(three.seen) == 3 * len(one.seen)


def test_accumulation_without_samples_is_refused() -> None:
    with pytest.raises(RuntimeError, match="IVONSamples"):
        fit(make(), accumulate_grad_batches=2)


def test_each_accumulated_batch_has_its_own_sample_of_one_mean() -> None:
    means = Means()
    module = fit(make(), IVONSamples(), means, accumulate_grad_batches=2)
    for first, second in zip(means.seen[::2], module.seen[2::2], strict=False):
        assert not torch.equal(first, second)
    assert not torch.equal(module.seen[0], module.seen[1])
    assert torch.equal(means.seen[0], make().head.weight)
    assert not torch.equal(means.seen[1], make().head.weight)


def test_accumulation_is_a_step_of_the_whole_batch_with_two_samples() -> None:
    module = fit(make(), IVONSamples(), accumulate_grad_batches=2, max_steps=1)
    batches = [batch for batch, _ in zip(loader(), range(2), strict=False)]
    twin = make()
    optimizer = twin.configure_optimizers()
    for batch in batches:
        optimizer.sample_()
        (twin.training_step(batch, 0) / 2).backward()
        optimizer.restore_()
    optimizer.step()
    torch.testing.assert_close(module.head.weight, twin.head.weight)


def test_the_last_accumulated_batch_has_all_samples() -> None:
    module = fit(make(samples=3), IVONSamples(), accumulate_grad_batches=2, max_steps=1)
    assert len({tuple(weight.flatten().tolist()) for weight in module.seen}) == len(module.seen) == 1 + 3


def test_the_callback_changes_nothing_without_accumulation() -> None:
    assert torch.equal(fit(make()).head.weight, fit(make(), IVONSamples()).head.weight)


def test_clipped_gradients_move_the_mean_less() -> None:
    def moved(**arguments: Any) -> float:
        after = fit(make(), max_steps=1, **arguments).head.weight.detach()
        return float((after - make().head.weight.detach()).norm())

    assert 0 < moved(gradient_clip_val=1e-3) < 0.2 * moved()


def test_a_run_without_ivon_is_told() -> None:
    with pytest.raises(ValueError, match="IVON"):
        pl.Trainer(**QUIET, max_epochs=1, callbacks=[IVONSamples()]).fit(Regressor(), loader())


@pytest.mark.parametrize("samples", [1, 2])
def test_a_killed_run_goes_on_bit_for_bit(samples: int, tmp_path: Path) -> None:
    assert_exact_resume(lambda: make(samples), loader, kill_at_steps=[2, 7], max_steps=9, root=tmp_path)


def test_a_killed_accumulating_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    assert_exact_resume(
        make,
        loader,
        kill_at_steps=[1, 4],
        max_steps=5,
        root=tmp_path,
        make_callbacks=lambda: [IVONSamples(), ExactResume()],
        trainer_args={"accumulate_grad_batches": 2},
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_have_their_own_samples_and_one_posterior(accumulate: int, tmp_path: Path) -> None:
    arguments = QUIET | {"devices": 2, "strategy": "ddp_fork", "max_epochs": 2}
    trainer = pl.Trainer(
        **arguments, callbacks=[IVONSamples(), Means(tmp_path)], accumulate_grad_batches=accumulate
    )
    trainer.fit(make(), loader(batch_size=1))
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(not torch.equal(a, b) for a, b in zip(one["seen"], other["seen"], strict=True))
    torch.testing.assert_close(one["weights"], other["weights"], rtol=0, atol=0)
    torch.testing.assert_close(one["curvature"], other["curvature"], rtol=0, atol=0)
    assert any(not torch.equal(part, torch.ones_like(part)) for part in one["curvature"])


def test_two_ranks_are_one_with_two_samples(tmp_path: Path) -> None:
    """The step on two ranks is that of one process which has both batches, each under its rank's sample."""
    arguments = QUIET | {"devices": 2, "strategy": "ddp_fork", "max_steps": 1}
    rows = torch.utils.data.DataLoader(data()[:2], batch_size=1)
    pl.Trainer(**arguments, callbacks=[Means(tmp_path)]).fit(make(), rows)
    told = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    twin = make()
    optimizer = twin.configure_optimizers()
    for rank in range(2):
        optimizer.param_groups[0]["draws"] = 0
        _put_rank_sample(optimizer, rank)
        assert torch.equal(twin.head.weight, told[rank]["seen"][0])
        (twin.training_step(data()[rank : rank + 1], 0) / 2).backward()
        optimizer.restore_()
    optimizer.step()
    torch.testing.assert_close(told[0]["weights"], twin.state_dict())
    curvature = [state["curvature"] for state in optimizer.state.values()]
    torch.testing.assert_close(told[0]["curvature"], curvature)


def _put_rank_sample(optimizer: IVON, rank: int) -> None:
    from unittest.mock import patch

    with patch("graves_bayes.layers.rank_streams.rank", lambda: rank):
        optimizer.sample_()
