"""The JSON schema accepts what runs and rejects what does not."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pretend_plugin import RECIPE, Command

from graves_core.cli.recipes import all_recipes

MAX_BYTES = 300_000
Config = dict[str, Any]
CONFIG: Config = yaml.safe_load(RECIPE)


@pytest.fixture
def schema_text(lightning: Command) -> str:
    return lightning("schema").out


@pytest.fixture
def accepts(schema_text: str) -> Callable[[Config], bool]:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text))
    return validator.is_valid


def changed(path: str, value: Any, name: str | None = None) -> Config:
    """The config with one value changed, or one key renamed."""
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split("/")
    node: Any = config
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if name is None:
        node[last] = value
    else:
        node[name] = node.pop(last)
    return config


def test_the_schema_is_small_and_valid(schema_text: str) -> None:
    assert len(schema_text) < MAX_BYTES
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text))


@pytest.mark.parametrize("name", [*all_recipes()])
def test_shipped_recipes_are_accepted(accepts: Callable[[Config], bool], name: str) -> None:
    assert accepts(yaml.safe_load(Path(all_recipes()[name]).read_text()))


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        {"$schema": "graves.schema.json", **CONFIG},
        changed("model/class_path", "Pretender"),
        changed("model/class_path", "graves_pretend.module.Pretender"),
        changed("model", {"class_path": "my_code.Model", "init_args": {"anything": [1, {}]}}),
        changed("data", "my_code.Data"),
        changed("model/init_args/optimizer", "torch.optim.SGD"),
        changed("trainer/strategy", "ddp"),
        changed("trainer/callbacks", {"class_path": "EMA"}),
        changed("trainer/callbacks+", ["ExactResume"]),
        changed("trainer/max_time", None),
        changed("trainer/precision", "bf16-mixed"),
        changed("trainer/limit_val_batches", 0.5),
        changed("ckpt_path", "last"),
        changed("seed_everything", 3),
    ],
    ids=json.dumps,
)
def test_what_runs_is_accepted(accepts: Callable[[Config], bool], config: Config) -> None:
    assert accepts(config)


@pytest.mark.parametrize(
    "config",
    [
        changed("model", None, "modle"),
        changed("model/init_args/net/init_args/width", None, "widht"),
        changed("model/init_args/net/init_args/width", "wide"),
        changed("model/init_args/net/init_args", {}),
        changed("model/init_args", {}),
        changed("model/init_args", {}, "arguments"),
        changed("model/class_path", "graves_pretend.Pretendor"),
        changed("model/class_path", "Pretendor"),
        changed("model/init_args/net/class_path", "graves_pretend.Pretender"),
        changed("model/init_args/net/init_args/activation", "rulu"),
        changed("model/init_args/optimizer/class_path", "torch.optim.Adan"),
        changed("model/init_args/optimizer/init_args/lr", "fast"),
        changed("data", "NoiseData"),
        changed("trainer/max_epochs", "one"),
        changed("trainer/max_epochs", None, "max_epoch"),
        changed("trainer/callbacks/0/init_args/save_last", None, "save_lost"),
        changed("trainer/callbacks/0/class_path", "lightning.pytorch.callbacks.ModelCheckpoints"),
        changed("trainer/precision", "bf17"),
        changed("seed_everything", "x"),
    ],
    ids=json.dumps,
)
def test_what_does_not_run_is_rejected(accepts: Callable[[Config], bool], config: Config) -> None:
    assert not accepts(config)


def test_arguments_carry_their_docstrings_and_defaults(schema_text: str) -> None:
    init_args = json.loads(schema_text)["$defs"]["Pretender"]["properties"]["init_args"]["properties"]
    assert init_args["scale"]["description"] == "a number that is logged."
    assert init_args["scale"]["default"] == 1.0
