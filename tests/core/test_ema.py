"""What `EMA` averages, who sees the average, and what becomes of it in checkpoints."""

import pickle

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from graves_core import EMA, ResumableLoader
from graves_core.testing import assert_exact_resume

ROWS = torch.linspace(-1, 1, 24).reshape(24, 1)


class Line(pl.LightningModule):
    """One weight tied under two names, a count in a buffer, and a record of what each loop saw."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.tied = nn.Linear(1, 1)
        self.tied.weight = self.net.weight
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.seen = {"train": [], "validate": [], "test": [], "predict": []}

    def note(self, loop):
        self.seen[loop].append(self.net.weight.detach().clone())

    def training_step(self, batch, batch_idx):
        self.note("train")
        self.count += 1
        return (self.tied(self.net(batch)) - 3 * batch - 1).square().mean()

    def validation_step(self, batch, batch_idx):
        self.note("validate")

    def test_step(self, batch, batch_idx):
        self.note("test")

    def predict_step(self, batch, batch_idx):
        self.note("predict")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def loader():
    return ResumableLoader(ROWS, 4, shuffle=False)


def trainer_with(*callbacks, **arguments):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False, "num_sanity_val_steps": 0, "max_epochs": 2}
    return pl.Trainer(**(quiet | arguments), callbacks=list(callbacks))


def average_by_hand(weights, decay, warmup):
    """The recursion, over the weights at the start and after each step."""
    average = weights[0].double()
    for step, weight in enumerate(weights[1:]):
        share = min(decay, (1 + step) / (10 + step)) if warmup else decay
        average = share * average + (1 - share) * weight.double()
    return average.float()


@pytest.mark.parametrize("warmup", [True, False])
def test_average_is_the_recursion_over_steps(warmup):
    module, steps = Line(), Weights()
    trainer_with(EMA(decay=0.8, warmup=warmup), steps).fit(module, loader())
    expected = average_by_hand(steps.weights, 0.8, warmup)
    assert len(steps.weights) == 13
    assert torch.allclose(module.net.weight, expected, rtol=0, atol=1e-6)


class Weights(pl.Callback):
    """Keeps the raw weights at the start and after every step of the optimizer."""

    def on_train_start(self, trainer, pl_module):
        self.weights = [pl_module.net.weight.detach().clone()]
        self.step = 0

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            self.weights.append(pl_module.net.weight.detach().clone())


def test_accumulated_gradients_make_one_update_per_step():
    module, steps = Line(), Weights()
    trainer_with(EMA(decay=0.8), steps, accumulate_grad_batches=4).fit(module, loader())
    assert len(steps.weights) == 5
    assert torch.allclose(module.net.weight, average_by_hand(steps.weights, 0.8, True), rtol=0, atol=1e-6)


def test_every_evaluation_sees_the_average_and_training_the_raw_weights():
    module, ema, steps = Line(), EMA(decay=0.8), Weights()
    trainer = trainer_with(ema, steps, val_check_interval=3)
    trainer.fit(module, loader(), loader())
    expected = [average_by_hand(steps.weights[: stop + 1], 0.8, True) for stop in (3, 6, 9, 12)]
    for seen, average in zip(module.seen["validate"][::6], expected, strict=True):
        assert torch.allclose(seen, average, rtol=0, atol=1e-6)
    assert all(torch.equal(*pair) for pair in zip(module.seen["train"], steps.weights, strict=False))
    trainer.test(module, loader(), verbose=False)
    trainer.predict(module, loader())
    for seen in module.seen["test"] + module.seen["predict"]:
        assert torch.allclose(seen, expected[-1], rtol=0, atol=1e-6)


def test_an_interrupted_fit_is_tested_with_the_average():
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 5:
                raise RuntimeError("power cut")

    module, steps = Line(), Weights()
    trainer = trainer_with(EMA(decay=0.8), steps, Stop())
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(module, loader())
    trainer.test(module, loader(), verbose=False)
    expected = average_by_hand(steps.weights, 0.8, True)
    assert torch.allclose(module.seen["test"][0], expected, rtol=0, atol=1e-6)


def test_a_checkpoint_holds_the_average_and_the_raw_weights(tmp_path):
    module, steps = Line(), Weights()
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)
    trainer_with(EMA(decay=0.8), steps, saver, enable_checkpointing=True).fit(module, loader(), loader())
    checkpoint = torch.load(tmp_path / "step=6.ckpt", weights_only=True)
    expected = average_by_hand(steps.weights[:7], 0.8, True)
    assert torch.allclose(checkpoint["state_dict"]["net.weight"], expected, rtol=0, atol=1e-6)
    assert torch.equal(checkpoint["state_dict"]["tied.weight"], checkpoint["state_dict"]["net.weight"])
    assert torch.equal(checkpoint["raw_state_dict"]["net.weight"], steps.weights[6])
    assert checkpoint["state_dict"]["count"] == 6


@pytest.mark.parametrize("callbacks", [[], [EMA(decay=0.8)]], ids=["without EMA", "with EMA"])
def test_validating_a_checkpoint_sees_its_average(tmp_path, callbacks):
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)
    ema = EMA(decay=0.8)
    trainer = trainer_with(ema, saver, enable_checkpointing=True)
    trainer.fit(Line(), loader())
    saved = torch.load(tmp_path / "step=6.ckpt", weights_only=True)["state_dict"]["net.weight"]
    module = Line()
    trainer_with(*callbacks).validate(module, loader(), ckpt_path=tmp_path / "step=6.ckpt", verbose=False)
    assert torch.equal(module.seen["validate"][0], saved)
    # also by the Trainer that has trained further since
    trainer.test(module, loader(), ckpt_path=tmp_path / "step=6.ckpt", verbose=False)
    assert torch.equal(module.seen["test"][0], saved)


def test_the_checkpoint_after_fit_resumes_from_the_raw_weights(tmp_path):
    module, steps = Line(), Weights()
    trainer = trainer_with(EMA(decay=0.8), steps)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    further, later = Line(), Weights()
    trainer_with(EMA(decay=0.8), later, max_epochs=3).fit(further, loader(), ckpt_path=tmp_path / "end.ckpt")
    assert torch.equal(later.weights[0], steps.weights[-1])
    expected = average_by_hand(steps.weights + later.weights[1:], 0.8, True)
    assert torch.allclose(further.net.weight, expected, rtol=0, atol=1e-6)


def test_a_checkpoint_without_an_average_starts_one(tmp_path):
    trainer = trainer_with()
    trainer.fit(Line(), loader())
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    module, steps = Line(), Weights()
    trainer_with(EMA(decay=0.8), steps, max_epochs=3).fit(module, loader(), ckpt_path=tmp_path / "plain.ckpt")
    assert torch.allclose(module.net.weight, average_by_hand(steps.weights, 0.8, True), rtol=0, atol=1e-6)


def test_a_second_fit_starts_a_new_average():
    module, ema = Line(), EMA(decay=0.8)
    trainer_with(ema).fit(module, loader())
    steps = Weights()
    trainer_with(ema, steps).fit(module, loader())
    assert torch.allclose(module.net.weight, average_by_hand(steps.weights, 0.8, True), rtol=0, atol=1e-6)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_resume_is_exact(tmp_path, accumulated):
    trainer_args = {"accumulate_grad_batches": accumulated}
    assert_exact_resume(Line, loader, [1, 2, 5], 7, tmp_path, lambda: [EMA(decay=0.8)], trainer_args)


def test_the_average_of_two_ranks_is_that_of_one(tmp_path, two_ranks):
    def average_of(name, **arguments):
        pl.seed_everything(1, verbose=False)
        module, rows = Line(), 4 // arguments.get("devices", 1)
        trainer = trainer_with(EMA(decay=0.8), **arguments)
        trainer.fit(module, ResumableLoader(ROWS, rows, shuffle=True), ResumableLoader(ROWS, rows, False))
        trainer.save_checkpoint(tmp_path / name)
        return torch.load(tmp_path / name, weights_only=True)["state_dict"]["net.weight"]

    one = average_of("one.ckpt")
    assert torch.allclose(average_of("two.ckpt", **two_ranks), one, rtol=0, atol=1e-6)


def test_low_precision_weights_are_averaged_in_float32():
    module, ema = Line().bfloat16(), EMA(decay=0.9999, warmup=False)
    data = ResumableLoader(ROWS.bfloat16(), 4, shuffle=False)
    trainer_with(ema).fit(module, data)
    average = ema.state_dict()["average"]["net.weight"]
    assert average.dtype is torch.float32
    assert average != average.bfloat16()
    assert module.net.weight.dtype is torch.bfloat16


def test_a_compiled_network_is_averaged_like_any_other():
    class Compiled(Line):
        def configure_model(self):
            if not getattr(self, "compiled", False):
                self.compiled = True
                self.net.compile(backend="eager")

    pl.seed_everything(1, verbose=False)
    plain = Line()
    trainer_with(EMA(decay=0.8)).fit(plain, loader(), loader())
    pl.seed_everything(1, verbose=False)
    compiled = Compiled()
    trainer_with(EMA(decay=0.8)).fit(compiled, loader(), loader())
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(compiled.net.weight, plain.net.weight)
    assert torch.allclose(compiled.seen["validate"][-1], plain.seen["validate"][-1])


def test_the_callback_pickles_with_its_average():
    ema = EMA(decay=0.8)
    trainer_with(ema).fit(Line(), loader())
    copied = pickle.loads(pickle.dumps(ema))
    assert torch.equal(copied.state_dict()["average"]["net.bias"], ema.state_dict()["average"]["net.bias"])


@pytest.mark.parametrize(
    ("decay", "error"), [(1.0, ValueError), (-0.1, ValueError), ("0.9", TypeError), (True, TypeError)]
)
def test_wrong_decays_are_named(decay, error):
    with pytest.raises(error, match=f"decay must be .*, got {decay!r}"):
        EMA(decay=decay)


def test_checkpoints_of_weights_alone_are_refused(tmp_path):
    saver = ModelCheckpoint(tmp_path, save_weights_only=True)
    with pytest.raises(ValueError, match="save_weights_only=True"):
        trainer_with(EMA(), saver, enable_checkpointing=True).fit(Line(), loader())
