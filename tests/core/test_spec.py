"""Specs: constructor arguments as plain data, and checkpoints that rebuild from them."""

import copy
import functools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, OptimizerCallable
from torch import nn

from graves_core import Spec, build
from graves_core.spec import class_path


class Scale(Spec):
    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor


class Layer(Spec, nn.Module):
    def __init__(self, width: int, scale: Scale | None = None, sizes: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)


class DeepLayer(Layer):
    def __init__(self, depth: int) -> None:
        super().__init__(width=depth)
        self.depth = depth


class SameLayer(Layer):
    """Has no constructor of its own."""


class Options(Spec):
    def __init__(self, values: Any, **more: Any) -> None:
        self.values = values


class Numbers(Spec):
    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers


class Model(Spec, LightningModule):
    def __init__(self, layer: Layer, optimizer: OptimizerCallable = torch.optim.AdamW) -> None:
        super().__init__()
        self.layer, self.optimizer = layer, optimizer

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.layer.linear(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2)


def saved(model: LightningModule, folder: Path) -> Path:
    options = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(fast_dev_run=True, accelerator="cpu", **options)
    trainer.fit(model)
    trainer.save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


def test_defaults_and_positional_arguments_are_recorded() -> None:
    assert Layer(3).spec["init_args"] == {"width": 3, "scale": None, "sizes": [1, 2]}


def test_nested_specs_are_nested() -> None:
    assert Layer(3, Scale(5.0)).spec["init_args"]["scale"]["init_args"] == {"factor": 5.0}


def test_a_subclass_records_the_arguments_of_the_outermost_constructor() -> None:
    spec = DeepLayer(4).spec
    assert spec == {"class_path": f"{__name__}.DeepLayer", "init_args": {"depth": 4}}


def test_a_subclass_without_constructor_records_its_own_class() -> None:
    assert SameLayer(2).spec["class_path"] == f"{__name__}.SameLayer"


def test_named_rest_arguments_are_recorded() -> None:
    assert Options(1, colour="red").spec["init_args"] == {"values": 1, "colour": "red"}


def test_unnamed_rest_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Numbers: arguments in \*numbers have no names"):
        Numbers(1, 2)


@pytest.mark.parametrize(
    "value", [torch.ones(2), object(), nn.Linear(1, 1), lambda x: x, {1.5: 2}, {1}, [object()]]
)
def test_what_is_not_plain_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match=r"Options: .*'values"):
        Options(value)


def test_missing_arguments_are_refused_by_class() -> None:
    with pytest.raises(TypeError, match="Layer: missing a required argument: 'width'"):
        Layer()


def test_specs_are_json_even_for_numpy_scalars() -> None:
    spec = Options([np.float64(0.5), {"a": (1, None, True)}]).spec
    assert json.loads(json.dumps(spec))["init_args"]["values"] == [0.5, {"a": [1, None, True]}]
    assert type(spec["init_args"]["values"][0]) is float


def test_changing_a_spec_does_not_change_the_object() -> None:
    layer = Layer(3)
    layer.spec["init_args"]["width"] = 5
    assert layer.spec["init_args"]["width"] == 3


def test_build_makes_an_equal_object() -> None:
    model = Model(Layer(3, Scale(7.0)), functools.partial(torch.optim.SGD, lr=0.1))
    rebuilt = build(model.spec)
    assert rebuilt.spec == model.spec
    assert rebuilt.optimizer.func is torch.optim.SGD


def test_build_refuses_classes_that_are_not_imported() -> None:
    with pytest.raises(ValueError, match=r"import 'xml\.dom\.pulldom' before"):
        build({"class_path": "xml.dom.pulldom.PullDOM", "init_args": {}})


@pytest.mark.parametrize("path", ["subprocess.Popen", "os.system", "torch.nn.Linear"])
def test_build_makes_only_specs_and_optimizers(path: str) -> None:
    with pytest.raises(ValueError, match="must name a Spec"):
        build({"class_path": path, "init_args": {}})


def test_a_dataclass_says_that_it_needs_a_constructor() -> None:
    from dataclasses import dataclass

    @dataclass
    class Point(Spec):
        x: int

    with pytest.raises(TypeError, match="Point must define __init__"):
        _ = Point(1).spec


def test_public_paths_are_the_shortest() -> None:
    assert class_path(torch.optim.AdamW) == "torch.optim.AdamW"
    assert class_path(Spec) == "graves_core.Spec"


def test_objects_can_be_copied_and_pickled() -> None:
    layer = Layer(3)
    assert copy.deepcopy(layer).spec == pickle.loads(pickle.dumps(layer)).spec == layer.spec


@pytest.mark.parametrize("loader", [Model, LightningModule])
def test_a_model_made_in_python_is_rebuilt_from_its_checkpoint(loader: Any, tmp_path: Path) -> None:
    model = Model(DeepLayer(3), functools.partial(torch.optim.SGD, lr=0.1))
    rebuilt = loader.load_from_checkpoint(saved(model, tmp_path), weights_only=True)
    assert type(rebuilt) is Model
    assert rebuilt.spec["init_args"]["layer"] == model.spec["init_args"]["layer"]
    assert rebuilt.optimizer.keywords["weight_decay"] == 0
    torch.testing.assert_close(rebuilt.layer.linear.weight, model.layer.linear.weight)


def cli_model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr("sys.argv", ["test"])
    args = ["--layer=DeepLayer", "--layer.depth=3", "--optimizer=Adam", "--optimizer.lr=0.25"]
    args = [arg.replace("--", "--model.") for arg in args]
    cli = LightningCLI(
        Model, run=False, args=[*args, "--trainer.accelerator=cpu"], auto_configure_optimizers=False
    )
    return cli.model


@pytest.mark.filterwarnings("ignore")
def test_a_model_made_by_a_cli_holds_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cli_model(monkeypatch)
    assert model.optimizer.func is torch.optim.Adam
    assert copy.deepcopy(model).spec == model.spec


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("loader", [Model, LightningModule])
def test_a_model_made_by_a_cli_is_rebuilt_from_its_checkpoint(
    loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cli_model(monkeypatch)
    assert loader.load_from_checkpoint(saved(model, tmp_path), weights_only=True).spec == model.spec
