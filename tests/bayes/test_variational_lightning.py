"""VariationalInference under what Lightning offers: ranks, resuming, precisions, compiled models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from variational_models import QUIET, Gradients, ManualRegressor, Regressor, Rows, fit, loader, make

from graves_bayes.callbacks.variational import VariationalInference
from graves_bayes.callbacks.variational_run import sample
from graves_bayes.layers.sampled import posterior_over
from graves_core.testing import assert_exact_resume


class Recurrent(nn.Module):
    """Two layers of LSTMs in both directions, over the inputs as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(1, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x[..., None])[0].mean(1))


class Attentive(nn.Module):
    """Embeddings of positions, attention, batch normalisation, and a matrix used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(3, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 1)
        self.again = nn.Linear(4, 1)
        self.again.weight = self.out.weight

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., None] * self.places.weight
        x = self.norm(self.attention(x, x, x)[0].mean(1))
        return self.out(x) + self.again(x)


def attempt(folder: Path, world: int, **settings: Any) -> list[Any]:
    """What each rank saw in one step."""
    callback = VariationalInference(seed=3, **settings)
    strategy = {"devices": world, "strategy": "ddp_fork"} if world > 1 else {}
    trainer = Trainer(
        **(QUIET | strategy), max_steps=1, callbacks=[callback, Gradients(callback, folder / str(world))]
    )
    trainer.fit(make(), loader(10 // world))
    return [torch.load(folder / f"{world}.{rank}", weights_only=True) for rank in range(world)]


def test_two_ranks_draw_samples_of_their_own_and_average_all_gradients(tmp_path: Path) -> None:
    ranks = attempt(tmp_path, 2)
    assert not torch.equal(ranks[0]["samples"][0], ranks[1]["samples"][0])
    torch.testing.assert_close(ranks[0]["gradients"], ranks[1]["gradients"], rtol=0, atol=0)
    torch.testing.assert_close(ranks[0]["weights"], ranks[1]["weights"], rtol=0, atol=0)
    expected = None
    for rank, rows in enumerate((Rows().rows[::2], Rows().rows[1::2])):
        module = make()
        posterior = posterior_over(module)
        sample(posterior, module, 3, rank, "batch", 0, 0, 0)
        assert torch.equal(module.net[0].weight, ranks[rank]["samples"][0])
        module.error(rows).mean().backward()
        posterior.restore_()
        posterior.add_complexity_gradient_(0.1)
        found = [leaf.grad for leaf in (*posterior.parameters_of_network, *posterior.log_sigma)]
        expected = found if expected is None else [(a + b) / 2 for a, b in zip(expected, found, strict=True)]
    torch.testing.assert_close(ranks[0]["gradients"][0], expected)


def test_two_ranks_without_noise_equal_one(tmp_path: Path) -> None:
    one, two = (attempt(tmp_path, world, posterior="delta", prior="laplace")[0] for world in (1, 2))
    torch.testing.assert_close(two["gradients"], one["gradients"])
    torch.testing.assert_close(two["weights"], one["weights"])


def test_several_samples_on_two_ranks_are_all_reduced(tmp_path: Path) -> None:
    first, second = attempt(tmp_path, 2, samples=2)
    assert len(first["samples"]) == 2
    torch.testing.assert_close(first["gradients"], second["gradients"], rtol=0, atol=0)
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)


class Adamed(Regressor):
    """With an optimizer that remembers."""

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


SETTINGS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "laplace": {"posterior": "laplace", "prior": "laplace", "groups": "layer"},
    "squared": {"estimator": "squared", "samples": 2, "antithetic": True, "warmup_steps": 3},
    "delta": {"posterior": "delta"},
    "local": {"noise": "local"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    assert_exact_resume(
        Adamed,
        lambda: loader(2, shuffle=True),
        kill_at_steps=[2, 6],
        max_steps=8,
        root=tmp_path,
        make_callbacks=lambda: [VariationalInference(**SETTINGS[name])],
    )


def test_a_killed_run_with_accumulated_batches_goes_on(tmp_path: Path) -> None:
    assert_exact_resume(
        Adamed,
        lambda: loader(1, shuffle=True),
        kill_at_steps=[3],
        max_steps=5,
        root=tmp_path,
        make_callbacks=lambda: [VariationalInference(estimator="squared")],
        trainer_args={"accumulate_grad_batches": 2},
    )


def test_two_ranks_go_on_bit_for_bit(tmp_path: Path) -> None:
    assert_exact_resume(
        Adamed,
        lambda: loader(2, shuffle=True),
        kill_at_steps=[2],
        max_steps=4,
        root=tmp_path,
        make_callbacks=lambda: [VariationalInference()],
        trainer_args={"devices": 2, "strategy": "ddp_fork"},
    )


def test_manual_optimization_goes_on_bit_for_bit(tmp_path: Path) -> None:
    assert_exact_resume(
        ManualRegressor,
        lambda: loader(4),
        kill_at_steps=[2],
        max_steps=8,
        root=tmp_path,
        make_callbacks=lambda: [VariationalInference()],
    )


def test_checkpoints_load_without_the_callback(tmp_path: Path) -> None:
    _, _, trainer = fit(VariationalInference())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    make().load_state_dict(checkpoint["state_dict"], strict=True)


def test_a_test_from_a_checkpoint_samples_with_the_learned_scales(tmp_path: Path) -> None:
    trained = VariationalInference(sigma=0.01)
    _, _, trainer = fit(trained)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    callback = VariationalInference(evaluation="sample")
    Trainer(**QUIET, callbacks=[callback]).test(
        make(), loader(), ckpt_path=tmp_path / "a.ckpt", verbose=False
    )
    assert callback.posterior is not None
    assert trained.posterior is not None
    torch.testing.assert_close(callback.posterior.state_dict(), trained.posterior.state_dict())


@pytest.mark.parametrize("net", [Recurrent, Attentive])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_networks_of_all_kinds_learn_in_all_precisions(net: Any, precision: Any) -> None:
    torch.manual_seed(0)
    module = Regressor(net())
    before = {name: value.clone() for name, value in module.named_parameters()}
    callback = VariationalInference()
    fit(callback, module, precision=precision, max_epochs=2, accumulate_grad_batches=2, gradient_clip_val=1.0)
    assert callback.posterior is not None
    assert callback.posterior.names == list(before)
    for name, weight in module.named_parameters():
        assert weight.isfinite().all()
        assert name == "net.attention.in_proj_bias" or not torch.equal(weight, before[name].to(weight))


def test_compiled_models_see_the_samples() -> None:
    torch.manual_seed(0)
    callback = VariationalInference(seed=1)
    module = make()
    plain, watch, _ = fit(VariationalInference(seed=1), make(), loader(5), max_epochs=2)
    module.net = torch.compile(module.net, backend="aot_eager")  # type: ignore[assignment]
    _, compiled, _ = fit(callback, module, loader(5), max_epochs=2)
    for got, expected in zip(compiled.seen, watch.seen, strict=True):
        torch.testing.assert_close(got, expected)
    assert len({float(weight.flatten()[0]) for weight in plain.seen}) == 4
