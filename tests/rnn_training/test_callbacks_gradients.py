"""GradientQuality measures bias and noise of gradients, in any module, and training does not notice."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from online_models import HIDDEN, QUIET, batch, chunks, fit, make
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from graves_rnn_training.callbacks.gradients import GradientQuality, gradient, quality
from graves_rnn_training.callbacks.models import LearningModel
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.learners.exact import exact_learner
from graves_rnn_training.layers.learners.snap import SnAp
from graves_rnn_training.layers.learners.stack import LearnerStack


def logged(name: str, **arguments: Any) -> dict[str, float]:
    trainer = fit(make(name), [batch(steps=8)], callbacks=[GradientQuality(**arguments)])
    return {
        key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("gradient")
    }


@pytest.mark.parametrize("name", ["rtrl", "bptt"])
def test_exact_learners_have_neither_bias_nor_noise(name: str) -> None:
    values = logged(name)
    assert values["gradient/relative_bias"] < 1e-5
    assert values["gradient/relative_std"] == 0
    assert values["gradient/cosine"] > 1 - 1e-5


def test_snap_has_bias_and_no_noise() -> None:
    values = logged("snap")
    assert values["gradient/relative_bias"] > 0.01
    assert values["gradient/relative_std"] == 0


def test_uoro_has_noise_and_a_bias_within_its_error() -> None:
    """The mean over n draws is off by relative_std / sqrt(n); more than twice that would be a bias."""
    values = logged("uoro", draws=300)
    assert values["gradient/relative_std"] > 0.1
    assert values["gradient/relative_bias"] < 2 * values["gradient/relative_std"] / 300**0.5


def test_the_exact_gradient_is_that_of_autograd() -> None:
    model, data = make("snap"), batch(silent=(1,))
    data["targets"][0, 2] = -100
    seen = LearningModel(model, "test")
    found = gradient(seen, exact_learner(model.learner), data)
    hidden, total = torch.zeros(3, HIDDEN), torch.zeros(())
    for inputs, targets in zip(data["inputs"].T.long(), data["targets"].T, strict=True):
        hidden = model.learner.cell(one_hot(inputs, 4).float(), hidden)
        total = total + cross_entropy(model.readout(hidden), targets, reduction="sum", ignore_index=-100)
    expected = torch.autograd.grad(total, list(model.learner.parameters()))
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in expected]))


def test_quality_is_its_definition() -> None:
    draws, exact = torch.tensor([[2.0, 0.0], [4.0, 2.0], [3.0, 1.0]]), torch.tensor([1.0, 1.0])
    values = quality(draws, exact)
    # the mean is (3, 1), variances are 1 and 1, and a third of them is what chance adds to the squared bias
    assert values["gradient/relative_bias"] == pytest.approx(((4 - 2 / 3) / 2) ** 0.5)
    assert values["gradient/relative_std"] == pytest.approx(1.0)
    cosines = [2 / 8**0.5, 6 / 40**0.5, 4 / 20**0.5]
    assert values["gradient/cosine"] == pytest.approx(sum(cosines) / 3)


@pytest.mark.parametrize("name", ["snap", "uoro", "bptt"])
def test_training_does_not_notice(name: str) -> None:
    streams = chunks(batch(steps=8), 2)
    torch.manual_seed(3)
    watched, alone = make(name), make(name)
    torch.manual_seed(3)
    fit(watched, streams, callbacks=[GradientQuality(every_n_batches=1)])
    after = torch.rand(1)
    torch.manual_seed(3)
    fit(alone, streams)
    torch.testing.assert_close(watched.state_dict(), alone.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(watched._state, alone._state, rtol=0, atol=0)
    assert torch.equal(after, torch.rand(1))


class Foreign(pl.LightningModule):
    """Predicts numbers with two layers, by automatic optimization, and says itself what its losses are."""

    def __init__(self) -> None:
        super().__init__()
        self.learner = LearnerStack([SnAp(GRUCell(2, 4)), SnAp(GRUCell(4, 3))])
        self.head = nn.Linear(3, 1)

    def step_losses(self, learner: Any, batch: Any) -> Any:
        values, aims = batch
        state = learner.initial_state(len(values))
        for step in range(values.shape[1]):
            output, state = learner(values[:, step], state)
            yield (self.head(output) - aims[:, step]).square().sum() if step > 0 else None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (*_, last) = self.step_losses(self.learner, batch)
        return last

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_foreign_module_is_measured_by_its_own_losses() -> None:
    torch.manual_seed(0)
    data = torch.randn(3, 4, 2), torch.randn(3, 4, 1)
    trainer = pl.Trainer(**QUIET, max_epochs=1, callbacks=[GradientQuality()])
    trainer.fit(Foreign(), torch.utils.data.DataLoader([data], batch_size=None))
    assert 0 < trainer.callback_metrics["gradient/relative_bias"] < 1


def test_what_cannot_be_measured_is_refused_before_training() -> None:
    class Other(pl.LightningModule):
        pass

    class Mute(Other):
        learner = SnAp(GRUCell(2, 4))

    with pytest.raises(TypeError, match="Other must have the attribute learner, a Learner"):
        LearningModel(Other(), "GradientQuality")
    with pytest.raises(TypeError, match=r"Mute must have the attribute readout, .* or a method step_losses"):
        LearningModel(Mute(), "GradientQuality")
    with pytest.raises(ValueError, match="no weight of the learner is trained"):
        fit(make("bptt", frozen=True), [batch()], callbacks=[GradientQuality()])


@pytest.mark.parametrize(("argument", "least"), [("every_n_batches", 1), ("draws", 2)])
def test_wrong_numbers_are_refused(argument: str, least: int) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be at least {least}, not {least - 1}"):
        GradientQuality(**{argument: least - 1})
