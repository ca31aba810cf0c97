"""PosteriorPredictive beside VariationalInference and IVON."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from noisy_models import QUIET
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional.classification import multiclass_calibration_error

from graves_bayes.callbacks.predictive import PosteriorPredictive
from graves_bayes.callbacks.variational import VariationalInference
from graves_bayes.layers.ivon import IVON
from graves_core.batches import mix_seed

MEASURES = ("nll", "accuracy", "entropy", "ece")


class Classifier(pl.LightningModule):
    """Logits of three classes, learnt with IVON if there are examples."""

    def __init__(self, examples: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 3)
        self.examples = examples

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.test_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        if self.examples is None:
            return torch.optim.Adam(self.parameters(), lr=0.05)
        return IVON(self.parameters(), examples=self.examples, lr=0.1, seed=0)


def rows(batch_size: int = 8) -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, 4, generator=generator)
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=batch_size)


def fit(module: Classifier, *callbacks: pl.Callback, **arguments: Any) -> pl.Trainer:
    settings = QUIET | {"max_epochs": 2, "num_sanity_val_steps": 2} | arguments
    trainer = pl.Trainer(**settings, callbacks=list(callbacks))
    trainer.fit(module, rows(), rows())
    return trainer


@pytest.mark.parametrize("way", ["variational", "ivon"])
def test_the_predictive_is_reported_beside_the_mean(way: str) -> None:
    module = Classifier(20 if way == "ivon" else None)
    first = [VariationalInference(sigma=0.3)] if way == "variational" else []
    logged = fit(module, *first, PosteriorPredictive(samples=5)).callback_metrics
    assert {f"val/{name}_{measure}" for name in ("predictive", "mean") for measure in MEASURES} <= set(logged)
    assert 0 < logged["val/predictive_information"] < math.log(5)
    assert logged["val/predictive_nll"] != logged["val/mean_nll"]
    assert logged["val/mean_nll"] == pytest.approx(float(logged["loss"]), rel=1e-5)


def test_the_scores_are_those_of_the_samples_of_the_posterior() -> None:
    module = Classifier(20)
    trainer = fit(module, PosteriorPredictive(samples=6, seed=3))
    x, y = rows().dataset.tensors
    optimizer = trainer.optimizers[0]
    told = []
    for sample in range(6):
        seed = mix_seed(3, "predictive", sample)
        with optimizer.sampled(torch.Generator().manual_seed(seed)), torch.no_grad():
            told.append(module(x).softmax(-1))
    probabilities = torch.stack(told).mean(0)
    logged = trainer.callback_metrics
    nll = -probabilities[torch.arange(20), y].log().mean()
    assert logged["val/predictive_nll"] == pytest.approx(float(nll), rel=1e-4)
    entropy = -(probabilities * probabilities.log()).sum(1).mean()
    assert logged["val/predictive_entropy"] == pytest.approx(float(entropy), rel=1e-4)
    ece = multiclass_calibration_error(probabilities, y, num_classes=3, n_bins=15)
    assert logged["val/predictive_ece"] == pytest.approx(float(ece), abs=1e-5)


@pytest.mark.parametrize("way", ["variational", "ivon"])
def test_training_is_as_without(way: str) -> None:
    def weights(*callbacks: pl.Callback) -> torch.Tensor:
        module = Classifier(20 if way == "ivon" else None)
        first = [VariationalInference(seed=1)] if way == "variational" else []
        fit(module, *first, *callbacks, val_check_interval=1)
        return module.net.weight.detach()

    assert torch.equal(weights(), weights(PosteriorPredictive(samples=2)))


def test_a_test_is_scored_too() -> None:
    module, posterior, callback = Classifier(), VariationalInference(), PosteriorPredictive(samples=2)
    trainer = fit(module, posterior, callback)
    trainer.test(module, rows())
    assert "test/predictive_nll" in trainer.callback_metrics


def test_keys_and_padding() -> None:
    """Sequences in a dictionary, whose last targets are padding."""
    module = Classifier(20)
    module.validation_step = lambda batch, batch_idx: None
    trainer = pl.Trainer(
        **QUIET,
        max_epochs=1,
        callbacks=[PosteriorPredictive(samples=2, inputs="x", targets="y")],
    )
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[0, 1, 2, -1, -1], [2, -1, -1, -1, -1]])
    trainer.fit(module, rows(), DataLoader([{"x": x[i], "y": y[i]} for i in range(2)], batch_size=2))
    with torch.no_grad():
        told = module(x).log_softmax(-1)[y >= 0]
    expected = nn.functional.nll_loss(told, y[y >= 0])
    assert trainer.callback_metrics["val/mean_nll"] == pytest.approx(float(expected), rel=1e-4)


def test_ranks_report_the_scores_of_all_examples(tmp_path: Path) -> None:
    class Keep(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
            torch.save((logged, pl_module.state_dict()), tmp_path / f"{trainer.global_rank}.pt")

    fit(Classifier(20), PosteriorPredictive(samples=2), Keep(), max_epochs=1, devices=2, strategy="ddp_fork")
    told = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    module = Classifier()
    module.load_state_dict(told[0][1])
    x, y = rows().dataset.tensors
    expected = nn.functional.cross_entropy(module(x), y).detach()
    for logged, _ in told:
        assert logged["val/mean_nll"] == pytest.approx(float(expected), rel=1e-4)


def test_a_run_without_posterior_is_told() -> None:
    with pytest.raises(ValueError, match="VariationalInference or IVON"):
        fit(Classifier(), PosteriorPredictive())


def test_evaluation_with_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation='mean'"):
        fit(Classifier(), VariationalInference(evaluation="sample"), PosteriorPredictive())


@pytest.mark.parametrize("name", ["samples", "bins"])
def test_arguments_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        PosteriorPredictive(**{name: 0})


def test_a_checkpoint_is_scored_without_a_fit(tmp_path: Path) -> None:
    learned = Classifier()
    trainer = fit(learned, VariationalInference(seed=0), PosteriorPredictive())
    trainer.save_checkpoint(tmp_path / "learned.ckpt")
    expected = trainer.test(learned, rows(), verbose=False)[0]
    fresh = pl.Trainer(**QUIET, callbacks=[VariationalInference(), PosteriorPredictive()])
    told = fresh.test(Classifier(), rows(), ckpt_path=tmp_path / "learned.ckpt", verbose=False)[0]
    for measure in MEASURES:
        assert told[f"test/mean_{measure}"] == expected[f"test/mean_{measure}"]
        assert told[f"test/predictive_{measure}"] == expected[f"test/predictive_{measure}"]
    assert told["test/predictive_nll"] != told["test/mean_nll"]
