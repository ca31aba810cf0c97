"""A BFN under the Trainer with conditions, padding, known data and self-conditioning."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from lightning.pytorch import Trainer
from small_models import IMAGE, MODELS, batch, data
from small_nets import awake
from torch import Tensor

from graves_bfn import (
    BFN,
    BFNMLP,
    BFNMixedMLP,
    BFNNetwork,
    BinaryImages,
    ClassColumns,
    ClassCondition,
    DiscreteFlow,
    ExtraInputs,
    FieldsCodec,
    FieldShape,
    GradientGuidance,
    ListedGrid,
    MessageSampler,
    MixedFlow,
    SDESolver,
    Tokens,
)
from graves_bfn.flows.arrays import first

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def overheard(model: BFN) -> list[dict[str, Any]]:
    """All that the network will be told besides beliefs and times, call by call."""
    calls: list[dict[str, Any]] = []
    model.network.register_forward_pre_hook(lambda _, args, given: calls.append(given), with_kwargs=True)
    return calls


def logged_by_a_step(model: BFN, rows: object, batch_idx: int = 1) -> tuple[Tensor, Tensor]:
    """The loss of a training step and what it logs."""
    logged: dict[str, Tensor] = {}
    model.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign]
    torch.manual_seed(0)
    return model.training_step(rows, batch_idx), logged["train/nats_per_dim"]


def test_validation_counts_the_variables_that_are_no_padding() -> None:
    model, source = MODELS["words"](), data("words", batch_size=32)
    trainer = Trainer(limit_val_batches=2, **QUIET)
    (logged,) = trainer.validate(model, source, verbose=False)
    letters = [int((rows != 0).sum()) for rows, _ in zip(source.val_dataloader(), range(2), strict=False)]
    assert sum(letters) < 64 * 8
    per_example = logged["val/nats_per_example"]
    assert logged["val/nats_per_dim"] == pytest.approx(per_example * 64 / sum(letters), rel=1e-5)
    assert logged["val/bits_per_char"] == pytest.approx(logged["val/nats_per_dim"] / math.log(2), rel=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_training_logs_the_price_of_a_variable_that_is_charged_for(name: str) -> None:
    model, rows = MODELS[name](), batch(name, 12)
    torch.manual_seed(0)
    x, valid = model.codec.encode(rows), model.codec.valid(rows)
    known = None if model.known is None else model.known(x)
    parts, charged = (x if isinstance(x, dict) else {"": x}), 0
    for field, part in parts.items():
        counts = torch.ones(part.shape, dtype=torch.bool)
        for mask, sign in ((valid, True), (known, False)):
            one = mask.get(field) if isinstance(mask, dict) else mask
            counts &= True if one is None else one == sign
        charged += int(counts.sum())
    assert (charged == 12 * model.num_variables) == (name not in ("words", "inpainting", "mixed"))
    loss, logged = logged_by_a_step(model, rows)
    torch.testing.assert_close(logged, loss.detach() * 12 * model.num_variables / charged)


def test_padding_changes_neither_losses_nor_gradients() -> None:
    model = MODELS["words"]()
    rows = batch("words", 12)
    x, valid = model.codec.encode(rows), model.codec.valid(rows)
    assert valid.equal(rows != 0)
    other = torch.where(valid, x, 7)
    gradients = []
    for tokens in (x, other):
        torch.manual_seed(0)
        loss = model.loss(tokens, valid=valid)
        gradients.append((loss.detach(), torch.autograd.grad(loss.sum(), list(model.parameters()))))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_every_second_batch_recalls_what_the_network_expected() -> None:
    for name in ("words", "mixed"):
        model, rows = MODELS[name](), batch(name, 4)
        calls = overheard(model)
        shown = []
        for batch_idx in range(4):
            calls.clear()
            logged_by_a_step(model, rows, batch_idx)
            shown.append(["estimate" in call for call in calls])
        assert shown in ([[False, True], [False]] * 2, [[False], [False, True]] * 2)


def test_epochs_of_one_batch_recall_every_second_time() -> None:
    model = MODELS["words"]()
    calls = overheard(model)
    Trainer(max_epochs=4, limit_train_batches=1, limit_val_batches=0, **QUIET).fit(model, data("words"))
    assert sum("estimate" in call for call in calls) == 2


def test_evaluation_and_sampling_always_recall() -> None:
    model = MODELS["words"]()
    calls = overheard(model)
    Trainer(limit_val_batches=1, **QUIET).validate(model, data("words"), verbose=False)
    assert ["estimate" in call for call in calls] == [False, True] * 2
    calls.clear()
    model.sample(2, 3)
    assert ["estimate" in call for call in calls] == [False, True, True, True]


def test_predict_goes_by_the_labels_and_guides() -> None:
    model, source = MODELS["conditional"](), data("conditional", batch_size=5)
    model.sample_steps, calls = 2, overheard(model)
    Trainer(limit_predict_batches=1, **QUIET).predict(model, source)
    (_, labels), *_ = source.predict_dataloader()
    assert [("condition" in call) for call in calls] == [True, False] * 3  # guidance asks twice
    assert all(call["condition"].equal(labels) for call in calls[::2])
    calls.clear()
    model.sample(5, 2, condition=labels, guidance_scale=1.0)
    assert all(call["condition"].equal(labels) for call in calls)
    calls.clear()
    model.sample(5, 2)
    assert all("condition" not in call for call in calls)


def test_predicted_words_are_as_long_as_those_of_the_batch() -> None:
    model, source = MODELS["words"](), data("words", batch_size=6)
    model.sample_steps, calls = 2, overheard(model)
    (lines,) = Trainer(limit_predict_batches=1, **QUIET).predict(model, source)
    rows = next(iter(source.predict_dataloader()))
    assert len(lines) == 6
    assert all(call["valid"].equal(rows != 0) for call in calls)


def test_a_network_that_is_not_told_is_not_told() -> None:
    model = MODELS["discretised"]()
    calls = overheard(model)
    x = model.codec.encode(batch("discretised", 3))
    model.loss(x, condition=torch.zeros(3), known=torch.ones(x.shape, dtype=torch.bool))
    assert calls == [{}]


@pytest.mark.parametrize("method", ["clamp", "replace", "particles"])
@pytest.mark.parametrize("name", MODELS)
def test_completions_keep_what_is_known(name: str, method: str) -> None:
    model, rows = MODELS[name](), batch(name, 3)
    x, generator = model.codec.encode(rows), torch.Generator().manual_seed(0)
    mask = lambda part: torch.rand(part.shape, generator=generator) < 0.5
    known = {field: mask(part) for field, part in x.items()} if isinstance(x, dict) else mask(x)
    given = {"condition": model.codec.condition(rows), "valid": model.codec.valid(rows)}
    calls = overheard(model)
    drawn = model.inpaint(x, known, 4, method=method, particles=3, generator=generator, **given)
    told = method == "clamp" and model.network.extra_inputs.known
    assert all(("known" in call) == told for call in calls)
    fields = [""] if isinstance(x, Tensor) else list(x)
    for field in fields:
        result, truth, here = (value if field == "" else value[field] for value in (drawn, x, known))
        assert result.shape == truth.shape
        assert result[here].equal(truth[here])
        assert result.isfinite().all()
    assert not first(drawn).equal(first(x))


def test_sampling_drops_nothing_and_leaves_the_mode_alone() -> None:
    extra = ExtraInputs(condition=ClassCondition(10, dropout=0.9))
    net = awake(BFNMLP(IMAGE, 1, 1, width=16, depth=1, dropout=0.9, extra_inputs=extra))
    model, labels = BFN(DiscreteFlow(2, 4.0), net, BinaryImages(17)), torch.arange(6)
    frozen = next(module for module in net.modules() if isinstance(module, torch.nn.Dropout)).eval()
    seeded = lambda: {"condition": labels, "generator": torch.Generator().manual_seed(0)}
    means, modes = [], []
    for step in model.generate(6, 4, **seeded()):
        means.append(step.output.mean)
        modes.append(net.training)
    assert all(modes)
    for step, mean in zip(model.generate(6, 4, **seeded()), means, strict=True):
        assert step.output.mean.equal(mean)
    assert model.sample(6, 4, **seeded()).equal(step.output.mode)
    assert [module for module in net.modules() if not module.training] == [frozen]


class _Echo(BFNNetwork):
    """Says what the beliefs are."""

    def __init__(self) -> None:
        super().__init__(IMAGE, 1, 1)

    def forward(self, inputs: Tensor, t: Tensor, **given: Any) -> Tensor:
        return -torch.logit(inputs, eps=1e-6)


class _Guided(BFN):
    """Predicts with the gradient of a likelihood."""

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        darker = GradientGuidance(lambda theta, t: -5 * theta.flatten(1).sum(1))
        drawn: Tensor = self.sample(8, 10, controls=[darker], batch_size=5)
        return drawn


def test_gradient_guidance_works_under_the_trainer() -> None:
    model = _Guided(DiscreteFlow(2, 4.0), _Echo(), BinaryImages(17), sampler=SDESolver())
    (drawn,) = Trainer(limit_predict_batches=1, **QUIET).predict(model, data("binary"))
    # theta is the probability of class 0, so there is more of class 1
    assert drawn.float().mean() > model.sample(8, 10).float().mean() + 0.2


@pytest.mark.parametrize("name", ["discretised", "text"])
def test_times_beliefs_and_losses_stay_in_full_precision_when_weights_are_halved(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[name]()
    kinds, flow = set(), model.flow
    beliefs, cost = flow.sample_params, flow.continuous_cost

    def spy_beliefs(x: Tensor, t: Tensor, **given: Any) -> Any:
        params = beliefs(x, t, **given)
        kinds.update((t.dtype, (params if isinstance(params, Tensor) else params.mean).dtype))
        return params

    def spy_cost(*given: Any) -> Tensor:
        result = cost(*given)
        kinds.add(result.dtype)
        return result

    monkeypatch.setattr(flow, "sample_params", spy_beliefs)
    monkeypatch.setattr(flow, "continuous_cost", spy_cost)
    trainer = Trainer(precision="bf16-true", max_steps=2, limit_val_batches=0, **QUIET)
    trainer.fit(model, data(name))
    assert next(model.parameters()).dtype == torch.bfloat16
    assert kinds == {torch.float32}


def test_fields_with_one_variable_and_names_in_any_order_train() -> None:
    flow = MixedFlow({"b": DiscreteFlow(3, 2.0), "a": DiscreteFlow(2, 2.0)})
    net = BFNMixedMLP({"a": FieldShape((1,), 1, 1), "b": FieldShape((2,), 3, 3)}, width=8, depth=1)
    model = BFN(flow, net, FieldsCodec({"a": ClassColumns(2), "b": ClassColumns(3)}))
    rows = {"a": torch.tensor([[0], [1]]), "b": torch.tensor([[0, 2], [1, 1]])}
    loss, _ = logged_by_a_step(model, rows)
    assert loss.isfinite()
    assert model.num_variables == 3


def small(**given: Any) -> BFN:
    return BFN(DiscreteFlow(2, 1.0), BFNMLP((4,), 1, 1, width=8, depth=1), Tokens("ab"), **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(guidance_scale=-1.0), "guidance_scale must be at least 0, not -1.0"),
        (lambda: small(train_steps=3, grid=ListedGrid([0.0, 1.0])), "must be 1, as ListedGrid has, not 3"),
        (lambda: small(sampler=MessageSampler(ListedGrid([0.0, 1.0]))), "must be 1, as ListedGrid has"),
        (lambda: small().sample(2, 0), "num_steps must be at least 1, not 0"),
        (lambda: list(small().generate(2, 0)), "num_steps must be at least 1, not 0"),
        (
            lambda: small().inpaint(torch.zeros(1, 4).long(), torch.ones(1, 4) > 0, method="guess"),
            "method must be 'clamp', 'replace' or 'particles', not 'guess'",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(make: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would refuse the method first
    with pytest.raises(ValueError, match=message):
        make()
