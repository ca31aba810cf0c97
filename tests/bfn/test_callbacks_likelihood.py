"""Whether the likelihoods that are reported are right."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import Foreign, Rows, Sure, files, images, trainer
from small_models import MODELS, data
from torch import Tensor

from graves_bfn import BFN, BFNConvNet, BFNLikelihood, DiscreteFlow, ListedGrid, Tokens
from graves_bfn.callbacks.scores import Score
from graves_core import EnglishWordsDataModule


def test_likelihoods_for_step_counts_are_logged_with_standard_errors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = trainer(tmp_path, BFNLikelihood(steps=[1, 50], repeats=3))
    (logged,) = run.test(MODELS["binary"](), data("binary", batch_size=120), verbose=False)
    for n in ("1", "50", "inf"):
        value, error = (logged[f"test/nats_per_example_n={n}{suffix}"] for suffix in ("", "_stderr"))
        assert 0 < error < 0.1 * value
        assert 0 < logged[f"test/nats_per_example_n={n}_repeat_stderr"] < 4 * error  # of 3 repeats: rough
    # an untrained network says one half everywhere: L_inf = beta_1 / 2 for each of 64 pixels of 2 classes
    expected = 64 * (4.0 / 2 + math.log(2))
    assert (
        abs(logged["test/nats_per_example_n=inf"] - expected)
        < 5 * logged["test/nats_per_example_n=inf_stderr"]
    )
    assert logged["test/nats_per_example_n=inf"] == pytest.approx(logged["test/nats_per_example"], rel=0.1)


def test_a_foreign_model_that_knows_nothing_pays_what_that_costs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = trainer(tmp_path, BFNLikelihood(steps=[10], repeats=20))
    (logged,) = run.test(Sure(0.0), Rows(images(torch.arange(16)), 4), verbose=False)
    error = logged["test/nats_per_example_n=inf_stderr"]
    assert abs(logged["test/nats_per_example_n=inf"] - 64 * (4.0 / 2 + math.log(2))) < 5 * error


def words(length: int) -> tuple[BFN, EnglishWordsDataModule]:
    network = BFNConvNet((length,), 27, 27, width=8, dilations=(1,))
    model = BFN(DiscreteFlow(27, 0.6), network, Tokens("_abcdefghijklmnopqrstuvwxyz", padding="_"))
    return model, EnglishWordsDataModule(length=length, batch_size=500)


def test_padding_costs_nothing(tmp_path: Path) -> None:
    """A network that says the same of all K classes pays beta_1 (K - 1)/2 + ln K for each letter."""
    torch.manual_seed(0)
    model, data = words(12)
    for weights in model.network.parameters():
        torch.nn.init.zeros_(weights)
    run = trainer(tmp_path, BFNLikelihood(steps=[], repeats=20))
    (logged,) = run.test(model, data, verbose=False)
    letters = [len(data.spec.decode(word)) for batch in data.test_dataloader() for word in batch.tolist()]
    expected = sum(letters) / len(letters) * (0.6 * 26 / 2 + math.log(27))
    value, error = (logged[f"test/nats_per_example_n=inf{suffix}"] for suffix in ("", "_stderr"))
    assert abs(value - expected) < 5 * error
    assert error < 0.05 * value


def test_the_network_is_told_the_conditions_of_the_batch(tmp_path: Path) -> None:
    shown = []

    class Told(Foreign):
        def shown(self, *, condition: Tensor, valid: Any) -> Any:
            shown.append(condition.tolist())
            return self.network

    run = trainer(tmp_path, BFNLikelihood(steps=[3]))
    run.test(Told(), Rows(images(torch.zeros(5)), 3), verbose=False)
    assert shown == [[0, 1, 2], [3, 4]]


def test_messages_end_where_the_models_grid_says(tmp_path: Path) -> None:
    """A grid of three steps has no loss of four messages."""
    model = MODELS["binary"]()
    model.grid = ListedGrid([0.0, 0.5, 0.7, 1.0])
    rows = Rows(images(torch.zeros(4)), 2)
    trainer(tmp_path, BFNLikelihood(steps=[3])).test(model, rows, verbose=False)
    with pytest.raises(ValueError, match="num_steps must be 3, as ListedGrid has, not 4"):
        trainer(tmp_path, BFNLikelihood(steps=[4])).test(model, rows, verbose=False)


def test_a_chart_is_drawn_where_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for chart, kept in ((False, []), (True, ["likelihood_step=0.png"])):
        run = trainer(tmp_path, BFNLikelihood(steps=[20, 1, 3], chart=chart))
        run.test(Foreign(), Rows(images(torch.arange(4)), 2), verbose=False)
        assert files(tmp_path) == kept


def test_a_chart_shows_likelihoods_by_rising_number_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}

    def line_chart(curves: Any, *labels: str, levels: Any, **settings: Any) -> Tensor:
        drawn.update(curve=next(iter(curves.values())), levels=levels, settings=settings)
        return torch.zeros(3, 1, 1, dtype=torch.uint8)

    monkeypatch.setattr("graves_bfn.callbacks.likelihood.line_chart", line_chart)
    results = {n: {"": torch.tensor(v), "_stderr": torch.tensor(0.5)} for n, v in (("9", 2.0), ("1", 8.0))}
    BFNLikelihood(steps=[9, 1])._chart(results | {"inf": {"": torch.tensor(1.5)}})
    assert drawn["curve"] == ([1, 9], [8.0, 2.0], [0.5, 0.5])
    assert drawn["levels"] == {"n = ∞": 1.5}
    assert drawn["settings"] == {"log_x": True, "log_y": False}


def test_scores_are_means_over_examples_not_over_batches() -> None:
    values = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)) + 80
    score = Score(2, torch.device("cpu"))
    for part in values.split([7, 40, 3], dim=1):
        score.update(part)
    result, examples = score.compute(), values.mean(0)
    assert result[""].item() == pytest.approx(values.mean().item(), rel=1e-5)
    assert result["_stderr"].item() == pytest.approx(
        (examples.std(unbiased=False) / math.sqrt(50)).item(), rel=0.02
    )
    repeat = values.mean(1).std() / math.sqrt(2)
    assert result["_repeat_stderr"].item() == pytest.approx(repeat.item(), rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": [0]}, r"steps must all be at least 1, not \[0\]"),
        ({"repeats": 0}, "repeats must be at least 1, not 0"),
        ({"steps": [], "chart": True}, r"chart needs at least one number of steps, but steps is \[\]"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BFNLikelihood(**arguments)
