"""What networks of several named fields compute."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from small_nets import FIELDS, awake, everything, mixed, said, spoken
from torch import Tensor

from graves_bfn import (
    BFNMLP,
    BFNMixedMLP,
    BFNMixedNetwork,
    BFNNetwork,
    BFNNetworkBase,
    ExtraInputs,
    FieldShape,
    VectorCondition,
)
from graves_core.spec import build


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a)


def test_each_field_gets_its_own_outputs() -> None:
    outputs = mixed(everything())(**spoken())
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {"at": (3, 4, 3, 2), "bit": (3, 2, 1), "what": (3, 4, 5)}


def test_sizes_are_exposed_by_field() -> None:
    net = mixed(everything())
    assert net.shape == {"at": (4, 3), "bit": (2,), "what": (4,)}
    assert net.inputs_per_variable == {"at": 1, "bit": 1, "what": 5}
    assert net.outputs_per_variable == {"at": 2, "bit": 1, "what": 5}
    assert net.features_per_variable == {"at": 3, "bit": 3, "what": 11}
    assert net.variables == 12 + 2 + 4


def test_it_is_a_network_but_not_one_of_a_single_tensor() -> None:
    assert isinstance(mixed(), BFNMixedNetwork)
    assert isinstance(mixed(), BFNNetworkBase)
    assert isinstance(BFNMLP((2,), 1, 1), BFNNetworkBase)
    assert not isinstance(mixed(), BFNNetwork)


def test_one_field_is_computed_as_by_the_perceptron_of_one_tensor() -> None:
    plain = awake(BFNMLP((4, 3), 1, 2, width=16, depth=2, extra_inputs=everything())).eval()
    net = BFNMixedMLP({"at": FieldShape((4, 3), 1, 2)}, 16, 2, extra_inputs=everything()).eval()
    net.load_state_dict(plain.state_dict())
    told = said((4, 3))
    named = {name: value if name in {"t", "condition"} else {"at": value} for name, value in told.items()}
    assert torch.equal(net(**named)["at"], plain(**told))


def test_fields_of_means_are_computed_as_one_long_vector() -> None:
    plain = awake(BFNMLP((5,), 1, 1, width=16, depth=2))
    net = BFNMixedMLP({"b": FieldShape((2,), 1, 1), "a": FieldShape((3,), 1, 1)}, 16, 2)
    net.load_state_dict(plain.state_dict())
    a, b, t = torch.randn(4, 3), torch.randn(4, 2), torch.rand(4)
    outputs = net({"a": a, "b": b}, t)
    together = torch.cat([outputs["a"], outputs["b"]], dim=1)
    torch.testing.assert_close(together, plain(torch.cat([a, b], dim=1), t))


def test_the_order_of_fields_does_not_matter() -> None:
    net = awake(mixed())
    again = BFNMixedMLP({name: FIELDS[name] for name in reversed(FIELDS)}, 16, 2)
    again.load_state_dict(net.state_dict())
    told = spoken()
    turned = {name: told["inputs"][name] for name in reversed(told["inputs"])}
    assert distance(again(turned, told["t"]), net(told["inputs"], told["t"])) == 0.0


@pytest.mark.parametrize("classes", [3, 100])
def test_a_certain_class_is_as_loud_as_a_mean(classes: int) -> None:
    net = BFNMixedMLP({"x": FieldShape((classes,), classes, classes)}, 8, 1)
    features = net.features({"x": torch.eye(classes).unsqueeze(0)})["x"]
    torch.testing.assert_close(features.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.square().mean(), torch.tensor(1 - 1 / classes))


def test_equal_probabilities_give_no_features_and_two_classes_give_2p_minus_1() -> None:
    inputs = spoken()["inputs"]
    inputs["what"] = torch.full((3, 4, 5), 0.2)
    features = mixed().features(inputs)
    torch.testing.assert_close(features["what"], torch.zeros(3, 4, 5), rtol=0, atol=1e-6)
    torch.testing.assert_close(features["bit"], 2 * inputs["bit"] - 1)
    assert torch.equal(features["at"], inputs["at"].unsqueeze(-1))


@pytest.mark.parametrize("spoken_to", FIELDS)
@pytest.mark.parametrize("speaking", FIELDS)
def test_every_field_depends_on_every_other(spoken_to: str, speaking: str) -> None:
    net = awake(mixed()).double()
    inputs = {name: value.double().requires_grad_() for name, value in spoken(1)["inputs"].items()}
    output = net(inputs, torch.tensor([0.5], dtype=torch.float64))[speaking]
    (gradient,) = torch.autograd.grad(output.flatten()[0], inputs[spoken_to])
    assert (gradient != 0).all()


def test_an_untrained_network_says_zero() -> None:
    outputs = mixed(everything())(**spoken())
    assert not any(value.any() for value in outputs.values())


def test_examples_do_not_see_each_other() -> None:
    net, told = awake(mixed(everything())).eval(), spoken()

    def row(value: Any) -> Any:
        return {name: row(v) for name, v in value.items()} if isinstance(value, dict) else value[1:2]

    alone, together = net(**row(told)), net(**told)
    assert distance(alone, row(together)) < 1e-5


def test_the_content_of_padding_does_not_matter() -> None:
    net, told = awake(mixed(everything())).eval(), spoken()
    valid, changed = told["valid"], dict(told)
    for argument in ("inputs", "estimate"):
        changed[argument] = {
            name: torch.where(
                valid[name].view(*valid[name].shape, *[1] * (v.ndim - valid[name].ndim)), v, math.nan
            )
            for name, v in told[argument].items()
        }
    changed["known"] = {name: known ^ ~valid[name] for name, known in told["known"].items()}
    before, after = net(**told), net(**changed)
    assert all(torch.equal(before[name], after[name]) for name in FIELDS)


@pytest.mark.parametrize("argument", ["condition", "known", "estimate", "valid"])
def test_every_extra_input_matters(argument: str) -> None:
    net, told = awake(mixed(everything())).eval(), spoken()
    assert distance(net(**told), net(**{**told, argument: None})) > 1e-3


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("argument", ["known", "estimate", "valid"])
def test_an_extra_input_may_speak_of_some_fields(argument: str, field: str) -> None:
    net, told = awake(mixed(everything())).eval(), spoken()
    one = net(**{**told, argument: {field: told[argument][field]}})
    assert distance(one, net(**{**told, argument: None})) > 1e-4
    assert distance(one, net(**told)) > 1e-4


def test_no_estimate_is_an_estimate_of_no_features_and_nothing_known_by_default() -> None:
    net, told = awake(mixed(everything())).eval(), spoken()
    told["estimate"] = {"at": torch.zeros(3, 4, 3), "what": torch.full((3, 4, 5), 0.2)}
    told["estimate"]["bit"] = torch.full((3, 2, 1), 0.5)
    told["known"] = {name: torch.zeros_like(known) for name, known in told["known"].items()}
    assert distance(net(**told), net(**{**told, "estimate": None, "known": None})) < 1e-5


def test_conditions_are_dropped_in_training_alone() -> None:
    net, told = awake(mixed(ExtraInputs(VectorCondition(4, 0.9)))), spoken()
    torch.manual_seed(0)
    x, t, vectors = told["inputs"], told["t"], torch.randn(3, 4)
    assert distance(net(x, t, condition=vectors), net.eval()(x, t, condition=vectors)) > 1e-3
    assert distance(net(x, t, condition=vectors), net(x, t, condition=vectors)) == 0.0
    assert net.embed_condition is not None
    net.train().embed_condition.dropout = 1.0
    assert distance(net(x, t, condition=vectors), net(x, t)) < 1e-6


def test_is_rebuilt_from_its_spec() -> None:
    net = mixed(everything(), dropout=0.25)
    again = build(net.spec)
    assert type(again) is BFNMixedMLP
    assert again.spec == net.spec
    again.load_state_dict(net.state_dict())


def test_compiles_without_a_graph_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the compiler cannot read shape checks
    net, told = awake(mixed(everything())), spoken()
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**told), net(**told))


def test_bfloat16_autocast_and_weights_are_close_to_float32() -> None:
    net, told = awake(mixed(everything())), spoken()
    exact = net(**told)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(**told)
    sum(value.float().sum() for value in rough.values()).backward()  # type: ignore[union-attr]
    halved = net.bfloat16()(**told)
    largest = max(value.abs().max().item() for value in exact.values())
    assert {value.dtype for value in halved.values()} == {torch.bfloat16}
    assert distance(rough, exact) < 0.05 * largest
    assert distance(halved, exact) < 0.1 * largest


def test_gradients_reach_every_parameter() -> None:
    net, told = awake(mixed(everything())), spoken()
    for condition in (told["condition"], None):
        outputs = net(**{**told, "condition": condition})
        torch.cat([value.flatten() for value in outputs.values()]).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_all_parameters_are_in_the_groups() -> None:
    net = mixed(everything())
    grouped = [id(p) for group in net.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())
