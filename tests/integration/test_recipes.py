"""Every experiment runs a batch of stand-in data, fits the schema, and is refused when it is wrong."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from source_tree import ROOT

from graves_core.cli import main
from graves_core.testing import fit_recipe

RECIPES = sorted((ROOT / "lightning_configs").glob("*/*.yaml"))
SMALLER = {
    "BFN": [
        "--data.batch_size=2",
        "--data.num_workers=0",
        "--model.sample_steps=2",
        "--trainer.precision=32-true",
    ],
    "BFNUNet": ["--model.network.channels=32", "--model.network.blocks=1"],
    "BFNVDMUNet": ["--model.network.channels=32", "--model.network.blocks=1"],
    "BFNTransformer": ["--model.network.width=48", "--model.network.depth=1"],
    "OneShotDataModule": ["--data.level=2", "--data.val_levels=[2]", "--data.shows=3"],
    "ImageEpisodesDataModule": ["--data.length=4", "--data.batch_size=2"],
    "ReplayDataModule": [
        "--data.capacity=1000",
        "--data.learning_starts=16",
        "--data.batch_size=4",
        "--data.max_eval_steps=20",
    ],
    "SpokenDigitsDataModule": ["--data.strings=20", "--data.test_strings=2"],
    "TextStreamsDataModule": ["--model.update_every=sequence"],
}
"""What keeps one batch short; the sizes of the papers' networks are tested where the networks are."""

recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")


@pytest.fixture(scope="module")
def schema() -> Any:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["schema"]) == 0
    return json.loads(printed.getvalue())


def read(recipe: Path) -> dict[str, Any]:
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def class_names(value: Any) -> Iterator[str]:
    """The short names of all classes in a config."""
    if isinstance(value, dict):
        yield from ([value["class_path"].rpartition(".")[2]] if "class_path" in value else [])
        yield from (name for item in value.values() for name in class_names(item))


@recipes
def test_recipe_runs_a_batch(recipe: Path, tmp_path: Path) -> None:
    overrides = [option for name in class_names(read(recipe)) for option in SMALLER.get(name, [])]
    trainer = fit_recipe(recipe, overrides, tmp_path)
    assert trainer.global_step == 1


@recipes
def test_recipe_fits_the_schema(recipe: Path, schema: Any) -> None:
    Draft202012Validator(schema).validate(read(recipe))


@recipes
def test_recipe_says_what_to_expect(recipe: Path) -> None:
    """The first comment lines say what it is, the metric to expect, time and hardware."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[:6] if line.startswith("# ")]
    assert len(comment) >= 3
    assert any(line.startswith(("# Paper", "# Expect")) for line in comment)


def mutations(recipe: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    wrong_key, wrong_class, wrong_type = read(recipe), read(recipe), read(recipe)
    wrong_key["model"]["init_args"]["optimiser_"] = 1
    wrong_class["model"]["class_path"] += "x"
    wrong_type["trainer"]["max_epochs"] = "many"
    yield from (("key", wrong_key), ("class", wrong_class), ("type", wrong_type))


@recipes
@pytest.mark.parametrize("mutation", ["key", "class", "type"])
def test_wrong_recipe_is_refused_in_three_lines(
    recipe: Path, mutation: str, schema: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = dict(mutations(recipe))[mutation]
    assert not Draft202012Validator(schema).is_valid(content)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert main(["fit", "--config", str(wrong)]) == 2
    message = capsys.readouterr().err.strip().splitlines()
    assert 1 <= len(message) <= 3
    assert "Traceback" not in "".join(message)
