"""Predictions of many networks against float64 numpy and closed forms."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch

from graves_bayes.callbacks.predictive_scores import PredictiveScores
from graves_bayes.variational.predictive import (
    entropy_of,
    mutual_information,
    posterior_predictive,
    sampled_predictions,
)


def log_probs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).mul(3).log_softmax(-1)


def test_the_predictive_is_the_mean_of_the_probabilities() -> None:
    told = log_probs(7, 4, 5)
    expected = np.log(np.exp(told.double().numpy()).mean(0))
    np.testing.assert_allclose(posterior_predictive(told).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_predictive_of_tiny_probabilities_does_not_underflow() -> None:
    told = torch.tensor([[-400.0, 0.0], [-401.0, 0.0]])
    assert posterior_predictive(told)[0] == pytest.approx(-400 + np.log((1 + np.exp(-1)) / 2))


def test_entropy_is_that_of_torch_distributions() -> None:
    told = log_probs(4, 5)
    expected = torch.distributions.Categorical(logits=told).entropy()
    torch.testing.assert_close(entropy_of(told), expected)


def test_networks_that_agree_have_no_mutual_information() -> None:
    told = log_probs(1, 4, 5).expand(6, 4, 5)
    torch.testing.assert_close(mutual_information(told), torch.zeros(4), atol=1e-6, rtol=0)


def test_mutual_information_is_the_mean_divergence_from_the_predictive() -> None:
    told = log_probs(7, 4, 5)
    p = np.exp(told.double().numpy())
    expected = (p * (np.log(p) - np.log(p.mean(0)))).sum(-1).mean(0)
    np.testing.assert_allclose(mutual_information(told).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_the_mean_predictive_is_never_worse_than_the_networks_on_average() -> None:
    told, targets = log_probs(7, 40, 5), torch.arange(40) % 5
    mean = posterior_predictive(told)[torch.arange(40), targets]
    assert (mean >= told[:, torch.arange(40), targets].mean(0) - 1e-6).all()


def test_calibration_error_is_the_weighted_gap_over_bins() -> None:
    told, targets = log_probs(200, 5), torch.arange(200) % 5
    confidence, guess = told.exp().max(-1)
    right = (guess == targets).double().numpy()
    confidences = confidence.double().numpy()
    bins = np.ceil(confidences * 10) - 1
    gaps = [
        (bins == b).mean() * abs(right[bins == b].mean() - confidences[bins == b].mean())
        for b in np.unique(bins)
    ]
    scores = PredictiveScores(classes=5, bins=10)
    scores.update(told[None], targets)
    assert float(scores.compute()["ece"]) == pytest.approx(sum(gaps), abs=1e-6)


def test_each_sample_has_a_block_of_its_own() -> None:
    weight = torch.zeros(2)

    @contextmanager
    def sampler():
        before = weight.clone()
        weight.add_(len(entered) + 1)
        entered.append(1)
        yield
        weight.copy_(before)

    entered: list[int] = []
    told = sampled_predictions(sampler, lambda: weight.clone(), samples=3)
    assert told.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert weight.tolist() == [0, 0]


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="samples"):
        sampled_predictions(nullcontext, lambda: torch.zeros(1), samples=0)
