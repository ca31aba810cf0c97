"""What a model must have for the callbacks, and what they make of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import Foreign, Rows, Sure, Table, images, table, trainer
from lightning.pytorch import LightningModule
from small_models import MODELS
from torch import Tensor, nn

from graves_bfn import (
    BFN,
    BFNMLP,
    BFNLikelihood,
    BFNMarginals,
    BFNQuality,
    BFNSamples,
    BinaryImages,
    ClassCondition,
    ContinuousFlow,
    DiscreteFlow,
    ExtraInputs,
    MessageSampler,
    SDESolver,
    Tokens,
    UniformGrid,
)
from graves_bfn.callbacks.examples import Examples, joined
from graves_bfn.callbacks.models import FlowModel

CALLBACKS = [BFNSamples, BFNLikelihood, BFNQuality, BFNMarginals]


class Holder(LightningModule):
    """A foreign model around a given network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.flow, self.network, self.codec = ContinuousFlow(0.1), network, Tokens("ab")


def seen(model: LightningModule, codec: Any = None) -> FlowModel:
    return FlowModel(model, codec, "Test")


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_model_without_a_flow_is_refused_before_training(tmp_path: Path, callback: Any) -> None:
    class Stranger(Foreign):
        def __init__(self) -> None:
            super().__init__()
            del self.flow, self.codec

    message = rf"{callback.__name__}: Stranger must have the attribute flow, a Flow; codec, a Codec \(or give"
    with pytest.raises(TypeError, match=message):
        trainer(tmp_path, callback()).fit(Stranger(), Rows(images(torch.zeros(4)), 2))


def test_everything_that_is_missing_is_named() -> None:
    with pytest.raises(TypeError, match="flow, a Flow; network, a callable; codec, a Codec"):
        seen(LightningModule())


def test_an_attribute_of_another_kind_is_refused() -> None:
    model = Foreign()
    model.flow = "discrete"
    with pytest.raises(TypeError, match=r"attribute flow, a Flow$"):
        seen(model)


def test_a_model_that_makes_its_network_in_configure_model_is_accepted(tmp_path: Path) -> None:
    class Late(Foreign):
        def __init__(self) -> None:
            super().__init__()
            del self.flow

        def configure_model(self) -> None:
            self.flow = DiscreteFlow(2, 4.0)

    trainer(tmp_path, BFNSamples(num_samples=2, num_steps=2, frames=0)).fit(
        Late(), Rows(images(torch.zeros(4)), 2)
    )
    assert (tmp_path / "images" / "samples_step=2.png").exists()


def test_a_codec_can_be_given_to_the_callback(tmp_path: Path) -> None:
    class Bare(Foreign):
        def __init__(self) -> None:
            super().__init__()
            del self.codec

    callback = BFNLikelihood(steps=[2], codec=BinaryImages(levels=17))
    (logged,) = trainer(tmp_path, callback).test(Bare(), Rows(images(torch.zeros(4)), 2), verbose=False)
    assert logged["test/nats_per_example_n=2"] > 0


def test_settings_of_a_model_are_used_and_have_defaults() -> None:
    foreign, ours = seen(Foreign()), MODELS["continuous"]()
    assert isinstance(foreign.sampler, MessageSampler)
    assert (foreign.sample_steps, foreign.grid, foreign.recalls, foreign.classes) == (100, None, False, None)
    ours.sampler, ours.sample_steps, ours.grid = SDESolver(), 7, UniformGrid()
    assert (seen(ours).sampler, seen(ours).sample_steps, seen(ours).grid) == (ours.sampler, 7, ours.grid)


def test_data_have_the_shape_of_the_network_or_else_of_the_batch() -> None:
    like = Examples(torch.zeros(3, 8, 8, 1, dtype=torch.long))
    assert seen(Foreign())._shape(like) == (3, 8, 8, 1)
    assert seen(Holder(BFNMLP((5, 5, 1), 1, 1, width=8, depth=1)))._shape(like) == (3, 5, 5, 1)


def test_data_in_fields_have_the_shapes_of_their_batch() -> None:
    batch = {"sizes": torch.ones(4, 2), "kind": torch.ones(4, 1, dtype=torch.long)}
    model = seen(Table())
    assert model._shape(model.examples(batch)) == {"sizes": (4, 2), "kind": (4, 1)}


def conditional(**extra: Any) -> tuple[BFNMLP, Examples]:
    """A network that is told a class, and examples of all classes with padding."""
    network = BFNMLP((4,), 1, 1, width=16, depth=1, extra_inputs=ExtraInputs(ClassCondition(5), **extra))
    draw = torch.Generator().manual_seed(0)
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.3, generator=draw)
    valid = torch.tensor([True, True, False, True]).expand(5, 4)
    return network.eval(), Examples(torch.zeros(5, 4), torch.arange(5), valid)


def test_a_foreign_model_with_one_of_our_networks_is_told_as_a_bfn_is() -> None:
    network, examples = conditional()
    ours = BFN(ContinuousFlow(0.1), network, Tokens("ab"))
    inputs, t = torch.randn(5, 4), torch.rand(5)
    told = [seen(model).shown(examples)(inputs, t) for model in (Holder(network), ours)]
    assert torch.equal(told[0], told[1])
    assert not torch.equal(told[0], network(inputs, t))


