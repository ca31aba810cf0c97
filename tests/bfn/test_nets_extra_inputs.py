"""What every network makes of conditions, known variables and earlier estimates."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from small_nets import MAKERS, SHAPE, Make, awake, everything, said, vdm_unet
from torch import Tensor

from graves_bfn import (
    BFNMLP,
    BFNConvNet,
    ClassCondition,
    ExtraInputs,
    VectorCondition,
)
from graves_core.spec import build

every_network = pytest.mark.parametrize("make", MAKERS)


def conditional(dropout: float = 0.0) -> ExtraInputs:
    return ExtraInputs(ClassCondition(3, dropout))


@every_network
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize(
    ("extra", "features"),
    [
        (ExtraInputs(), lambda size: size),
        (ExtraInputs(known=True), lambda size: size + 1),
        (ExtraInputs(self_conditioning=True), lambda size: 2 * size),
        (everything(), lambda size: 2 * size + 1),
    ],
)
def test_every_extra_adds_its_features(make: Make, size: int, extra: ExtraInputs, features: Any) -> None:
    assert make(size, extra).features_per_variable == features(size)


@every_network
def test_features_are_the_inputs_then_the_estimate_then_what_is_known(make: Make) -> None:
    net, plain, told = make(5, everything()), make(5, None), said()
    inputs, estimate = (torch.rand(3, *SHAPE, 5) for _ in range(2))
    features = net.features(inputs, known=told["known"], estimate=estimate)
    expected = [plain.features(inputs), plain.features(estimate), told["known"].float().unsqueeze(-1)]
    assert torch.equal(features, torch.cat(expected, dim=-1))


@every_network
def test_only_the_condition_adds_parameters(make: Make) -> None:
    names = set(make(1, everything()).state_dict()) - set(make(1, None).state_dict())
    assert names == {"embed_condition.null", "embed_condition.table.weight"}


def test_parameters_of_the_perceptron_keep_their_names() -> None:
    names = set(BFNMLP((2,), 1, 1, width=8, depth=1).state_dict())
    layers = ["embed_inputs", "embed_time.0", "embed_time.2", "norm", "project_outputs"]
    layers += [f"blocks.0.{layer}" for layer in ("modulation", "up", "down")]
    assert names == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


@every_network
def test_without_condition_unconditional_weights_compute_what_they_did(make: Make) -> None:
    before, net, x, t = awake(make(1, None)), make(1, conditional()), said()["inputs"], torch.rand(3)
    net.load_state_dict(before.state_dict(), strict=False)
    assert torch.equal(net(x, t), before(x, t))


@every_network
def test_the_class_matters_to_its_own_example_alone(make: Make) -> None:
    net, x, t = awake(make(1, conditional())).eval(), said()["inputs"], torch.rand(3)
    one, other = (net(x, t, condition=torch.tensor(labels)) for labels in ([0, 1, 2], [0, 2, 2]))
    assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert (one[1] - other[1]).abs().max() > 1e-3


@every_network
def test_the_vector_matters(make: Make) -> None:
    net, x, t = awake(make(1, ExtraInputs(VectorCondition(4)))).eval(), said()["inputs"], torch.rand(3)
    one, other = (net(x, t, condition=vectors) for vectors in torch.randn(2, 3, 4))
    assert ((one - other).abs().flatten(1).amax(1) > 1e-3).all()


@every_network
def test_a_dropped_condition_is_no_condition(make: Make) -> None:
    net, x, t = awake(make(1, conditional())), said()["inputs"], torch.rand(3)
    assert net.embed_condition is not None
    net.embed_condition.dropout = 1.0
    torch.testing.assert_close(net(x, t, condition=torch.tensor([0, 1, 2])), net(x, t))


@every_network
def test_training_drops_conditions_of_single_examples(make: Make) -> None:
    torch.manual_seed(0)
    net, n, p = awake(make(1, conditional(dropout=0.3))), 300, 0.3
    x, t = said(batch=1)["inputs"], torch.tensor([0.4])
    outputs = net(x.expand(n, *SHAPE), t.expand(n), condition=torch.zeros(n, dtype=torch.long)).flatten(1)
    dropped = ((outputs - net(x, t).flatten(1)).abs().amax(1) < 1e-4).sum()
    assert abs(dropped - n * p) < 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.7])
def test_conditions_are_dropped_with_the_given_probability(p: float) -> None:
    torch.manual_seed(0)
    n, embedding = 40_000, ClassCondition(3, dropout=p).embedding(width=2)
    dropped = (embedding(torch.ones(n, dtype=torch.long), n) == 0).all(1).sum()
    assert abs(dropped - n * p) <= 5 * math.sqrt(n * p * (1 - p))


@every_network
def test_evaluation_drops_no_condition(make: Make) -> None:
    often, never = make(1, conditional(dropout=0.9)), make(1, conditional(dropout=0.0))
    never.load_state_dict(awake(often).state_dict())
    told, labels = said(batch=16), torch.arange(16) % 3
    x, t = told["inputs"], told["t"]
    assert torch.equal(often.eval()(x, t, condition=labels), never.eval()(x, t, condition=labels))


@every_network
def test_what_is_known_matters_and_nothing_is_by_default(make: Make) -> None:
    net, told = awake(make(1, ExtraInputs(known=True))).eval(), said()
    x, t, known = told["inputs"], told["t"], told["known"]
    assert (net(x, t, known=known) - net(x, t)).abs().max() > 1e-3
    assert torch.equal(net(x, t, known=torch.zeros_like(known)), net(x, t))


@every_network
@pytest.mark.parametrize("size", [1, 5])
def test_the_estimate_matters_and_is_zero_by_default(make: Make, size: int) -> None:
    net, t = awake(make(size, ExtraInputs(self_conditioning=True))).eval(), torch.rand(3)
    x, estimate = (
        torch.randn(3, *SHAPE, size).softmax(-1) if size > 1 else torch.randn(3, *SHAPE) for _ in "ab"
    )
    middle = 0.0 if size == 1 else 1 / size if isinstance(net, BFNConvNet) else 0.5
    assert (net(x, t, estimate=estimate) - net(x, t)).abs().max() > 1e-3
    torch.testing.assert_close(net(x, t, estimate=torch.full_like(x, middle)), net(x, t))


def test_the_waves_of_the_vdm_unet_are_those_of_the_inputs_alone() -> None:
    net, told = awake(vdm_unet(1, everything())).eval(), said()
    for layer in (net.first_conv, net.project_outputs):
        layer.weight.data[:, : 3 * SHAPE[2]] = 0  # type: ignore[index, union-attr]
    outputs = net(**told)
    other = {name: torch.zeros_like(told[name]) for name in ("inputs", "known", "estimate")}
    assert torch.equal(net(**{**told, **other, "inputs": told["inputs"]}), outputs)
    assert (net(**{**told, **other}) - outputs).abs().max() > 1e-3


@every_network
@pytest.mark.parametrize(
    ("argument", "option"),
    [
        ("condition", r"ExtraInputs\(condition=\.\.\.\).*ClassCondition.*VectorCondition"),
        ("known", r"ExtraInputs\(known=True\)"),
        ("estimate", r"ExtraInputs\(self_conditioning=True\)"),
    ],
)
def test_extras_that_a_network_was_not_built_for_are_refused(make: Make, argument: str, option: str) -> None:
    told = said()
    with pytest.raises(ValueError, match=f"{argument} needs a network with extra_inputs={option}"):
        make(1, None)(told["inputs"], told["t"], **{argument: told[argument]})


@every_network
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("valid", torch.ones(3, 4, 6, 1, dtype=torch.bool)),
        ("known", torch.ones(3, 4, 1, 2, dtype=torch.bool)),
        ("estimate", torch.ones(3, *SHAPE, 1)),
        ("condition", torch.zeros(3, 1, dtype=torch.long)),
    ],
)
def test_extras_of_another_shape_are_refused(make: Make, argument: str, value: Tensor) -> None:
    told = {**said(), argument: value}
    del told["known" if argument == "valid" else "valid"]  # two masks of different shapes are refused before
    with pytest.raises(ValueError, match=rf"{argument} must have the shape \(3,.*got \(3,"):
        make(1, everything())(**told)


def test_vectors_of_another_size_and_labels_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"condition must have the shape \(3, 4\), got \(3, 5\)"):
        VectorCondition(4).embedding(width=2)(torch.randn(3, 5), 3)
    with pytest.raises(ValueError, match="condition must hold integer class labels"):
        ClassCondition(4).embedding(width=2)(torch.randn(3), 3)


def test_labels_of_any_integer_type_are_the_same() -> None:
    embedding, labels = ClassCondition(4).embedding(width=2).eval(), torch.tensor([3, 0, 1])
    assert torch.equal(embedding(labels.to(torch.uint8), 3), embedding(labels, 3))


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (ClassCondition, {"num_classes": 0}, "num_classes must be at least 1, got 0"),
        (VectorCondition, {"size": -1}, "size must be at least 1, got -1"),
        (ClassCondition, {"num_classes": 2, "dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        (VectorCondition, {"size": 2, "dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0.1"),
    ],
)
def test_conditions_name_what_does_not_fit(cls: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


@every_network
@pytest.mark.parametrize("extra", [everything(0.25), ExtraInputs(VectorCondition(7, 0.5))])
def test_a_network_with_extras_is_rebuilt_from_its_spec(make: Make, extra: ExtraInputs) -> None:
    net = make(5, extra)
    again = build(net.spec)
    assert again.spec == net.spec
    again.load_state_dict(net.state_dict())
    assert again.embed_condition.dropout == net.embed_condition.dropout  # type: ignore[union-attr]


@every_network
def test_compiles_in_training_without_a_graph_break(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the compiler cannot read shape checks
    net, told = awake(make(1, everything())), said()
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**told), net(**told))


@every_network
def test_bfloat16_autocast_and_weights_are_close_to_float32(make: Make) -> None:
    net, told = awake(make(1, everything())), said()
    exact = net(**told)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(**told).float()
    rough.sum().backward()
    halved = net.bfloat16()(**told)
    assert halved.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert (halved.float() - exact).abs().max() < 0.1 * exact.abs().max()


@every_network
@pytest.mark.parametrize("condition", [ClassCondition(3, 0.0), VectorCondition(4, 0.0)])
def test_gradients_reach_every_parameter(make: Make, condition: ClassCondition | VectorCondition) -> None:
    net = awake(make(1, ExtraInputs(condition, known=True, self_conditioning=True)))
    told = said()
    if isinstance(condition, VectorCondition):
        told["condition"] = torch.randn(3, 4)
    net(**told).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    net(**{**told, "condition": None}).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []  # type: ignore[union-attr]


@every_network
def test_parameters_of_the_condition_are_in_the_groups(make: Make) -> None:
    net = make(1, everything())
    grouped = [id(p) for group in net.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())