def test_a_foreign_model_can_show_its_network_conditions_in_its_own_way() -> None:
    class Own(Foreign):
        def shown(self, *, condition: Tensor, valid: Any) -> Any:
            return lambda inputs, t: inputs * 0 + condition[:, None, None, None, None]

    network = seen(Own()).shown(Examples(torch.zeros(2, 8, 8, 1), torch.tensor([3, 4])))
    assert network(torch.zeros(2, 8, 8, 1, 1), torch.zeros(2)).flatten(1).unique().tolist() == [3, 4]


def test_samples_are_guided_as_the_model_says_and_losses_are_not() -> None:
    network, examples = conditional()
    model = seen(BFN(ContinuousFlow(0.1), network, Tokens("ab"), guidance_scale=3.0))
    drawn = [model.draw(examples, 4, None, model.generator(0))]
    model.module.guidance_scale = 1.0
    drawn += [model.draw(examples, 4, None, model.generator(0))]
    assert not torch.allclose(*drawn)
    inputs, t = torch.randn(5, 4), torch.rand(5)
    model.module.guidance_scale = 3.0
    told = network(inputs, t, condition=examples.condition, valid=examples.valid)
    assert torch.equal(model.shown(examples)(inputs, t), told)


def test_padding_of_samples_is_that_of_the_examples() -> None:
    network, examples = conditional()
    model = seen(BFN(ContinuousFlow(0.1), network, Tokens("ab")))
    x = model.draw(examples._replace(x=examples.x + 7), 4, None, model.generator(0))
    assert ((x == 7) == ~examples.valid).all()


def test_fields_without_a_mask_have_no_padding() -> None:
    x = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 1)}
    examples = Examples(x, None, {"a": torch.tensor([[True, False, True]] * 2)})
    padded = examples.padded({name: values + 1 for name, values in x.items()})
    assert padded["a"].tolist() == [[1, 0, 1]] * 2
    assert padded["b"].tolist() == [[1]] * 2


def test_a_network_that_recalls_is_shown_its_estimate_in_losses_and_samples(tmp_path: Path) -> None:
    network = BFNMLP((8, 8, 1), 1, 1, width=8, depth=1, extra_inputs=ExtraInputs(self_conditioning=True))
    shown = []
    network.register_forward_pre_hook(
        lambda module, args, kwargs: shown.append("estimate" in kwargs), with_kwargs=True
    )
    model = seen(BFN(DiscreteFlow(2, 4.0), network, BinaryImages(levels=17)))
    examples = Examples(torch.zeros(2, 8, 8, 1, dtype=torch.long))
    model.draw(examples, 3, None, model.generator(0))
    assert shown == [False, True, True, True]
    shown.clear()
    trainer(tmp_path, BFNLikelihood(steps=[2])).test(
        model.module, Rows(images(torch.zeros(2)), 2), verbose=False
    )
    assert sum(shown) == len(shown) / 2 > 0


def test_examples_begin_anew_after_the_last() -> None:
    examples = Examples(torch.arange(3), torch.arange(3) + 10)
    assert examples.cycled(4, 2).x.tolist() == [2, 0, 1, 2]
    assert examples.cycled(4, 2).condition.tolist() == [12, 10, 11, 12]


def test_batches_are_joined_in_order() -> None:
    parts = [Examples({"a": torch.full((n, 1), n)}, None, {"a": torch.ones(n, 1)}) for n in (1, 2)]
    whole = joined(parts)
    assert whole.x["a"].flatten().tolist() == [1, 2, 2]
    assert whole.condition is None
    assert whole.valid["a"].shape == (3, 1)


def test_the_network_is_called_once_more_than_there_are_steps() -> None:
    model = Sure(1.0)
    examples = Examples(torch.zeros(2, 8, 8, 1, dtype=torch.long))
    seen(model).draw(examples, 6, None, seen(model).generator(0))
    assert model.calls == 7


def test_every_callback_runs_in_a_foreign_model(tmp_path: Path) -> None:
    callbacks = [
        BFNSamples(num_samples=2, num_steps=2),
        BFNLikelihood(steps=[2]),
        BFNQuality(steps=[2], num_samples=3, chart=False),
    ]
    run = trainer(tmp_path, *callbacks)
    run.fit(Foreign(), Rows(images(torch.arange(8)), 4))
    run.test(Foreign(), Rows(images(torch.arange(8)), 4), verbose=False)
    names = {path.name.split("_step")[0] for path in tmp_path.rglob("*.*")}
    assert names == {"samples", "generation", "strip", "quality", "quality_samples"}
    pytest.importorskip("matplotlib")
    run = trainer(tmp_path, BFNMarginals(num_samples=9, num_steps=2))
    run.validate(Table(), Rows(table(8), 4), verbose=False)
    assert run.callback_metrics["val/marginal_distance"] > 0
